"""The worst mistakes of a nearest-neighbour model, with the neighbours that made them."""

from dataclasses import dataclass

import numpy as np

from app.scoring.evidence import Witness
from app.scoring.prediction import Neighbor
from app.training.dataset import Part
from app.training.outcome import Outcome

_N_CASES = 5


@dataclass(frozen=True)
class Case:
    """A mistake.

    Attributes:
        number: of the transaction, counted from 1 in time order.
        time: in seconds.
        amount: None where amounts are not known.
        probability: what the model said.
        neighbors: nearest first; None where the model has none to show.
    """

    number: int
    time: float
    amount: float | None
    probability: float
    neighbors: tuple[Neighbor, ...] | None


@dataclass(frozen=True)
class Mistakes:
    """The frauds with the lowest probabilities, and the legitimate transactions with the highest, worst first."""

    missed: list[Case]
    false_alerts: list[Case]


def find_mistakes(part: Part, outcome: Outcome, threshold: float, witness: Witness | None) -> Mistakes:
    amounts = np.zeros(len(part)) if outcome.amounts is None else outcome.amounts
    is_fraud, is_alert = outcome.labels == 1, outcome.probabilities >= threshold
    by_miss = np.lexsort((-amounts, outcome.probabilities))
    by_alarm = np.lexsort((-amounts, -outcome.probabilities))
    missed = by_miss[(is_fraud & ~is_alert)[by_miss]][:_N_CASES]
    false = by_alarm[(~is_fraud & is_alert)[by_alarm]][:_N_CASES]
    return Mistakes(_cases(part, outcome, missed, witness), _cases(part, outcome, false, witness))


def _cases(part: Part, outcome: Outcome, rows: np.ndarray, witness: Witness | None) -> list[Case]:
    evidence: list[tuple[Neighbor, ...]] | list[None] = (
        [None] * len(rows)
        if witness is None
        else [evidence.neighbors for evidence in witness.evidence(part.features[rows])]
    )
    return [
        Case(
            number=int(row) + 1,
            time=float(outcome.times[row]),
            amount=None if outcome.amounts is None else float(outcome.amounts[row]),
            probability=float(outcome.probabilities[row]),
            neighbors=found,
        )
        for row, found in zip(rows, evidence, strict=True)
    ]
