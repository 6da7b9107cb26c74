"""The model and the transactions that every contestant gets: the earlier part of a data set, and the later one."""

import functools
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from app.scoring.artifact import save_artifact
from app.scoring.fitted import FittedModel, Reference
from app.scoring.neighbors import index_pipeline
from app.training.dataset import Part, read_dataset
from benchmarks.machine import ROOT, clean_environment
from benchmarks.peers.model import NEIGHBORS, fitted_pipeline

LABEL, TIME = "Class", "Time"
DATA_VARIABLE = "NEIGHBORWATCH_BENCH_DATA"

_REAL_DATA = ROOT.parent / "shared" / "data" / "creditcard_first80.parquet"
_ROWS = 227_845  # what the real file has
_LATER_SHARE = 0.2


@dataclass(frozen=True)
class Workload:
    """What is measured on.

    Attributes:
        data_set: its name, size and digest.
        feature_names: in the order of the columns.
        reference: what the model was trained on.
        later: transactions after those, which every contestant scores.
        artifact: our model, as a directory.
        arrays: the same for peers: a file with the arrays `reference`, `labels`, `later` and `in_distance`.
    """

    data_set: dict[str, Any]
    feature_names: tuple[str, ...]
    reference: Part
    later: Part
    artifact: Path
    arrays: Path

    def bodies(self, limit: int) -> list[bytes]:
        """Later transactions as JSON objects, as they stand in a topic or in a request."""
        encode = msgspec.json.Encoder().encode
        return [
            encode(
                {
                    "transaction_id": f"transaction-{number:07d}",
                    "timestamp_received": "2026-01-02T03:04:05.123456Z",
                    "card_id": f"card-{number % 9973:05d}",
                    **dict(zip(self.feature_names, row, strict=True)),
                }
            )
            for number, row in enumerate(self.later.features[:limit].tolist())
        ]


@functools.cache
def prepare(work: Path) -> Workload:
    """Read or make the data and fit the model on its earlier part, once for all benchmarks of a run.

    What ours and the peers need of it is written to the directory.
    """
    file = data_file(work)
    dataset = read_dataset(file, LABEL, TIME)
    reference, later = dataset.split(_LATER_SHARE)
    artifact, arrays = save_model(work, reference, later, dataset.feature_names)
    data_set = {
        "name": "the public card set, its first 80 %" if file == real_data() else "synthetic, the card set's shape",
        "sha256": dataset.sha256,
        "reference_rows": len(reference.labels),
        "reference_frauds": int(reference.labels.sum()),
        "later_rows": len(later.labels),
        "later_frauds": int(later.labels.sum()),
        "neighbors": NEIGHBORS,
        "weights": "distance",
        "scaling": "standardised, Time left out of the distance",
    }
    return Workload(data_set, dataset.feature_names, reference, later, artifact, arrays)


def data_file(work: Path) -> Path:
    real = real_data()
    if real is not None:
        return real
    synthetic = work / "synthetic.csv"
    if not synthetic.exists():
        run_app("synthesize", "--rows", str(_ROWS), "--seed", "2026", "--output", str(synthetic))
    return synthetic


def real_data() -> Path | None:
    """The real card data: where the variable points, or beside the repository; it is never part of it."""
    path = Path(os.environ.get(DATA_VARIABLE) or _REAL_DATA)
    return path if path.is_file() else None


def save_model(directory: Path, reference: Part, later: Part, feature_names: tuple[str, ...]) -> tuple[Path, Path]:
    """Our artifact, and the arrays from which peers fit the same pipeline."""
    arrays, artifact = directory / "arrays.npz", directory / "artifact"
    in_distance = [index for index, name in enumerate(feature_names) if name != TIME]
    np.savez(
        arrays,
        reference=reference.features,
        labels=reference.labels,
        later=later.features,
        in_distance=np.array(in_distance),
    )
    context = tuple(name for name in (TIME, "Amount") if name in feature_names)
    indexed = index_pipeline(fitted_pipeline(arrays))
    rows = Reference(indexed.index, reference.features[:, [feature_names.index(name) for name in context]])
    save_artifact(artifact, FittedModel(indexed.pipeline, feature_names, context, rows), training={}, metrics={})
    return artifact, arrays


def run_app(*arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        cwd=ROOT,
        env=clean_environment(),
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
