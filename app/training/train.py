"""`python -m app train`: fits on the earlier transactions, measures on the later ones, saves what was measured."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from sklearn.compose import ColumnTransformer
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import RobustScaler, StandardScaler

from app.scoring.artifact import save_artifact
from app.scoring.neighbors import NearestNeighbors
from app.scoring.scorer import DEFAULT_THRESHOLD
from app.training.dataset import Dataset, Part, read_dataset
from app.training.errors import TrainingError
from app.training.evaluate import Evaluation, Metrics, evaluate
from app.training.report import draw_evaluation

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
    values = {name: getattr(arguments, name) for name in Plan.__dataclass_fields__}
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
    pipeline = make_pipeline(plan, dataset.feature_names).fit(train.features, train.labels)
    evaluation = _evaluate(plan, pipeline, train, test)
    manifest = save_artifact(
        plan.output,
        pipeline,
        feature_names=dataset.feature_names,
        context_names=tuple(name for name in (plan.time, plan.amount) if name in dataset.feature_names),
        training=_summary(plan, dataset, train, test),
        metrics=msgspec.to_builtins(evaluation.metrics),
    )
    draw_evaluation(evaluation, plan.output / PICTURE_FILE)
    console.print(_table(evaluation.metrics, len(train.labels), len(test.labels)))
    console.print(f"Model {manifest.model_version} and its picture are in {plan.output}")
    return 0


def make_pipeline(plan: Plan, feature_names: tuple[str, ...]) -> Pipeline:
    """The unfitted pipeline: scaling, then the neighbours."""
    columns = [i for i, name in enumerate(feature_names) if plan.time_in_distance or name != plan.time]
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


def _evaluate(plan: Plan, pipeline: Pipeline, train: Part, test: Part) -> Evaluation:
    columns = (TextColumn("measuring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("measuring", total=len(test.labels))
        return evaluate(
            NearestNeighbors(pipeline), train, test, plan.threshold, lambda done: progress.update(task, completed=done)
        )


def _summary(plan: Plan, dataset: Dataset, train: Part, test: Part) -> dict[str, object]:
    return {
        "file": plan.file.name,
        "file_sha256": dataset.sha256,
        "neighbors": plan.neighbors,
        "weights": plan.weights,
        "scaler": plan.scaler,
        "time_in_distance": plan.time_in_distance,
        "dropped": list(plan.drop),
        "train_rows": len(train.labels),
        "train_frauds": int(train.labels.sum()),
        "train_time_until": float(train.times[-1]),
        "test_rows": len(test.labels),
        "test_frauds": int(test.labels.sum()),
    }


def _table(metrics: Metrics, n_train: int, n_test: int) -> Table:
    table = Table(title=f"Trained on {n_train:,} earlier transactions, measured on {n_test:,} later ones", min_width=70)
    table.add_column("figure")
    table.add_column("value", justify="right")
    table.add_row("average precision", f"{metrics.average_precision:.3f}")
    table.add_row("ROC AUC", f"{metrics.roc_auc:.3f}")
    for name in ("precision", "recall", "f1"):
        table.add_row(f"{name} at threshold {metrics.threshold:g}", f"{getattr(metrics, name):.3f}")
    table.add_row("frauds caught / missed", f"{metrics.true_positives:,} / {metrics.false_negatives:,}")
    table.add_row("false alerts / legitimate left alone", f"{metrics.false_positives:,} / {metrics.true_negatives:,}")
    table.add_row("accuracy", f"{metrics.accuracy:.4%}")
    table.add_row('accuracy of always saying "legitimate"', f"{metrics.accuracy_of_doing_nothing:.4%}")
    table.add_row("test rows that equal a training row", f"{metrics.duplicates_of_training_rows:,}")
    table.caption = "Fraud is rare, so accuracy says nothing: read average precision, precision and recall."
    return table


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
