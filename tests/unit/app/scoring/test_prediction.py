"""How urgent an alert is."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.scoring.prediction import Method, Prediction, Severity, severity


def _prediction(probability: float, threshold: float) -> Prediction:
    return Prediction("t", probability, is_fraud=True, threshold=threshold, model_version="v", method=Method.SEARCHED)


@pytest.mark.parametrize(
    ("probability", "expected"),
    [(0.5, Severity.HIGH), (0.74, Severity.HIGH), (0.75, Severity.CRITICAL), (1.0, Severity.CRITICAL)],
)
def test_it_is_critical_from_halfway_between_threshold_and_certainty(probability: float, expected: Severity) -> None:
    assert severity(_prediction(probability, threshold=0.5)) is expected


@given(st.floats(0, 1, exclude_min=True))
def test_certainty_is_critical_at_every_threshold(threshold: float) -> None:
    assert severity(_prediction(1.0, threshold)) is Severity.CRITICAL


@given(st.floats(0, 1, exclude_min=True), st.floats(0, 1), st.floats(0, 1))
def test_a_higher_probability_is_never_less_severe(threshold: float, first: float, second: float) -> None:
    urgency = [Severity.HIGH, Severity.CRITICAL]
    lower, higher = sorted([first, second])

    assert urgency.index(severity(_prediction(lower, threshold))) <= urgency.index(
        severity(_prediction(higher, threshold))
    )


def test_a_prediction_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        _prediction(0.5, 0.5).is_fraud = False  # type: ignore[misc]


def test_a_severity_is_its_word_in_json() -> None:
    assert msgspec.json.encode(Severity.CRITICAL) == b'"critical"'
