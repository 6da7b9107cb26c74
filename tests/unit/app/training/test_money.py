"""Costs of a threshold, against counting by hand."""

import argparse

import numpy as np
import pytest

from app.training import money
from app.training.errors import TrainingError
from app.training.money import Costs, cheapest_threshold, cost_curve, costs_of, ladder
from app.training.outcome import Outcome

OUTCOME = Outcome(
    labels=np.array([1, 0, 1, 0, 0, 1]),
    probabilities=np.array([0.9, 0.9, 0.6, 0.2, 0.2, 0.0]),
    times=np.zeros(6),
    amounts=np.array([100.0, 7.0, 30.0, 7.0, 7.0, 50.0]),
)


def _parse(*words: str) -> Costs | None:
    parser = argparse.ArgumentParser()
    money.add_arguments(parser)
    return costs_of(parser.parse_args(words))


def test_costs_are_none_unless_named() -> None:
    assert _parse() is None


@pytest.mark.parametrize(
    ("words", "costs"),
    [
        (("--cost-alert", "2.5"), Costs("amount", 2.5)),
        (("--cost-missed", "120"), Costs(120.0, 5.0)),
        (("--cost-missed", "amount", "--cost-alert", "0"), Costs("amount", 0.0)),
    ],
)
def test_what_is_not_named_has_its_default(words: tuple[str, ...], costs: Costs) -> None:
    assert _parse(*words) == costs


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "much"])
def test_a_cost_is_a_number_that_is_not_negative(text: str) -> None:
    with pytest.raises(SystemExit):
        _parse("--cost-alert", text)


def test_the_curve_is_the_cost_at_each_different_probability() -> None:
    thresholds, cost = cost_curve(OUTCOME, Costs("amount", 10.0))

    assert thresholds.tolist() == [1.0, 0.9, 0.6, 0.2, 0.0]
    assert cost.tolist() == [180.0, 80.0 + 20.0, 50.0 + 30.0, 50.0 + 50.0, 60.0]


def test_the_cheapest_threshold_stands_between_two_probabilities() -> None:
    assert cheapest_threshold(OUTCOME, Costs("amount", 10.0)) == pytest.approx((0.6 + 0.2) / 2)


def test_free_alerts_make_an_alert_of_all_that_has_a_probability() -> None:
    assert cheapest_threshold(OUTCOME, Costs("amount", 0.0)) == pytest.approx(0.4)


def test_dear_alerts_leave_only_certainty() -> None:
    assert cheapest_threshold(OUTCOME, Costs(1.0, 1_000.0)) > 0.9


def test_a_step_of_the_ladder_counts_alerts_and_money() -> None:
    (step,) = ladder(OUTCOME, Costs("amount", 10.0), (0.5,))

    assert step.alerts_per_1000 == pytest.approx(500)
    assert (step.precision, step.recall) == pytest.approx((2 / 3, 2 / 3))
    assert step.money_caught == pytest.approx(130 / 180)
    assert step.cost == pytest.approx(50 + 30)


def test_amounts_as_costs_need_amounts() -> None:
    outcome = Outcome(OUTCOME.labels, OUTCOME.probabilities, OUTCOME.times)

    with pytest.raises(TrainingError, match="name one with --amount, or give --cost-missed a number"):
        cheapest_threshold(outcome, Costs())
    assert ladder(outcome, Costs(50.0, 1.0))[0].money_caught is None
