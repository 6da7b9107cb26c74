"""Honest figures of an outcome, each with an interval."""

from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from app.training.bootstrap import (
    N_RESAMPLES,
    CardPrecision,
    Cells,
    Ranking,
    batches,
    interval,
    resamples,
)
from app.training.money import Costs, missed_costs
from app.training.outcome import Outcome, Values

_CALIBRATION_BINS = np.linspace(0, 1, 11)


class Metrics(msgspec.Struct, frozen=True):
    """Measured on transactions later than those that were trained on.

    Average precision, ROC AUC and Brier score are scikit-learn's; precision, recall and F1 are at the threshold.
    Accuracy says nothing where fraud is rare: always answering "legitimate" has `accuracy_of_doing_nothing`.
    `cost` is None without costs, `cost_of_doing_nothing` is that of no alert at all. `intervals` has the bootstrap's
    95 % interval of each of the others, as lower and upper end.
    """

    threshold: float
    average_precision: float
    roc_auc: float
    precision: float
    recall: float
    f1: float
    card_precision_at_100: float
    brier_score: float
    calibration_error: float
    accuracy: float
    accuracy_of_doing_nothing: float
    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int
    cost: float | None
    cost_of_doing_nothing: float | None
    intervals: dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Bands:
    """The middle 95 % of resampled curves over bootstrap.GRID: lower and upper ends, of shape (2, len(GRID))."""

    precision_at_recall: Values
    true_positive_rate: Values


@dataclass(frozen=True)
class Measured:
    """Metrics, and the bands of the curves, that one pass over the resamples gives; no bands without resamples."""

    metrics: Metrics
    bands: Bands | None


class _Sums:
    """Figures that are ratios of weighted sums over rows."""

    def __init__(self, outcome: Outcome, threshold: float, costs: Costs | None) -> None:
        is_fraud = outcome.labels == 1
        is_alert = outcome.probabilities >= threshold
        error = outcome.probabilities - outcome.labels
        bins = np.clip(np.digitize(outcome.probabilities, _CALIBRATION_BINS) - 1, 0, len(_CALIBRATION_BINS) - 2)
        missed = None if costs is None else missed_costs(outcome, costs)
        cost = np.zeros(len(error)) if missed is None or costs is None else np.where(is_alert, costs.alert, missed)
        self._columns = np.column_stack(
            [np.ones(len(error)), is_fraud, is_alert, is_alert & is_fraud, error**2, cost]
            + [error * (bins == number) for number in range(len(_CALIBRATION_BINS) - 1)]
        )
        self._has_costs = costs is not None

    def figures(self, weights: Values) -> dict[str, Values]:
        """For weights of shape (n_weightings, n_rows); costs are of as many rows as there are."""
        rows, fraud, alerts, caught, squared, cost, *errors = (weights @ self._columns).T
        precision, recall = _ratio(caught, alerts), _ratio(caught, fraud)
        figures = {
            "precision": precision,
            "recall": recall,
            "f1": _ratio(2 * caught, alerts + fraud),
            "brier_score": squared / rows,
            "calibration_error": np.abs(errors).sum(axis=0) / rows,
            "accuracy": (rows - alerts - fraud + 2 * caught) / rows,
            "accuracy_of_doing_nothing": 1 - fraud / rows,
        }
        return figures | ({"cost": cost / rows * weights.shape[1]} if self._has_costs else {})


def measure(
    outcome: Outcome, threshold: float, costs: Costs | None = None, *, seed: int = 1, n_resamples: int = N_RESAMPLES
) -> Measured:
    """Every figure with its interval; n_resamples = 0 leaves intervals and bands out."""
    cells, sums, cards = Cells.of(outcome), _Sums(outcome, threshold, costs), CardPrecision(outcome)
    everything = np.ones((1, len(outcome.labels)))
    values, _ = _figures(cells, sums, cards, [everything[0]], np.array([cells.weigh(everything[0])]))
    drawn: dict[str, list[Values]] = {name: [] for name in values}
    rankings = []
    for rows, by_cell in batches(resamples(outcome, seed, n_resamples), cells):
        figures, ranking = _figures(cells, sums, cards, rows, by_cell)
        rankings.append(ranking)
        for name, batch in figures.items():
            drawn[name].append(batch)
    intervals = {name: interval(np.concatenate(batch)) for name, batch in drawn.items() if batch}
    points = {name: float(value[0]) for name, value in values.items()}
    return Measured(_metrics(outcome, threshold, costs, points, intervals), _bands(rankings) if rankings else None)


def calibration_curve(outcome: Outcome) -> list[tuple[float, float, int]]:
    """Mean probability, share of fraud and number of rows of each tenth of the probabilities that has any."""
    bins = np.clip(np.digitize(outcome.probabilities, _CALIBRATION_BINS) - 1, 0, len(_CALIBRATION_BINS) - 2)
    return [
        (float(outcome.probabilities[rows].mean()), float(outcome.labels[rows].mean()), int(rows.sum()))
        for rows in (bins == number for number in range(len(_CALIBRATION_BINS) - 1))
        if rows.any()
    ]


def _figures(
    cells: Cells, sums: _Sums, cards: CardPrecision, rows: list[Values], by_cell: Values
) -> tuple[dict[str, Values], Ranking]:
    ranking = Ranking.of(cells, by_cell)
    figures = {"average_precision": ranking.average_precision, "roc_auc": ranking.roc_auc}
    figures |= sums.figures(np.array(rows))
    figures["card_precision_at_100"] = np.array([cards.measure(weights) for weights in rows])
    return figures, ranking


def _metrics(
    outcome: Outcome,
    threshold: float,
    costs: Costs | None,
    points: dict[str, float],
    intervals: dict[str, tuple[float, float]],
) -> Metrics:
    is_fraud, is_alert = outcome.labels == 1, outcome.probabilities >= threshold
    return Metrics(
        threshold=threshold,
        true_positives=_count(is_alert & is_fraud),
        false_positives=_count(is_alert & ~is_fraud),
        false_negatives=_count(~is_alert & is_fraud),
        true_negatives=_count(~is_alert & ~is_fraud),
        cost_of_doing_nothing=None if costs is None else float(missed_costs(outcome, costs).sum()),
        intervals=intervals,
        **{"cost": None} | points,  # type: ignore[arg-type]  # mypy cannot see the names
    )


def _bands(rankings: list[Ranking]) -> Bands:
    tails = [0.025, 0.975]
    precision = np.concatenate([ranking.precision_at_recall for ranking in rankings])
    rates = np.concatenate([ranking.true_positive_rate for ranking in rankings])
    return Bands(np.quantile(precision, tails, axis=0), np.quantile(rates, tails, axis=0))


def _count(rows: npt.NDArray[np.bool_]) -> int:
    return int(rows.sum())


def _ratio(part: Values, whole: Values) -> Values:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
