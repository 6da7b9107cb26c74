"""The scorer's answers: what they are, and what they do not depend on."""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.scoring.artifact import Artifact, load_artifact
from app.scoring.errors import TransactionError
from app.scoring.prediction import Method, Severity
from app.scoring.scorer import Scorer
from app.scoring.transaction import Transaction
from tests.artifacts import FEATURE_NAMES, FRAUD, LEGITIMATE


@pytest.fixture(scope="module")
def loaded(artifact: Path) -> Artifact:
    return load_artifact(artifact)


@pytest.fixture(scope="module")
def scorer(loaded: Artifact) -> Scorer:
    return Scorer(loaded)


def _transaction(fields: dict[str, float], transaction_id: str = "t") -> Transaction:
    return Transaction(transaction_id, tuple(fields[name] for name in FEATURE_NAMES))


# From far on the legitimate side to far on the fraudulent one, so that every share of votes comes up.
_FEATURES = st.tuples(st.floats(0, 1e5), st.floats(-3, 9), st.floats(-3, 9), st.floats(-50, 600))
_BATCHES = st.lists(_FEATURES, max_size=12)


def _batch(rows: Sequence[tuple[float, ...]]) -> list[Transaction]:
    return [Transaction(str(index), row) for index, row in enumerate(rows)]


@settings(deadline=None)
@given(_BATCHES)
def test_the_probability_is_the_pipelines_own(loaded: Artifact, scorer: Scorer, rows: list[tuple[float, ...]]) -> None:
    probabilities = [prediction.fraud_probability for prediction in scorer.score(_batch(rows))]

    expected = loaded.pipeline.predict_proba(np.array(rows))[:, 1].tolist() if rows else []
    assert probabilities == pytest.approx(expected, abs=1e-9)


@settings(deadline=None)
@given(_BATCHES)
def test_the_answer_does_not_depend_on_the_batch(scorer: Scorer, rows: list[tuple[float, ...]]) -> None:
    transactions = _batch(rows)

    assert scorer.score(transactions) == [scorer.score([transaction])[0] for transaction in transactions]


@settings(deadline=None)
@given(_BATCHES, st.floats(0, 1, exclude_min=True))
def test_it_is_fraud_from_the_threshold_on(loaded: Artifact, rows: list[tuple[float, ...]], threshold: float) -> None:
    for prediction in Scorer(loaded, threshold).score(_batch(rows)):
        assert prediction.is_fraud is (prediction.fraud_probability >= threshold)
        assert prediction.threshold == threshold


def test_a_probability_of_exactly_the_threshold_is_fraud(loaded: Artifact) -> None:
    (prediction,) = Scorer(loaded, threshold=1.0).score([_transaction(FRAUD)])

    assert (prediction.fraud_probability, prediction.is_fraud) == (1.0, True)


def test_predictions_keep_order_and_id(scorer: Scorer) -> None:
    transactions = [_transaction(FRAUD if index % 3 == 0 else LEGITIMATE, f"id-{index}") for index in range(1_000)]

    predictions = scorer.score(transactions)

    assert [prediction.transaction_id for prediction in predictions] == [f"id-{index}" for index in range(1_000)]
    assert [prediction.is_fraud for prediction in predictions] == [index % 3 == 0 for index in range(1_000)]


def test_no_transactions_have_no_predictions(scorer: Scorer) -> None:
    assert (scorer.score([]), scorer.score_with_alerts([]), scorer.scaled_features([])) == ([], ([], []), [])


def test_every_prediction_names_the_model(loaded: Artifact, scorer: Scorer) -> None:
    (prediction,) = scorer.score([_transaction(LEGITIMATE)])

    assert prediction.model_version == loaded.manifest.model_version


def test_what_is_not_scored_changes_nothing(scorer: Scorer) -> None:
    plain = _transaction(FRAUD)
    with_card = Transaction("t", plain.features, card_id="card-1")

    assert scorer.score([with_card]) == scorer.score([plain])


def test_threads_get_the_same_answers(scorer: Scorer) -> None:
    generator = np.random.default_rng(5)
    rows = generator.uniform([0, -3, -3, -50], [1e5, 9, 9, 600], size=(400, 4))
    transactions = _batch([tuple(row) for row in rows.tolist()])
    expected = scorer.score(transactions)

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(scorer.score, [transactions] * 12))

    assert answers == [expected] * 12


@pytest.mark.parametrize("threshold", [0.0, -0.1, 1.1, math.nan, math.inf])
def test_a_threshold_is_above_0_and_at_most_1(loaded: Artifact, threshold: float) -> None:
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        Scorer(loaded, threshold)


def test_one_bad_transaction_refuses_the_batch_and_is_named(scorer: Scorer) -> None:
    batch = [_transaction(LEGITIMATE, "good"), Transaction("bad", (1.0, math.nan, 1.0, 1.0))]

    with pytest.raises(TransactionError, match="Transaction bad"):
        scorer.score(batch)


def test_alerts_stand_where_their_predictions_do(scorer: Scorer) -> None:
    transactions = [_transaction(LEGITIMATE, "a"), _transaction(FRAUD, "b"), _transaction(LEGITIMATE, "c")]

    predictions, (before, alert, after) = scorer.score_with_alerts(transactions)

    assert predictions == scorer.score(transactions)

    assert (before, after) == (None, None)
    assert alert is not None
    assert alert.prediction == predictions[1]


def test_an_alert_of_certainty_is_critical(scorer: Scorer) -> None:
    transactions = [_transaction(FRAUD)]

    _, (alert,) = scorer.score_with_alerts(transactions)

    assert alert is not None
    assert alert.severity is Severity.CRITICAL


def test_the_features_of_the_distance_are_the_pipelines_own(loaded: Artifact, scorer: Scorer) -> None:
    fields = {"Time": 7.0, "V1": 1.0, "V2": -2.0, "Amount": 31.5}

    (scaled,) = scorer.scaled_features([_transaction(fields)])

    expected = loaded.pipeline[:-1].transform(np.array([[7.0, 1.0, -2.0, 31.5]]))[0]
    assert list(scaled) == ["V1", "V2", "Amount"]
    assert list(scaled.values()) == pytest.approx(expected.tolist())


def test_what_takes_no_search_has_the_same_prediction() -> None:
    scorer = Scorer(load_artifact(Path("model_artifacts/default")))
    generator = np.random.default_rng(3)
    rows = generator.normal(0, 2, size=(200, len(scorer.manifest.feature_names)))
    transactions = _batch([tuple(row) for row in rows.tolist()])

    at_once = [scorer.score_if_certified(transaction) for transaction in transactions]

    predictions = scorer.score(transactions)
    assert [now or later for now, later in zip(at_once, predictions, strict=True)] == predictions
    assert [now is not None for now in at_once] == [prediction.method is Method.CERTIFIED for prediction in predictions]
    assert any(at_once)
    assert not all(at_once)
