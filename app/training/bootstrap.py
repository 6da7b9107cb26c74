"""Intervals of figures: what they could have been, had other transactions of the same kind come.

Transactions are drawn anew with replacement; where cards are known, whole cards are, because the frauds of one card
come together and say less than as many frauds of different cards. A drawn set is a weight for each row, so that every
figure is a sum of weights: rows are sorted by probability once, and those that are alike share a cell.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from app.training.outcome import Counts, Outcome, Values

N_RESAMPLES = 1_000
COVERAGE = 0.95
GRID = np.linspace(0, 1, 101)
"""Recalls, and false positive rates, at which curves are drawn."""

_AT_ONCE = 50
_DAILY_CARDS = 100  # that a team can look at in a day


@dataclass(frozen=True)
class Cells:
    """Rows that are alike, in falling order of probability.

    Attributes:
        of_row: the cell of each row, of shape (n_rows,).
        probabilities: of shape (n_cells,).
        is_fraud: 1.0 or 0.0, of shape (n_cells,).
        ends: the last cell of each different probability, of shape (n_probabilities,).
    """

    of_row: Counts
    probabilities: Values
    is_fraud: Values
    ends: Counts

    @classmethod
    def of(cls, outcome: Outcome) -> "Cells":
        pairs = np.column_stack([-outcome.probabilities, outcome.labels])
        cells, of_row = np.unique(pairs, axis=0, return_inverse=True)
        probabilities = -cells[:, 0]
        ends = np.append(np.flatnonzero(np.diff(probabilities)), len(cells) - 1)
        return cls(of_row.astype(np.int64), probabilities, cells[:, 1], ends.astype(np.int64))

    def weigh(self, rows: Values) -> Values:
        """Sums of row weights (n_rows,) by cell (n_cells,)."""
        return np.bincount(self.of_row, rows, minlength=len(self.probabilities)).astype(np.float64)


@dataclass(frozen=True)
class Ranking:
    """Figures and curves that need no threshold, for each of a number of weightings."""

    average_precision: Values
    roc_auc: Values
    precision_at_recall: Values
    true_positive_rate: Values

    @classmethod
    def of(cls, cells: Cells, weights: Values) -> "Ranking":
        """For weights of shape (n_weightings, n_cells); curves are of shape (n_weightings, len(GRID))."""
        true = np.cumsum(weights * cells.is_fraud, axis=1)[:, cells.ends]
        called = np.cumsum(weights, axis=1)[:, cells.ends]
        false = called - true
        precision = true / np.maximum(called, 1e-12)
        recall = true / np.maximum(true[:, -1:], 1e-12)
        false_rate = false / np.maximum(false[:, -1:], 1e-12)
        average_precision = (np.diff(recall, axis=1, prepend=0.0) * precision).sum(axis=1)
        zeros = np.zeros((len(weights), 1))
        tall, wide = np.hstack([zeros, recall]), np.hstack([zeros, false_rate])
        roc_auc = (np.diff(wide, axis=1) * (tall[:, 1:] + tall[:, :-1]) / 2).sum(axis=1)
        at_recall = [
            p[np.searchsorted(r, np.maximum(GRID - 1e-9, 1e-9))] for p, r in zip(precision, recall, strict=True)
        ]
        rates = [np.interp(GRID, w, t) for w, t in zip(wide, tall, strict=True)]
        return cls(average_precision, roc_auc, np.array(at_recall), np.array(rates))


def resamples(outcome: Outcome, seed: int, n_resamples: int = N_RESAMPLES) -> Iterator[Values]:
    """Weights of rows, of shape (n_rows,), one for each drawn set that has both classes."""
    generator = np.random.default_rng(seed)
    n_units = len(outcome.labels) if outcome.cards is None else int(outcome.cards.max()) + 1
    for _ in range(n_resamples):
        drawn = np.bincount(generator.integers(n_units, size=n_units), minlength=n_units).astype(np.float64)
        weights = drawn if outcome.cards is None else drawn[outcome.cards]
        if 0 < (weights * outcome.labels).sum() < weights.sum():
            yield weights


def interval(values: Values) -> tuple[float, float]:
    """The middle 95 % of values."""
    tail = (1 - COVERAGE) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


class CardPrecision:
    """Card precision at 100: of the 100 highest-scored cards of a day, the share with fraud on that day, over the days.

    Where cards are not known, each transaction counts as a card of its own. A day with fewer than 100 cards is
    measured by as many as it has.
    """

    def __init__(self, outcome: Outcome) -> None:
        cards = np.arange(len(outcome.labels)) if outcome.cards is None else outcome.cards
        days = outcome.days
        order = np.lexsort((cards, -outcome.probabilities, days))
        seen, first = np.unique(np.column_stack([days, cards])[order], axis=0, return_index=True)
        frauds = np.unique(np.column_stack([days, cards])[outcome.labels == 1], axis=0)
        has_fraud = set(map(tuple, frauds.tolist()))
        top_first = np.sort(first)  # the highest-scored row of each card and day, days apart, highest first
        self._row = order[top_first]
        self._day = days[self._row]
        keys = zip(self._day.tolist(), cards[self._row].tolist(), strict=True)
        self._has_fraud = np.array([key in has_fraud for key in keys], dtype=np.float64)
        self._starts = np.flatnonzero(np.diff(self._day, prepend=-1))
        self.n_card_days = len(seen)

    def measure(self, rows: Values) -> float:
        """For weights of rows, of shape (n_rows,); a card that was drawn twice counts as two cards."""
        weights = rows[self._row]
        shares = []
        for start, end in zip(self._starts, [*self._starts[1:], len(weights)], strict=True):
            before = np.cumsum(weights[start:end]) - weights[start:end]
            counted = np.clip(_DAILY_CARDS - before, 0, weights[start:end])
            if counted.sum():
                shares.append((counted * self._has_fraud[start:end]).sum() / counted.sum())
        return float(np.mean(shares)) if shares else 0.0


def batches(weights: Iterator[Values], cells: Cells) -> Iterator[tuple[list[Values], Values]]:
    """Row weights, and their sums by cell of shape (n_weightings, n_cells), some at a time to bound memory."""
    kept: list[Values] = []
    for rows in weights:
        kept.append(rows)
        if len(kept) == _AT_ONCE:
            yield kept, np.array([cells.weigh(rows) for rows in kept])
            kept = []
    if kept:
        yield kept, np.array([cells.weigh(rows) for rows in kept])
