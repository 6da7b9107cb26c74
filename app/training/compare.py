"""`python -m app compare`: several models on one split in time, in one table and one picture."""

import argparse
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table
from sklearn.metrics import precision_recall_curve

from app.training.answer import shown
from app.training.bootstrap import Cells, Ranking, interval, resamples
from app.training.dataset import Part, read_dataset
from app.training.evaluate import outcome_of
from app.training.metrics import Metrics, measure
from app.training.models import MODELS, microseconds_per_row, probabilities_of, recipe_of, train_model
from app.training.nearest import KNN, chosen
from app.training.outcome import Outcome
from app.training.pictures import BLUE, GREEN, GREY, ORANGE, new_figure, png
from app.training.progress import progress_bar
from app.training.search import Wishes
from app.training.train import add_data_arguments, amounts_of, columns_of
from app.training.writing import write_whole

_ALERTS_PER_1000 = 2.0
_THRESHOLD = 0.8
_QUALITY = ("model", "avg. precision", "kNN is better by", "recall*", "money*")
_COSTS = ("model", "a transaction of 512", "training", "size")
_COLORS = (BLUE, ORANGE, GREEN, "#cc79a7", "#e69f00")


class Compared(msgspec.Struct, frozen=True):
    """One model on the later part.

    Attributes:
        name: the model.
        metrics: its figures.
        less_than_knn: the interval of the average precision of kNN less its own, on the same drawn sets; above 0
            throughout: kNN is better, below 0 throughout: it is worse. None for kNN itself, and without it.
        recall_at_budget: share of the frauds among its two highest of 1,000 transactions.
        money_at_budget: share of the money of frauds that is in them; None without amounts.
        microseconds: of one transaction in a batch of 512.
        training_seconds: of the fit.
        megabytes: of the fitted model.
    """

    name: str
    metrics: Metrics
    less_than_knn: tuple[float, float] | None
    recall_at_budget: float
    money_at_budget: float | None
    microseconds: float
    training_seconds: float
    megabytes: float


@dataclass(frozen=True)
class Plan:
    """What to compare, and where the answers go."""

    file: Path
    label: str
    time: str
    amount: str
    drop: tuple[str, ...]
    sort: bool
    test_fraction: float
    seed: int
    models: tuple[str, ...]
    neighbors: int | None
    json: Path | None
    picture: Path | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_data_arguments(parser)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), help="which ones (all)")
    parser.add_argument("--neighbors", type=int, default=None, metavar="K", help="neighbours of knn (50)")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE", help="write all figures there")
    parser.add_argument("--picture", type=Path, default=None, metavar="FILE", help="write a PNG there")


def plan_of(arguments: argparse.Namespace) -> Plan:
    values = {name: getattr(arguments, name) for name in Plan.__dataclass_fields__}
    return Plan(**values | {"drop": tuple(arguments.drop), "models": tuple(arguments.models)})


def run(plan: Plan) -> int:
    """Fit, measure, tell and write.

    Raises:
        TrainingError: the data cannot be used.
    """
    dataset = read_dataset(plan.file, plan.label, plan.time, plan.drop, sort=plan.sort)
    train, test = dataset.split(plan.test_fraction)
    columns = columns_of(dataset, plan.time, plan.amount)
    choice = chosen(Wishes(neighbors=plan.neighbors), train.n_frauds)
    recipes = [recipe_of(name, choice, columns, plan.seed) for name in plan.models]
    for recipe in recipes:
        recipe.check(plan.file, train)
    outcomes, costs = {}, {}
    with progress_bar("training and scoring", len(plan.models)) as tell:
        for number, recipe in enumerate(recipes, 1):
            trained = train_model(recipe, train, dataset.feature_names)
            probabilities = probabilities_of(trained.model, test.features)
            outcomes[recipe.name] = outcome_of(test, probabilities, amounts_of(test, columns))
            taken = (microseconds_per_row(trained.model, test.features), trained.seconds, trained.megabytes)
            costs[recipe.name] = taken
            tell(number)
    differences = less_than_knn(outcomes, plan.seed)
    compared = [
        Compared(
            name,
            measure(outcome, _THRESHOLD, seed=plan.seed).metrics,
            differences.get(name),
            *at_budget(outcome),
            *costs[name],
        )
        for name, outcome in outcomes.items()
    ]
    _tell(Console(), compared, len(train), test)
    if plan.json is not None:
        write_whole(plan.json, msgspec.json.format(msgspec.json.encode(compared), indent=2) + b"\n")
    if plan.picture is not None:
        write_whole(plan.picture, draw_comparison(compared, outcomes))
    return 0


