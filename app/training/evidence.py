"""The worst mistakes of a model, with the neighbours that made them where it has any."""

from dataclasses import dataclass

import numpy as np

from app.scoring.model import Model
from app.scoring.prediction import Evidence
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
        evidence: why the model said so.
    """

    number: int
    time: float
    amount: float | None
    probability: float
    evidence: Evidence


@dataclass(frozen=True)
class Mistakes:
    """The frauds with the lowest probabilities, and the legitimate transactions with the highest, worst first."""

    missed: list[Case]
    false_alerts: list[Case]


def find_mistakes(part: Part, outcome: Outcome, threshold: float, model: Model) -> Mistakes:
    amounts = np.zeros(len(part)) if outcome.amounts is None else outcome.amounts
    is_fraud, is_alert = outcome.labels == 1, outcome.probabilities >= threshold
    by_miss = np.lexsort((-amounts, outcome.probabilities))
    by_alarm = np.lexsort((-amounts, -outcome.probabilities))
    missed = by_miss[(is_fraud & ~is_alert)[by_miss]][:_N_CASES]
    false = by_alarm[(~is_fraud & is_alert)[by_alarm]][:_N_CASES]
    return Mistakes(_cases(part, outcome, missed, model), _cases(part, outcome, false, model))


def _cases(part: Part, outcome: Outcome, rows: np.ndarray, model: Model) -> list[Case]:
    return [
        Case(
            number=int(row) + 1,
            time=float(outcome.times[row]),
            amount=None if outcome.amounts is None else float(outcome.amounts[row]),
            probability=float(outcome.probabilities[row]),
            evidence=evidence,
        )
        for row, evidence in zip(rows, model.evidence(part.features[rows]), strict=True)
    ]
