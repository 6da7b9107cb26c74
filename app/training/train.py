"""`python -m app train`: fits on the earlier transactions, measures on the later ones, saves what was measured."""

import argparse
import dataclasses
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table

from app.scoring.artifact import save_artifact
from app.scoring.baseline import BASELINE_FILE, Baseline, baseline_of
from app.scoring.calibration import Calibrator
from app.scoring.fitted import FittedModel
from app.scoring.manifest import Manifest
from app.scoring.model import model_of
from app.scoring.prediction import Method
from app.scoring.scorer import DEFAULT_THRESHOLD
from app.scoring.transaction import FeatureMatrix
from app.training import money, tracking
from app.training.calibrate import CalibrationWish, Effect, calibrate, fit_calibrator
from app.training.dataset import Dataset, Part, read_dataset
from app.training.errors import TrainingError
from app.training.evaluate import figures_table, outcome_of, score_rows
from app.training.evaluation import Evaluation
from app.training.metrics import Metrics, measure
from app.training.models import MODELS, Recipe, probabilities_of, recipe_of
from app.training.money import Costs, not_negative
from app.training.nearest import KNN, chosen
from app.training.outcome import Values
from app.training.pictures import draw_evaluation, draw_summary
from app.training.search import N_FOLDS, Mode, Search, Wishes, folds_of, search
from app.training.slices import Slices, measure_slices
from app.training.space import Columns, FeatureWeights, Scaler
from app.training.tracking import Target, Tracking
from app.training.writing import whole_directory, write_whole

PICTURE_FILE = "evaluation.png"

_SHOWN_MODELS = 5
_CALIBRATED_THRESHOLD = (
    "The threshold is one of calibrated probabilities now, and raises other alerts than before; let --cost-missed and "
    "--cost-alert choose it."
)
_BASELINE_SHARE = 0.2


_WISHES_OF_NEIGHBORS = {
    "search": "none",
    "neighbors": None,
    "weights": None,
    "scaler": None,
    "feature_weights": None,
    "discriminant": None,
    "time_in_distance": False,
}
"""Options that concern nearest neighbours only, with what they are when nobody gave them."""


@dataclass(frozen=True)
class Plan:
    """What to train on, and how; what is None is left to the search, or has its default where there is none."""

    file: Path
    label: str
    time: str
    amount: str
    output: Path
    model: str
    search: Mode
    folds: int
    wishes: Wishes
    drop: tuple[str, ...]
    sort: bool
    test_fraction: float
    threshold: float | None
    costs: Costs | None
    calibrate: CalibrationWish
    seed: int
    mlflow: Target | None = None


@dataclass(frozen=True)
class _Decision:
    """What the last of the earlier folds decides; no calibrator where none was wished."""

    calibrator: Calibrator | None
    threshold: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_data_arguments(parser)
    parser.add_argument("--output", type=Path, default=Path("model_artifacts/trained"), help="where the artifact goes")
    parser.add_argument("--model", choices=MODELS, default=KNN, help="the kind of model (knn)")
    parser.add_argument(
        "--search",
        choices=("none", "quick", "full"),
        default="none",
        help="choose what is not given below by average precision on folds in time order (none)",
    )
    parser.add_argument(
        "--folds",
        type=_positive,
        default=N_FOLDS,
        metavar="N",
        help=f"folds in time order, of a search, of costs and of calibration ({N_FOLDS})",
    )
    parser.add_argument(
        "--neighbors",
        type=_positive,
        default=None,
        metavar="K",
        help="neighbours that vote (50, or half of the frauds)",
    )
    parser.add_argument(
        "--weights",
        choices=("uniform", "distance"),
        default=None,
        help="a vote's weight: 1, or 1 / distance (distance)",
    )
    parser.add_argument(
        "--scaler",
        choices=Scaler.__args__,  # type: ignore[attr-defined]  # of the Literal
        default=None,
        help="standard: mean 0, deviation 1; robust: by quartiles; classic: only time and amount, by quartiles; "
        "quantile: to a normal distribution by rank (standard)",
    )
    parser.add_argument(
        "--feature-weights",
        choices=FeatureWeights.__args__,  # type: ignore[attr-defined]  # of the Literal
        default=None,
        help="how much a feature counts: by how well it tells fraud (ks, ks-squared, mutual-information), by a "
        "learned map (components), or all the same (none)",
    )
    parser.add_argument(
        "--discriminant",
        type=not_negative,
        default=None,
        metavar="W",
        help="how much the direction that parts the classes best (linear discriminant analysis) counts beside the "
        "features; 0: not at all (6)",
    )
    parser.add_argument("--time-in-distance", action="store_true", help="let the time column count in the distance")
    parser.add_argument(
        "--threshold",
        type=_fraction,
        default=None,
        metavar="P",
        help=f"probability of an alert ({DEFAULT_THRESHOLD:g})",
    )
    parser.add_argument(
        "--calibrate",
        choices=CalibrationWish.__args__,  # type: ignore[attr-defined]  # of the Literal
        default="none",
        help="make probabilities mean what they say, by a curve fitted on the last of the earlier folds: steps of any "
        "form (isotonic) or one smooth curve (sigmoid) (none)",
    )
    money.add_arguments(parser)
    tracking.add_arguments(parser)


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="CSV", help="labelled transactions: .csv, .csv.gz or .parquet")
    parser.add_argument("--label", default="Class", help="column that is 1 for fraud and 0 otherwise (Class)")
    parser.add_argument("--time", default="Time", help="column that orders the transactions (Time)")
    parser.add_argument("--amount", default="Amount", help="column of the amount, shown beside predictions (Amount)")
    parser.add_argument("--drop", nargs="*", default=[], metavar="COLUMN", help="columns that are no features")
    parser.add_argument("--sort", action="store_true", help="order rows that are out of order in time")
    parser.add_argument("--test-fraction", type=_fraction, default=0.2, metavar="F", help="later share, measured on")
    parser.add_argument("--seed", type=int, default=1, help="of the bootstrap, and of what models draw (1)")


