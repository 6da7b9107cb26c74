"""`python -m app evaluate`: what an artifact says of labelled transactions, and how far that can be trusted."""

import argparse
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table

from app.scoring.artifact import Artifact
from app.scoring.model import Model, model_of
from app.scoring.scorer import DEFAULT_THRESHOLD
from app.scoring.transaction import FeatureMatrix
from app.source import artifact_files
from app.training import money
from app.training.answer import (
    ACCURACY_SAYS_NOTHING,
    FIGURES,
    STEP_WORDS,
    Answer,
    costs_words,
    shown,
    step_cells,
    what_if,
    what_if_sentence,
)
from app.training.calibrate import Effect, calibrate
from app.training.dataset import Part, read_part
from app.training.errors import TrainingError
from app.training.evaluation import Evaluation
from app.training.evidence import find_mistakes
from app.training.metrics import Metrics, measure
from app.training.money import Costs, Step
from app.training.outcome import Outcome, Values
from app.training.pictures import draw_evaluation
from app.training.progress import progress_bar
from app.training.report import Report
from app.training.writing import write_whole

_ROWS_AT_ONCE = 512


@dataclass(frozen=True)
class Plan:
    """What to evaluate, and where the answers go; None takes what the artifact was trained with."""

    artifact: Path
    file: Path
    label: str | None
    time: str | None
    amount: str | None
    threshold: float | None
    costs: Costs | None
    what_if: float | None
    seed: int
    sort: bool
    json: Path | None
    html: Path | None
    pictures: Path | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("artifact", type=Path, metavar="ARTIFACT", help="directory, or models:/name@alias")
    parser.add_argument("file", type=Path, metavar="CSV", help="labelled transactions: .csv, .csv.gz or .parquet")
    for column in ("label", "time", "amount"):
        parser.add_argument(f"--{column}", default=None, help=f"column of the {column} (as the artifact was trained)")
    parser.add_argument("--sort", action="store_true", help="order rows that are out of order in time")
    parser.add_argument("--threshold", type=fraction, default=None, metavar="P", help="of an alert (the artifact's)")
    money.add_arguments(parser)
    parser.add_argument(
        "--what-if", type=fraction, default=None, metavar="P", help="tell what threshold P would change"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the bootstrap (1)")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE", help="write all figures there")
    parser.add_argument("--html", type=Path, default=None, metavar="FILE", help="write a report in one file there")
    parser.add_argument("--pictures", type=Path, default=None, metavar="DIR", help="write the pictures there, as PNG")


def plan_of(arguments: argparse.Namespace) -> Plan:
    names = set(Plan.__dataclass_fields__) - {"costs"}
    return Plan(costs=money.costs_of(arguments), **{name: getattr(arguments, name) for name in names})


def run(plan: Plan) -> int:
    """Evaluate, tell and write.

    Raises:
        TrainingError: the transactions cannot be used.
        ArtifactError: the artifact cannot be used.
    """
    with artifact_files(plan.artifact) as files:
        artifact = files.load()
    trained = artifact.manifest.training
    label = plan.label or str(trained.get("label", "Class"))
    time = plan.time or str(trained.get("time", "Time"))
    amount = plan.amount or str(trained.get("amount", "Amount"))
    names = artifact.manifest.feature_names
    part = read_part(plan.file, names, label, time, sort=plan.sort)
    amounts = part.features[:, names.index(amount)] if amount in names else None
    if amounts is None and plan.amount:
        raise TrainingError(f"{amount} is none of the model's features; name one of {', '.join(names)} with --amount.")
    threshold = plan.threshold or float(artifact.manifest.metrics.get("threshold", DEFAULT_THRESHOLD))
    costs = plan.costs or (None if amounts is None else Costs())
    # Calibrated here and not by the model, to know what that does.
    model = model_of(dataclasses.replace(artifact.fitted, calibrator=None))
    raw = outcome_of(part, score_rows(lambda rows: model.votes(rows).probabilities, part.features), amounts)
    outcome, effect = calibrate(raw, artifact.fitted.calibrator)
    measured = measure(outcome, threshold, costs, seed=plan.seed)
    evaluation = Evaluation(part, names, outcome, measured, costs)
    answer = _answer(plan, artifact, evaluation, effect)
    _tell(Console(), answer)
    _write(plan, Report(artifact.manifest, answer), evaluation, model)
    return 0


