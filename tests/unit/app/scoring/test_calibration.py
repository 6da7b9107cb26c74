"""A calibration never reverses an order, and the quick answers are the full ones."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from app.scoring.artifact import Artifact, load_artifact, save_artifact
from app.scoring.calibration import Calibration, Calibrator
from app.scoring.errors import ArtifactSchemaError
from app.scoring.prediction import Method
from app.scoring.scorer import Scorer
from app.scoring.transaction import Transaction

_PROBABILITIES = st.lists(st.floats(0, 1), min_size=2, max_size=60)


def _calibrator(kind: str, seed: int) -> Calibrator:
    """Fitted on votes of which most are 0, and fraud is the more frequent the higher they are."""
    generator = np.random.default_rng(seed)
    votes = np.where(generator.random(600) < 0.7, 0.0, generator.random(600))
    labels = (generator.random(600) < 0.05 + 0.7 * votes**2).astype(int)
    if kind == "isotonic":
        return IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(votes, labels)
    return LogisticRegression(C=1e6).fit(votes[:, np.newaxis], labels)


def _expected(calibrator: Calibrator, probabilities: np.ndarray) -> np.ndarray:
    if isinstance(calibrator, IsotonicRegression):
        return np.asarray(calibrator.predict(probabilities))
    return np.asarray(calibrator.predict_proba(probabilities[:, np.newaxis])[:, 1])


@pytest.mark.parametrize("kind", ["isotonic", "sigmoid"])
@settings(max_examples=60, deadline=None)
@given(probabilities=_PROBABILITIES, seed=st.integers(0, 20))
def test_the_order_is_never_reversed(kind: str, probabilities: list[float], seed: int) -> None:
    rising = np.sort(probabilities)
    neighbors = np.nextafter(rising, 2.0)

    calibrated = Calibration(_calibrator(kind, seed))(np.sort(np.concatenate([rising, neighbors])))

    assert (np.diff(calibrated) >= 0).all()
    assert calibrated.min() >= 0
    assert calibrated.max() <= 1


@pytest.mark.parametrize("kind", ["isotonic", "sigmoid"])
@settings(max_examples=60, deadline=None)
@given(probabilities=_PROBABILITIES, seed=st.integers(0, 20))
def test_it_is_scikit_learns_curve_and_each_value_stands_alone(
    kind: str, probabilities: list[float], seed: int
) -> None:
    calibrator = _calibrator(kind, seed)
    calibration = Calibration(calibrator)
    values = np.array(probabilities)

    together = calibration(values)

    assert together == pytest.approx(_expected(calibrator, values), abs=1e-12)
    assert together.tolist() == [calibration(values[i : i + 1])[0] for i in range(len(values))]
    assert calibration.at_zero == calibration(np.zeros(3))[2]


def test_a_curve_of_one_point_is_level() -> None:
    level = IsotonicRegression(out_of_bounds="clip").fit([0.5, 0.5], [0, 1])

    assert Calibration(level)(np.array([0.0, 0.5, 1.0])).tolist() == [0.5, 0.5, 0.5]


def test_a_curve_that_falls_is_refused() -> None:
    falling = LogisticRegression().fit([[0.0], [1.0]], [1, 0])
    falling_steps = IsotonicRegression(increasing=False).fit([0.0, 1.0], [1, 0])

    for calibrator in (falling, falling_steps):
        with pytest.raises(ValueError, match="falls"):
            Calibration(calibrator)


@pytest.fixture(scope="module")
def shipped() -> Artifact:
    """Of its answers most are certified."""
    return load_artifact(Path("model_artifacts/default"))


@pytest.fixture(params=["isotonic", "sigmoid"])
def calibrated(request: pytest.FixtureRequest, shipped: Artifact) -> Artifact:
    fitted = dataclasses.replace(shipped.fitted, calibrator=_calibrator(request.param, 3))
    return dataclasses.replace(shipped, fitted=fitted)


def _transactions(n_features: int, n_rows: int = 300) -> list[Transaction]:
    rows = np.random.default_rng(3).normal(0, 2, size=(n_rows, n_features))
    return [Transaction(str(index), tuple(row)) for index, row in enumerate(rows.tolist())]


@pytest.mark.parametrize("kind", ["isotonic", "sigmoid"])
def test_an_answer_is_the_calibrated_vote(kind: str, artifact: Path, tmp_path: Path) -> None:
    loaded = load_artifact(artifact)
    calibrator = _calibrator(kind, 3)
    fitted = dataclasses.replace(loaded.fitted, calibrator=calibrator)
    save_artifact(tmp_path / "calibrated", fitted, training={}, metrics={})
    rows = np.random.default_rng(5).uniform([0, -3, -3, -50], [1e5, 9, 9, 600], size=(300, 4))
    transactions = [Transaction(str(index), tuple(row)) for index, row in enumerate(rows.tolist())]

    votes = np.array([prediction.fraud_probability for prediction in Scorer(loaded).score(transactions)])
    again = Scorer(load_artifact(tmp_path / "calibrated")).score(transactions)

    answers = [prediction.fraud_probability for prediction in again]
    assert answers == pytest.approx(_expected(calibrator, votes).tolist(), abs=1e-12)
    assert len(set(answers)) > 5


def test_what_takes_no_search_has_the_same_calibrated_answer(calibrated: Artifact) -> None:
    scorer = Scorer(calibrated)
    transactions = _transactions(len(calibrated.manifest.feature_names))
    predictions = scorer.score(transactions)

    at_once = [scorer.score_if_certified(transaction) for transaction in transactions]

    assert [now or later for now, later in zip(at_once, predictions, strict=True)] == predictions
    assert [now is not None for now in at_once] == [prediction.method is Method.CERTIFIED for prediction in predictions]
    assert {now.fraud_probability for now in at_once if now} == {Calibration(calibrated.fitted.calibrator).at_zero}
    assert 0 < sum(now is not None for now in at_once) < len(at_once)


def test_the_answer_does_not_depend_on_the_batch(calibrated: Artifact) -> None:
    scorer = Scorer(calibrated)
    transactions = _transactions(len(calibrated.manifest.feature_names), 60)

    assert [scorer.score([transaction])[0] for transaction in transactions] == scorer.score(transactions)


def test_a_certified_answer_above_a_low_threshold_is_an_alert_with_neighbours(calibrated: Artifact) -> None:
    scorer = Scorer(calibrated, threshold=1e-6)
    transactions = _transactions(len(calibrated.manifest.feature_names), 40)

    predictions, alerts = scorer.score_with_alerts(transactions)

    certified = [index for index, found in enumerate(predictions) if found.method is Method.CERTIFIED]
    assert certified
    for index in certified:
        at_once = scorer.score_if_certified(transactions[index])
        assert at_once is not None
        assert at_once.is_fraud
        alert = alerts[index]
        assert alert is not None
        assert alert.evidence == scorer.evidence([transactions[index]])[0]
        assert len(alert.evidence.neighbors) == 10


def test_an_unknown_calibration_is_refused(artifact: Path, tmp_path: Path) -> None:
    loaded = load_artifact(artifact)
    fitted = dataclasses.replace(loaded.fitted, calibrator="by hand")
    save_artifact(tmp_path / "unknown", fitted, training={}, metrics={})

    with pytest.raises(ArtifactSchemaError, match="calibration of the model"):
        load_artifact(tmp_path / "unknown")