def plan_of(arguments: argparse.Namespace) -> Plan:
    wishes = Wishes(
        neighbors=arguments.neighbors,
        votes=arguments.weights,
        scaler=arguments.scaler,
        feature_weights=arguments.feature_weights,
        discriminant=arguments.discriminant,
        time_in_distance=arguments.time_in_distance,
    )
    if arguments.model != KNN:
        _refuse_wishes_of_neighbors(arguments)
    derived = {"drop": tuple(arguments.drop), "wishes": wishes, "costs": money.costs_of(arguments)}
    derived["mlflow"] = tracking.target_of(arguments)
    same = set(Plan.__dataclass_fields__) - set(derived)
    return Plan(**{name: getattr(arguments, name) for name in same} | derived)


def run(plan: Plan) -> int:
    """Train, measure, save and tell.

    Raises:
        TrainingError: the data cannot be used.
        RegistryError: the MLflow server cannot be used.
    """
    server = None if plan.mlflow is None else Tracking(plan.mlflow)
    console = Console()
    dataset = read_dataset(plan.file, plan.label, plan.time, plan.drop, sort=plan.sort)
    if dataset.left_out:
        console.print(f"No features, left out: {', '.join(dataset.left_out)}")
    train, test = dataset.split(plan.test_fraction)
    columns = columns_of(dataset, plan.time, plan.amount)
    found = _search(plan, train, columns)
    recipe = _recipe(plan, train, columns, found)
    recipe.check(plan.file, train)
    if found is not None:
        console.print(_search_table(found))
    fitted = recipe.fit(train, dataset.feature_names)
    decision = _decide(plan, recipe, columns, train)
    raw = outcome_of(test, _score(console, fitted, test), amounts_of(test, columns))
    outcome, effect = calibrate(raw, decision.calibrator)
    fitted = dataclasses.replace(fitted, calibrator=decision.calibrator)
    measured = measure(outcome, decision.threshold, plan.costs, seed=plan.seed)
    metrics = measured.metrics
    slices = measure_slices(outcome, test.equal_rows(train, recipe.seen()), train.times[-1])
    with whole_directory(plan.output) as directory:
        manifest = save_artifact(
            directory,
            fitted,
            training=_summary(plan, dataset, train, test) | _choices(recipe, fitted, found),
            metrics=_figures(metrics, slices, effect),
        )
        baseline = _baseline(manifest, recipe, fitted, train)
        write_whole(directory / BASELINE_FILE, msgspec.json.encode(baseline) + b"\n")
        write_whole(directory / PICTURE_FILE, draw_summary(outcome, metrics))
        files = [plan.output / path.name for path in sorted(directory.iterdir())]
    console.print(
        figures_table(metrics, f"Trained on {len(train):,} earlier transactions, measured on {len(test):,} later ones")
    )
    console.print(slices.sentence(), soft_wrap=True)
    if effect is not None:
        console.print(effect.sentence(), soft_wrap=True)
    if plan.costs is not None:
        console.print(_threshold_sentence(decision.threshold), soft_wrap=True)
    elif effect is not None:
        console.print(_CALIBRATED_THRESHOLD, soft_wrap=True)
    console.print(f"Model {manifest.model_version} ({recipe.words()}) and its picture are in {plan.output}")
    if server is not None:
        pictures = draw_evaluation(Evaluation(test, dataset.feature_names, outcome, measured, plan.costs))
        console.print(server.publish(files, manifest, pictures), soft_wrap=True)
    return 0


def columns_of(dataset: Dataset, time: str, amount: str) -> Columns:
    names = dataset.feature_names
    return Columns(
        n_features=len(names),
        time=names.index(time) if time in names else None,
        amount=names.index(amount) if amount in names else None,
    )


def amounts_of(part: Part, columns: Columns) -> Values | None:
    return None if columns.amount is None else part.features[:, columns.amount]


def _search(plan: Plan, train: Part, columns: Columns) -> Search | None:
    if plan.search == "none":
        return None
    return search(plan.search, folds_of(plan.file, train, plan.folds), columns, plan.wishes)