def at_budget(outcome: Outcome) -> tuple[float, float | None]:
    """Recall, and share of the money, among the two most suspicious of 1,000 transactions."""
    n_alerts = max(1, round(_ALERTS_PER_1000 * len(outcome.labels) / 1000))
    top = np.argsort(-outcome.probabilities, kind="stable")[:n_alerts]
    caught = top[outcome.labels[top] == 1]
    recall = len(caught) / int(outcome.labels.sum())
    if outcome.amounts is None:
        return recall, None
    money = float(outcome.amounts[outcome.labels == 1].sum())
    return recall, float(outcome.amounts[caught].sum()) / money if money else None


def less_than_knn(outcomes: dict[str, Outcome], seed: int) -> dict[str, tuple[float, float]]:
    """Intervals of the difference in average precision, each drawn set measured for both models."""
    if KNN not in outcomes:
        return {}
    cells = {name: Cells.of(outcome) for name, outcome in outcomes.items()}
    drawn: dict[str, list[float]] = {name: [] for name in outcomes}
    for weights in resamples(outcomes[KNN], seed):
        for name, own in cells.items():
            drawn[name].append(float(Ranking.of(own, own.weigh(weights)[np.newaxis]).average_precision[0]))
    ours = np.array(drawn.pop(KNN))
    return {name: interval(ours - np.array(theirs)) for name, theirs in drawn.items()}


def _tell(console: Console, compared: list[Compared], n_train: int, test: Part) -> None:
    table = Table(
        title=f"Trained on {n_train:,} transactions, measured on {len(test):,} later ones, {test.n_frauds} frauds"
    )
    costs = Table(title="What they take", min_width=70)
    for columns, target in ((_QUALITY, table), (_COSTS, costs)):
        for words in columns:
            target.add_column(words, justify="left" if words == "model" else "right", no_wrap=True)
    for one in compared:
        low, high = one.metrics.intervals["average_precision"]
        value = shown("average_precision", one.metrics.average_precision)
        better = "" if one.less_than_knn is None else " to ".join(f"{end:+.3f}" for end in one.less_than_knn)
        money = "" if one.money_at_budget is None else f"{one.money_at_budget:.0%}"
        table.add_row(one.name, f"{value} ({low:.2f}-{high:.2f})", better, f"{one.recall_at_budget:.0%}", money)
        taken = (f"{one.microseconds:,.0f} us", f"{one.training_seconds:,.1f} s", f"{one.megabytes:,.1f} MB")
        costs.add_row(one.name, *taken)
    table.caption = (
        "Ranges are 95 % bootstrap intervals; where kNN is better by a range with 0 in it, nothing is proven. "
        "* with 2 alerts for 1,000 transactions."
    )
    console.print(table)
    console.print(costs)


def draw_comparison(compared: list[Compared], outcomes: dict[str, Outcome]) -> bytes:
    """Average precision with intervals, and the precision-recall curves."""
    figure = new_figure()
    left, right = figure.subplots(1, 2)
    for place, (one, color) in enumerate(zip(compared, _COLORS, strict=False)):
        value = one.metrics.average_precision
        low, high = one.metrics.intervals["average_precision"]
        left.errorbar([value], [place], xerr=[[value - low], [high - value]], fmt="o", color=color, capsize=4)
        left.text(value, place - 0.14, f"{value:.3f}", ha="center", va="bottom", color=color)
        outcome = outcomes[one.name]
        precision, recall, _ = precision_recall_curve(outcome.labels, outcome.probabilities)
        right.step(recall, precision, where="post", color=color, linewidth=1.8, label=one.name)
    left.set_yticks(range(len(compared)), [one.name for one in compared])
    left.set_ylim(len(compared) - 0.4, -0.6)
    left.set(title="Average precision, with 95 % intervals", xlabel="Average precision", xlim=(0, 1))
    right.set(
        title="Precision and recall",
        xlabel="Recall: share of the frauds that are caught",
        ylabel="Precision: share of the alerts that are fraud",
        xlim=(0, 1.02),
        ylim=(0, 1.04),
    )
    right.legend(loc="lower left", framealpha=0.95)
    for axes in (left, right):
        axes.grid(alpha=0.3, color=GREY)
    return png(figure)
