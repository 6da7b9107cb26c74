"""What a threshold costs: frauds that are missed against alerts that somebody has to look at."""

import argparse
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from app.training.errors import TrainingError
from app.training.outcome import Outcome

LADDER = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
"""Thresholds that people ask about."""

_HIGHEST = 1.0

Values = npt.NDArray[np.float64]


class Costs(msgspec.Struct, frozen=True):
    """What a mistake costs, in the currency of the amounts.

    Attributes:
        missed: of a fraud without an alert; "amount" is the transaction's own amount.
        alert: of looking at one alert, right or wrong.
    """

    missed: float | Literal["amount"] = "amount"
    alert: float = 5.0


class Step(msgspec.Struct, frozen=True):
    """What happens at one threshold.

    Attributes:
        threshold: alerts are the probabilities from here.
        alerts_per_1000: alerts among 1,000 transactions.
        precision: share of the alerts that are fraud.
        recall: share of the frauds that are alerts.
        money_caught: share of the money of all frauds that is in alerts; None without amounts.
        cost: of the missed frauds and of the alerts together.
    """

    threshold: float
    alerts_per_1000: float
    precision: float
    recall: float
    money_caught: float | None
    cost: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cost-missed",
        type=_missed,
        default=None,
        metavar="EUR",
        help="what a missed fraud costs: 'amount', the transaction's own (the default), or a number",
    )
    parser.add_argument("--cost-alert", type=not_negative, default=None, metavar="EUR", help="what an alert costs (5)")


def costs_of(arguments: argparse.Namespace) -> Costs | None:
    """The costs of a command line; None where it names none."""
    missed, alert = arguments.cost_missed, arguments.cost_alert
    if missed is None and alert is None:
        return None
    return Costs(Costs().missed if missed is None else missed, Costs().alert if alert is None else alert)


def missed_costs(outcome: Outcome, costs: Costs) -> Values:
    """What it costs not to raise an alert, by row; 0 where it is legitimate.

    Raises:
        TrainingError: the costs are amounts, and there are none.
    """
    if costs.missed != "amount":
        return np.where(outcome.labels == 1, costs.missed, 0.0)
    if outcome.amounts is None:
        raise TrainingError(
            "A missed fraud shall cost its amount, and there is no column of amounts; name one with --amount, or give "
            "--cost-missed a number."
        )
    return np.where(outcome.labels == 1, outcome.amounts, 0.0)


def cost_curve(outcome: Outcome, costs: Costs) -> tuple[Values, Values]:
    """Every threshold that makes a difference, falling from 1, and the cost at each."""
    order = np.argsort(-outcome.probabilities, kind="stable")
    probabilities, missed = outcome.probabilities[order], missed_costs(outcome, costs)[order]
    ends = np.append(np.flatnonzero(np.diff(probabilities)), len(order) - 1)
    cost = missed.sum() - np.cumsum(missed)[ends] + costs.alert * (ends + 1.0)
    thresholds = probabilities[ends]
    if thresholds[0] < _HIGHEST:
        return np.append(_HIGHEST, thresholds), np.append(missed.sum(), cost)
    return thresholds, cost


def cheapest_threshold(outcome: Outcome, costs: Costs) -> float:
    """The highest of the cheapest thresholds; above 0, because a threshold of 0 would make an alert of everything.

    It stands halfway to the next lower probability, so that a small change of a probability changes no decision.
    """
    thresholds, cost = cost_curve(outcome, costs)
    allowed = thresholds > 0
    best = int(np.argmin(cost[allowed]))
    lower = thresholds[best + 1] if best + 1 < len(thresholds) else 0.0
    return float((thresholds[best] + lower) / 2)


def ladder(outcome: Outcome, costs: Costs, thresholds: tuple[float, ...] = LADDER) -> list[Step]:
    missed = missed_costs(outcome, costs)
    return [_step(outcome, missed, costs, threshold) for threshold in thresholds]


def _step(outcome: Outcome, missed: Values, costs: Costs, threshold: float) -> Step:
    is_alert, is_fraud = outcome.probabilities >= threshold, outcome.labels == 1
    n_alerts, n_caught = int(is_alert.sum()), int((is_alert & is_fraud).sum())
    money = None if outcome.amounts is None else outcome.amounts[is_fraud].sum()
    return Step(
        threshold=threshold,
        alerts_per_1000=1000 * n_alerts / len(is_alert),
        precision=n_caught / n_alerts if n_alerts else 0.0,
        recall=n_caught / int(is_fraud.sum()),
        money_caught=_share(outcome, is_alert & is_fraud, money),
        cost=float(missed[~is_alert].sum() + costs.alert * n_alerts),
    )


def _share(outcome: Outcome, caught: npt.NDArray[np.bool_], money: float | None) -> float | None:
    if outcome.amounts is None or not money:
        return None
    return float(outcome.amounts[caught].sum() / money)


def _missed(text: str) -> float | Literal["amount"]:
    return "amount" if text == "amount" else not_negative(text)


def not_negative(text: str) -> float:
    number = float(text)
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0")
    return number
