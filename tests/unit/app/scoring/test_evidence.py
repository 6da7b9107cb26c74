"""The evidence says what the distances say."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from app.scoring.artifact import Artifact, load_artifact
from app.scoring.evidence import in_words
from app.scoring.prediction import Evidence, Method, Prediction
from app.scoring.scorer import Scorer
from app.scoring.transaction import Transaction
from tests.artifacts import FEATURE_NAMES, FRAUD, LEGITIMATE

_BETWEEN = {"Time": 3.0, "V1": 3.2, "V2": 2.9, "Amount": 260.0}


@pytest.fixture(scope="module")
def loaded(artifact: Path) -> Artifact:
    return load_artifact(artifact)


@pytest.fixture(scope="module")
def scorer(loaded: Artifact) -> Scorer:
    return Scorer(loaded)


def _transaction(fields: dict[str, float]) -> Transaction:
    return Transaction("t", tuple(fields[name] for name in FEATURE_NAMES))


def _evidence(scorer: Scorer, fields: dict[str, float]) -> Evidence:
    (evidence,) = scorer.evidence([_transaction(fields)])
    return evidence


def _by_reference_id(loaded: Artifact) -> npt.NDArray[np.float64]:
    """The scaled reference rows in the order of training."""
    rows: npt.NDArray[np.float64] = np.empty_like(loaded.pipeline[-1]._fit_X)
    assert loaded.fitted.reference is not None
    rows[loaded.fitted.reference.index.reference_ids] = loaded.pipeline[-1]._fit_X
    return rows


@pytest.mark.parametrize("fields", [LEGITIMATE, _BETWEEN, FRAUD])
def test_the_neighbours_votes_are_the_probability(scorer: Scorer, fields: dict[str, float]) -> None:
    (prediction,) = scorer.score([_transaction(fields)])
    neighbors = _evidence(scorer, fields).neighbors

    weights = [1 / neighbor.distance for neighbor in neighbors]
    votes = [weight for weight, neighbor in zip(weights, neighbors, strict=True) if neighbor.is_fraud]
    assert prediction.fraud_probability == pytest.approx(sum(votes) / sum(weights), abs=1e-15)


def test_a_neighbours_distance_is_that_of_its_row(loaded: Artifact, scorer: Scorer) -> None:
    scaled = loaded.pipeline[:-1].transform(np.array([_transaction(_BETWEEN).features]))[0]

    for neighbor in _evidence(scorer, _BETWEEN).neighbors:
        row = _by_reference_id(loaded)[neighbor.reference_id]
        assert neighbor.distance == pytest.approx(float(np.linalg.norm(row - scaled)))


def test_a_neighbours_label_is_that_of_its_row(scorer: Scorer) -> None:
    for neighbor in _evidence(scorer, _BETWEEN).neighbors:
        assert neighbor.is_fraud == (neighbor.reference_id >= 400)


def test_a_neighbours_time_and_amount_are_those_of_its_row(loaded: Artifact, scorer: Scorer) -> None:
    scaler = loaded.pipeline[0].transformers_[0][1]

    for neighbor in _evidence(scorer, LEGITIMATE).neighbors:
        scaled = _by_reference_id(loaded)[neighbor.reference_id]
        assert neighbor.context.keys() == {"Time", "Amount"}
        assert neighbor.context["Amount"] == pytest.approx(scaler.inverse_transform([scaled])[0][2])


def test_the_nearest_frauds_are_the_nearest(loaded: Artifact, scorer: Scorer) -> None:
    scaled = loaded.pipeline[:-1].transform(np.array([_transaction(_BETWEEN).features]))[0]
    distances = np.linalg.norm(_by_reference_id(loaded) - scaled, axis=1)
    expected = 400 + np.argsort(distances[400:])[:3]

    assert [fraud.reference_id for fraud in _evidence(scorer, _BETWEEN).nearest_frauds] == expected.tolist()


def test_the_features_that_part_fraud_from_the_rest_bring_a_fraud_near(scorer: Scorer) -> None:
    fraud = _evidence(scorer, FRAUD).nearest_frauds[0]

    assert {comparison.feature for comparison in fraud.near} == {"V1", "V2", "Amount"}
    assert sum(comparison.share for comparison in fraud.near) == pytest.approx(1.0)


def test_the_feature_that_differs_keeps_a_fraud_away(scorer: Scorer) -> None:
    fraud = _evidence(scorer, FRAUD | {"V2": -4.0}).nearest_frauds[0]

    assert fraud.far[0].feature == "V2"
    assert fraud.far[0].share > 0.8


def test_an_alert_carries_the_evidence(scorer: Scorer) -> None:
    transactions = [_transaction(FRAUD)]

    _, (alert,) = scorer.score_with_alerts(transactions)

    assert alert is not None
    assert alert.evidence == _evidence(scorer, FRAUD)


def test_words_tell_the_verdict_the_votes_and_the_nearest_frauds(scorer: Scorer) -> None:
    (prediction,) = scorer.score([_transaction(FRAUD)])

    words = in_words(prediction, _evidence(scorer, FRAUD))

    assert words[0] == "The fraud probability 1.000 reaches the threshold 0.8."
    assert words[1].startswith("5 of the 5 nearest known transactions are fraud; their distances go from 0.")
    assert len(words) == 2 + 3
    assert all("this one has" in sentence for sentence in words[2:])


def test_words_for_a_model_without_evidence_are_the_verdict_alone() -> None:
    prediction = Prediction("t", 0.25, is_fraud=False, threshold=0.8, model_version="v", method=Method.FULL)

    words = in_words(prediction, Evidence((), ()))

    assert words == ["The fraud probability 0.250 stays below the threshold 0.8."]
