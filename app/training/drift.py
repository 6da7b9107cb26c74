"""`python -m app drift`: which features of newer transactions are not what the model was trained on."""

import argparse
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from rich.console import Console
from rich.table import Table

from app.scoring.baseline import (
    SCORE,
    Baseline,
    Distribution,
    distance_of_distributions,
    load_baseline,
    stability_index,
)
from app.scoring.model import model_of
from app.scoring.transaction import FeatureMatrix
from app.source import artifact_files
from app.training.dataset import read_features
from app.training.errors import TrainingError, counted
from app.training.evaluate import score_rows
from app.training.pictures import BLUE, GREEN, GREY, ORANGE, new_figure, png
from app.training.writing import write_whole

WATCH, MOVED = 0.1, 0.25  # of the stability index, as banks read it

_N_DRAWN = 1_000
_SIGNIFICANT = 0.05
_LEAST_ROWS = 100
_N_CURVES = 3
_MOST_BARS = 30

Verdict = Literal["moved", "watch", "same"]


class Shift(msgspec.Struct, frozen=True):
    """How far one feature is from its baseline.

    Attributes:
        name: the feature, or fraud_probability.
        stability_index: population stability index, over about ten parts.
        distance: Kolmogorov-Smirnov, at percentiles of the baseline.
        p_value: the chance of such a distance without a change, corrected for the number of features (Holm).
        verdict: moved or watch need a stability index of 0.25 or 0.1 and a p-value below 0.05.
    """

    name: str
    stability_index: float
    distance: float
    p_value: float
    verdict: Verdict


class Drift(msgspec.Struct, frozen=True):
    """All that `--json` writes; the largest shift first."""

    model_version: str
    file: str
    rows: int
    baseline_rows: int
    shifts: list[Shift]


@dataclass(frozen=True)
class Plan:
    """What to compare, and where the answers go."""

    artifact: Path
    file: Path
    seed: int
    json: Path | None
    picture: Path | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("artifact", type=Path, metavar="ARTIFACT", help="directory, or models:/name@alias")
    parser.add_argument("file", type=Path, metavar="CSV", help="newer transactions; labels are not needed")
    parser.add_argument("--seed", type=int, default=1, help="of what is drawn for the p-values (1)")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE", help="write all figures there")
    parser.add_argument("--picture", type=Path, default=None, metavar="FILE", help="write a PNG there")


def plan_of(arguments: argparse.Namespace) -> Plan:
    return Plan(**{name: getattr(arguments, name) for name in Plan.__dataclass_fields__})


def run(plan: Plan) -> int:
    """Compare, tell and write.

    Raises:
        TrainingError: the transactions cannot be used.
        ArtifactError: the artifact cannot be used, or has no baseline.
    """
    with artifact_files(plan.artifact) as files:
        artifact = files.load()
        manifest = artifact.manifest
        baseline = load_baseline(files.directory, manifest)
    features = read_features(plan.file, manifest.feature_names)
    if len(features) < _LEAST_ROWS:
        raise TrainingError(
            f"{plan.file} has {counted(len(features), 'row')}; {_LEAST_ROWS} or more are needed to tell a change from "
            "chance."
        )
    model = model_of(artifact.fitted)
    probabilities = score_rows(lambda rows: model.votes(rows).probabilities, features)
    newer = np.column_stack([features, probabilities])
    # Time only ever goes on, which is no drift.
    skipped = {str(manifest.training.get("time", "Time"))}
    shifts = find_shifts(baseline, newer, plan.seed, skipped)
    drift = Drift(manifest.model_version, plan.file.name, len(features), baseline.n_rows, shifts)
    _tell(Console(), drift)
    if plan.json is not None:
        write_whole(plan.json, msgspec.json.format(msgspec.json.encode(drift), indent=2) + b"\n")
    if plan.picture is not None:
        write_whole(plan.picture, draw_drift(drift, baseline, newer))
    return 0


def find_shifts(
    baseline: Baseline, newer: FeatureMatrix, seed: int = 1, skipped: set[str] | None = None
) -> list[Shift]:
    """Compare rows (n_rows, n_features + 1), whose last column is the score, with a baseline; the largest shift first.

    A p-value is the share of drawn samples without a change whose distance is as large: both the newer rows and the
    baseline are drawn anew from the baseline's distribution.
    """
    measured = []
    for distribution, values in zip(baseline.distributions, newer.T, strict=True):
        if distribution.name in (skipped or ()):
            continue
        counts = distribution.count(values)
        distance = float(distance_of_distributions(distribution.shares, counts))
        drawn = _draw_distances(_rounded(distribution.shares), len(values), baseline.n_rows, seed)
        p_value = (1 + int((drawn >= distance).sum())) / (1 + len(drawn))
        measured.append((distribution.name, float(stability_index(distribution.shares, counts)), distance, p_value))
    corrected = holm([p_value for *_, p_value in measured])
    shifts = [
        Shift(name, index, distance, p_value, _verdict(index, p_value))
        for (name, index, distance, _), p_value in zip(measured, corrected, strict=True)
    ]
    return sorted(shifts, key=lambda shift: -shift.stability_index)