def _recipe(plan: Plan, train: Part, columns: Columns, found: Search | None) -> Recipe:
    choice = chosen(plan.wishes, train.n_frauds) if found is None else found.best.choice
    return recipe_of(plan.model, choice, columns, plan.seed)


def _decide(plan: Plan, recipe: Recipe, columns: Columns, train: Part) -> _Decision:
    """A calibration of the last of the earlier folds, and the threshold that was cheapest there, if that was wished."""
    wants_cheapest = plan.threshold is None and plan.costs is not None
    if plan.calibrate == "none" and not wants_cheapest:
        return _Decision(None, plan.threshold or DEFAULT_THRESHOLD)
    fold = folds_of(plan.file, train, plan.folds)[-1]
    raw = outcome_of(fold[1], recipe.predict_fold(fold), amounts_of(fold[1], columns))
    calibrator = fit_calibrator(plan.calibrate, raw)
    if plan.threshold is not None or plan.costs is None:
        return _Decision(calibrator, plan.threshold or DEFAULT_THRESHOLD)
    outcome, _ = calibrate(raw, calibrator)
    return _Decision(calibrator, money.cheapest_threshold(outcome, plan.costs))


def _score(console: Console, fitted: FittedModel, test: Part) -> Values:
    """Probabilities as a user's transactions get them; tells how fast, and how many were certified."""
    model = model_of(fitted)
    methods: Counter[Method] = Counter()

    def probabilities(features: FeatureMatrix) -> Values:
        votes = model.votes(features)
        methods.update(votes.methods)
        return votes.probabilities

    started = time.perf_counter()
    found = score_rows(probabilities, test.features)
    words = f"Scored {len(test) / (time.perf_counter() - started):,.0f} transactions per second"
    if Method.MODEL not in methods:
        words += f"; {methods[Method.CERTIFIED] / len(test):.1%} of them were certified"
    console.print(f"{words}.")
    return found


def _baseline(manifest: Manifest, recipe: Recipe, fitted: FittedModel, train: Part) -> Baseline:
    """The last fifth of the training part, with the probabilities that new rows of the same kind would have."""
    n_earlier = round((1 - _BASELINE_SHARE) * len(train))
    earlier, last = train.take(slice(0, n_earlier)), train.take(slice(n_earlier, None))
    if not recipe.finds_its_own_rows:
        probabilities = probabilities_of(model_of(fitted), last.features)
    else:
        raw = recipe.predict_fold((earlier, last)) if earlier.n_frauds else np.zeros(len(last))
        probabilities = calibrate(outcome_of(last, raw, None), fitted.calibrator)[0].probabilities
    return baseline_of(manifest.model_version, manifest.feature_names, last.features, probabilities)


def _summary(plan: Plan, dataset: Dataset, train: Part, test: Part) -> dict[str, object]:
    return {
        "file": plan.file.name,
        "file_sha256": dataset.sha256,
        "label": plan.label,
        "time": plan.time,
        "amount": plan.amount,
        "dropped": list(plan.drop),
        "train_rows": len(train),
        "train_frauds": train.n_frauds,
        "train_time_until": float(train.times[-1]),
        "test_rows": len(test),
        "test_frauds": test.n_frauds,
        "seed": plan.seed,
        "costs": msgspec.to_builtins(plan.costs),
    }


def _choices(recipe: Recipe, fitted: FittedModel, found: Search | None) -> dict[str, object]:
    return {"model": recipe.name, **recipe.parameters(fitted), "search": msgspec.to_builtins(found)}


def _figures(metrics: Metrics, slices: Slices, effect: Effect | None) -> dict[str, object]:
    calibration = {} if effect is None else {"calibration": msgspec.to_builtins(effect)}
    return {**msgspec.to_builtins(metrics), **msgspec.to_builtins(slices), **calibration}


def _refuse_wishes_of_neighbors(arguments: argparse.Namespace) -> None:
    given = [name for name, unset in _WISHES_OF_NEIGHBORS.items() if getattr(arguments, name) != unset]
    if given:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise TrainingError(f"{options} can be had with --model {KNN} only; leave it out with {arguments.model}.")


def _search_table(found: Search) -> Table:
    table = Table(
        title=f"The best of {len(found.tried):,} models on {len(found.fold_rows)} earlier folds", min_width=70
    )
    table.add_column("model")
    table.add_column("average precision", justify="right")
    table.add_column("folds", justify="right")
    for tried in found.tried[:_SHOWN_MODELS]:
        folds = " ".join(f"{score:.2f}" for score in tried.folds)
        table.add_row(tried.choice.words(), f"{tried.mean:.3f}", folds)
    frauds = ", ".join(f"{number:,}" for number in found.fold_frauds)
    table.caption = f"The folds are measured on {frauds} frauds; differences of a few hundredths are chance."
    return table


def _threshold_sentence(threshold: float) -> str:
    return (
        f"The threshold {threshold:.3g} was the cheapest on the last of the earlier folds; scoring uses it when it is "
        f"set: APP_THRESHOLD={threshold:.3g} and BRIDGE_THRESHOLD={threshold:.3g}."
    )


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
