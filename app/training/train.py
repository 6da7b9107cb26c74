"""`python -m app train`: fits on the earlier transactions, measures on the later ones, saves what was measured."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
from rich.console import Console
from sklearn.compose import ColumnTransformer
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import RobustScaler, StandardScaler

from app.scoring.artifact import save_artifact
from app.scoring.neighbors import IndexedPipeline, NearestNeighbors, index_pipeline
from app.scoring.scorer import DEFAULT_THRESHOLD
from app.training.dataset import Dataset, Part, read_dataset
from app.training.errors import TrainingError
from app.training.evaluate import figures_table, outcome_of, score_rows
from app.training.metrics import measure
from app.training.money import Costs
from app.training.outcome import Outcome
from app.training.pictures import draw_summary
from app.training.slices import measure_slices
from app.training.writing import whole_directory, write_whole

PICTURE_FILE = "evaluation.png"


@dataclass(frozen=True)
class Plan:
    """What to train on, and how."""

    file: Path
    label: str
    time: str
    amount: str
    output: Path
    neighbors: int
    weights: Literal["uniform", "distance"]
    scaler: Literal["classic", "standard"]
    drop: tuple[str, ...]
    time_in_distance: bool
    sort: bool
    test_fraction: float
    threshold: float
    costs: Costs | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="CSV", help="labelled transactions: .csv, .csv.gz or .parquet")
    parser.add_argument("--label", default="Class", help="column that is 1 for fraud and 0 otherwise (Class)")
    parser.add_argument("--time", default="Time", help="column that orders the transactions (Time)")
    parser.add_argument("--amount", default="Amount", help="column of the amount, shown beside predictions (Amount)")
    parser.add_argument("--output", type=Path, default=Path("model_artifacts/trained"), help="where the artifact goes")
    parser.add_argument("--neighbors", type=_positive, default=15, metavar="K", help="neighbours that vote (15)")
    parser.add_argument(
        "--weights", choices=("uniform", "distance"), default="distance", help="a vote's weight: 1, or 1 / distance"
    )
    parser.add_argument(
        "--scaler",
        choices=("classic", "standard"),
        default="standard",
        help="standard: every feature to mean 0 and deviation 1; classic: only time and amount, by their quartiles",
    )
    parser.add_argument("--drop", nargs="*", default=[], metavar="COLUMN", help="columns that are no features")
    parser.add_argument("--time-in-distance", action="store_true", help="let the time column count in the distance")
    parser.add_argument("--sort", action="store_true", help="order rows that are out of order in time")
    parser.add_argument("--test-fraction", type=_fraction, default=0.2, metavar="F", help="later share, measured on")
    parser.add_argument(
        "--threshold", type=_fraction, default=DEFAULT_THRESHOLD, metavar="P", help="probability of an alert (0.8)"
    )


def plan_of(arguments: argparse.Namespace) -> Plan:
    values = {name: getattr(arguments, name) for name in set(Plan.__dataclass_fields__) - {"costs"}}
    return Plan(**values | {"drop": tuple(arguments.drop)})


def run(plan: Plan) -> int:
    """Train, measure, save and tell.

    Raises:
        TrainingError: the data cannot be used.
    """
    console = Console()
    dataset = read_dataset(plan.file, plan.label, plan.time, plan.drop, sort=plan.sort)
    if dataset.left_out:
        console.print(f"No features, left out: {', '.join(dataset.left_out)}")
    train, test = dataset.split(plan.test_fraction)
    if plan.neighbors > train.n_frauds:
        raise TrainingError(
            f"{plan.file}: the earlier part has {train.n_frauds:,} frauds, fewer than the {plan.neighbors} neighbours "
            f"that would vote; choose --neighbors {train.n_frauds} or less, or give more transactions."
        )
    indexed = index_pipeline(make_pipeline(plan, dataset.feature_names).fit(train.features, train.labels))
    outcome = _score(plan, dataset, indexed, test)
    context_names = tuple(name for name in (plan.time, plan.amount) if name in dataset.feature_names)
    metrics = measure(outcome, plan.threshold, plan.costs).metrics
    slices = measure_slices(
        outcome, test.equal_rows(train, _distance_columns(plan, dataset.feature_names)), train.times[-1]
    )
    with whole_directory(plan.output) as directory:
        manifest = save_artifact(
            directory,
            indexed,
            feature_names=dataset.feature_names,
            context_names=context_names,
            reference_context=train.features[:, [dataset.feature_names.index(name) for name in context_names]],
            training=_summary(plan, dataset, train, test),
            metrics=msgspec.to_builtins(metrics) | msgspec.to_builtins(slices),
        )
        write_whole(directory / PICTURE_FILE, draw_summary(outcome, metrics))
    console.print(
        figures_table(metrics, f"Trained on {len(train):,} earlier transactions, measured on {len(test):,} later ones")
    )
    console.print(slices.sentence(), soft_wrap=True)
    console.print(f"Model {manifest.model_version} and its picture are in {plan.output}")
    return 0


def make_pipeline(plan: Plan, feature_names: tuple[str, ...]) -> Pipeline:
    """The unfitted pipeline: scaling, then the neighbours."""
    columns = _distance_columns(plan, feature_names)
    if not columns:
        raise TrainingError("No column is left to measure distances with.")
    if plan.scaler == "standard":
        parts = [("standard", StandardScaler(), columns)]
    else:
        robust = [i for i in columns if feature_names[i] in (plan.time, plan.amount)]
        parts = [("robust", RobustScaler(), robust), ("as_is", "passthrough", [i for i in columns if i not in robust])]
    return Pipeline(
        [
            ("scaling", ColumnTransformer(parts)),
            ("neighbors", KNeighborsClassifier(plan.neighbors, weights=plan.weights, algorithm="brute")),
        ]
    )


def _distance_columns(plan: Plan, feature_names: tuple[str, ...]) -> list[int]:
    return [i for i, name in enumerate(feature_names) if plan.time_in_distance or name != plan.time]


def _score(plan: Plan, dataset: Dataset, indexed: IndexedPipeline, test: Part) -> Outcome:
    names = dataset.feature_names
    amounts = test.features[:, names.index(plan.amount)] if plan.amount in names else None
    return outcome_of(test, score_rows(NearestNeighbors(indexed).fraud_probability, test.features), amounts)


def _summary(plan: Plan, dataset: Dataset, train: Part, test: Part) -> dict[str, object]:
    return {
        "file": plan.file.name,
        "file_sha256": dataset.sha256,
        "label": plan.label,
        "time": plan.time,
        "amount": plan.amount,
        "neighbors": plan.neighbors,
        "weights": plan.weights,
        "scaler": plan.scaler,
        "time_in_distance": plan.time_in_distance,
        "dropped": list(plan.drop),
        "train_rows": len(train),
        "train_frauds": train.n_frauds,
        "train_time_until": float(train.times[-1]),
        "test_rows": len(test),
        "test_frauds": test.n_frauds,
    }


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return number


def _fraction(text: str) -> float:
    number = float(text)
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return number