def holm(p_values: list[float]) -> list[float]:
    """Holm's correction for many tests, in the order given."""
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(np.argsort(p_values, kind="stable").tolist()):
        largest = max(largest, min(1.0, p_values[index] * (len(p_values) - rank)))
        corrected[index] = largest
    return corrected


def _rounded(shares: tuple[float, ...]) -> tuple[float, ...]:
    """Shares to a thousandth: the distances of most features are then drawn only once."""
    return tuple(max(round(share, 3), 0.0) for share in shares)


@lru_cache
def _draw_distances(shares: tuple[float, ...], n_newer: int, n_baseline: int, seed: int) -> npt.NDArray[np.float64]:
    generator = np.random.default_rng(seed)
    known = np.array(shares) / sum(shares)
    newer = np.cumsum(generator.multinomial(n_newer, known, _N_DRAWN), axis=1) / n_newer
    older = np.cumsum(generator.multinomial(n_baseline, known, _N_DRAWN), axis=1) / n_baseline
    return np.asarray(np.abs(newer - older).max(axis=1))


def _verdict(index: float, p_value: float) -> Verdict:
    if p_value >= _SIGNIFICANT or index < WATCH:
        return "same"
    return "moved" if index >= MOVED else "watch"


def _tell(console: Console, drift: Drift) -> None:
    title = f"{drift.rows:,} transactions against the {drift.baseline_rows:,} last ones that were trained on"
    table = Table(title=title, min_width=70)
    for words in ("feature", "stability index", "KS", "p-value", "verdict"):
        table.add_column(words, justify="left" if words == "feature" else "right")
    for shift in drift.shifts:
        style = {"moved": "bold red", "watch": "yellow", "same": ""}[shift.verdict]
        cells = (shift.name, f"{shift.stability_index:.3f}", f"{shift.distance:.3f}", f"{shift.p_value:.3f}")
        table.add_row(*cells, shift.verdict, style=style)
    table.caption = "Moved: from 0.25 on; watch: from 0.1 on; p-values are corrected for the number of features."
    console.print(table)
    moved = [shift.name for shift in drift.shifts if shift.verdict == "moved"]
    console.print(f"Moved: {', '.join(moved)}." if moved else "Nothing moved.", soft_wrap=True)


def draw_drift(drift: Drift, baseline: Baseline, newer: FeatureMatrix) -> bytes:
    """The stability index of every feature, and the distributions of those that moved most."""
    shifts = drift.shifts[:_MOST_BARS]
    figure = new_figure(height=max(5.4, 0.26 * len(shifts) + 1.4))
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
    colors = {"moved": ORANGE, "watch": "#e69f00", "same": BLUE}
    names = [shift.name for shift in shifts]
    left.barh(names, [shift.stability_index for shift in shifts], color=[colors[shift.verdict] for shift in shifts])
    left.margins(y=0.01)
    left.invert_yaxis()
    for limit, words in ((WATCH, "watch"), (MOVED, "moved")):
        left.axvline(limit, color=GREY, linestyle="--", linewidth=1)
        left.text(limit, 1.0, f" {words}", transform=left.get_xaxis_transform(), va="bottom", color=GREY, fontsize=9)
    left.set_xlim(0, max(1.15 * shifts[0].stability_index, 1.2 * MOVED))
    left.set(xlabel="population stability index")
    left.set_title("How far each feature moved", pad=18)
    by_name = {one.name: (one, values) for one, values in zip(baseline.distributions, newer.T, strict=True)}
    styles = zip(drift.shifts[:_N_CURVES], (ORANGE, GREEN, BLUE), strict=False)
    for shift, color in styles:
        one, values = by_name[shift.name]
        _draw_shares(right, one, values, shift.name, color)
    right.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="no change")
    right.set(
        xlabel="share of the baseline's values below a value",
        ylabel="share of the newer values below the same value",
        xlim=(0, 1),
        ylim=(0, 1.02),
    )
    right.set_title("The largest shifts", pad=18)
    right.grid(alpha=0.3)
    right.legend(loc="upper left", framealpha=0.95)
    return png(figure)


def _draw_shares(axes: Axes, one: Distribution, values: np.ndarray, name: str, color: str) -> None:
    counts = one.count(values)
    was, now = np.cumsum(one.shares), np.cumsum(counts) / counts.sum()
    words = "the model's probability" if name == SCORE else name
    axes.plot(np.append(0, was), np.append(0, now), color=color, linewidth=2, label=words)