def score_rows(fraud_probability: Callable[[FeatureMatrix], Values], features: FeatureMatrix) -> Values:
    """The probability of each row, some at a time as a user's transactions come, with a progress bar."""
    blocks = []
    with progress_bar("scoring", len(features)) as tell:
        for start in range(0, len(features), _ROWS_AT_ONCE):
            blocks.append(fraud_probability(features[start : start + _ROWS_AT_ONCE]))
            tell(min(start + _ROWS_AT_ONCE, len(features)))
    return np.concatenate(blocks)


def outcome_of(part: Part, probabilities: Values, amounts: Values | None) -> Outcome:
    return Outcome(part.labels, probabilities, part.times, part.cards, amounts)


def figures_table(metrics: Metrics, title: str) -> Table:
    """Every figure with its interval."""
    table = Table(title=title, min_width=70)
    table.add_column("figure")
    table.add_column("value", justify="right")
    table.add_column("95 % interval", justify="right")
    at_threshold = f" at threshold {metrics.threshold:.3g}"
    for name, words in FIGURES.items():
        value = getattr(metrics, name)
        if value is not None:
            interval = metrics.intervals.get(name)
            ends = "" if interval is None else " to ".join(shown(name, end) for end in interval)
            table.add_row(words + (at_threshold if name in ("precision", "cost") else ""), shown(name, value), ends)
    table.add_row("frauds caught / missed", f"{metrics.true_positives:,} / {metrics.false_negatives:,}", "")
    alerts = f"{metrics.false_positives:,} / {metrics.true_negatives:,}"
    table.add_row("false alerts / legitimate left alone", alerts, "")
    table.caption = ACCURACY_SAYS_NOTHING
    return table


def _answer(plan: Plan, artifact: Artifact, evaluation: Evaluation, effect: Effect | None) -> Answer:
    outcome, costs, metrics = evaluation.outcome, evaluation.costs, evaluation.measured.metrics
    return Answer(
        model_version=artifact.manifest.model_version,
        file=plan.file.name,
        rows=len(outcome.labels),
        frauds=int(outcome.labels.sum()),
        metrics=metrics,
        calibration=effect,
        costs=costs,
        cheapest_threshold=None if costs is None else money.cheapest_threshold(outcome, costs),
        ladder=[] if costs is None else money.ladder(outcome, costs),
        what_if=None if plan.what_if is None else what_if(outcome, costs, metrics.threshold, plan.what_if),
    )


def _tell(console: Console, answer: Answer) -> None:
    title = f"Model {answer.model_version} on {answer.rows:,} transactions, {answer.frauds:,} of them fraud"
    console.print(figures_table(answer.metrics, title))
    if answer.calibration is not None:
        console.print(answer.calibration.sentence(), soft_wrap=True)
    if answer.costs is not None:
        console.print(ladder_table(answer.ladder, answer.costs))
        console.print(f"The cheapest threshold of these transactions is {answer.cheapest_threshold:.3g}.")
    if answer.what_if is not None:
        console.print(what_if_sentence(answer.metrics.threshold, answer.what_if), soft_wrap=True)


def ladder_table(ladder: list[Step], costs: Costs) -> Table:
    table = Table(title=f"Thresholds: {costs_words(costs)}", min_width=70)
    for words in STEP_WORDS:
        table.add_column(words, justify="right")
    for step in ladder:
        table.add_row(*step_cells(step))
    return table


def _write(plan: Plan, report: Report, evaluation: Evaluation, model: Model) -> None:
    files: list[tuple[Path, bytes]] = []  # all of them are made before the first is written
    if plan.json is not None:
        files.append((plan.json, msgspec.json.format(msgspec.json.encode(report.answer), indent=2) + b"\n"))
    pictures = [] if plan.html is None and plan.pictures is None else draw_evaluation(evaluation)
    if plan.pictures is not None:
        files += [(plan.pictures / f"{picture.name}.png", picture.png) for picture in pictures]
    if plan.html is not None:
        threshold = report.answer.metrics.threshold
        mistakes = find_mistakes(evaluation.part, evaluation.outcome, threshold, model)
        files.append((plan.html, report.page(pictures, mistakes)))
    for path, content in files:
        write_whole(path, content)


def fraction(text: str) -> float:
    number = float(text)
    if not 0 < number <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most 1")
    return number
