"""Models without neighbours behind the same scorer: their answers are scikit-learn's, in whatever batch."""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.scoring.artifact import NEIGHBORS_FILE, Artifact, load_artifact
from app.scoring.evidence import in_words
from app.scoring.prediction import Method
from app.scoring.scorer import Scorer
from app.scoring.transaction import Transaction
from app.training.models import MODELS
from tests.artifacts import FEATURE_NAMES, LEGITIMATE, make_whole_artifact

_WHOLE = MODELS[1:]
_LARGEST = 1.7976931348623157e308
_STRANGE = {"Time": 10.0, "V1": 9.0, "V2": 9.0, "Amount": 600.0}


@pytest.fixture(scope="module", params=_WHOLE)
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    directory = tmp_path_factory.mktemp("whole")
    make_whole_artifact(directory, request.param)
    return load_artifact(directory)


@pytest.fixture(scope="module")
def scorer(loaded: Artifact) -> Scorer:
    return Scorer(loaded, threshold=0.5)


def _transaction(fields: dict[str, float], transaction_id: str = "t") -> Transaction:
    return Transaction(transaction_id, tuple(fields[name] for name in FEATURE_NAMES))


def _batch(rows: Sequence[Sequence[float]]) -> list[Transaction]:
    return [Transaction(str(index), tuple(row)) for index, row in enumerate(rows)]


def _spread(n_rows: int, seed: int = 5) -> list[Transaction]:
    """From far on the legitimate side to far on the fraudulent one."""
    generator = np.random.default_rng(seed)
    return _batch(generator.uniform([0, -3, -3, -50], [1e5, 9, 9, 600], size=(n_rows, 4)).tolist())


def test_the_probability_is_the_pipelines_own(loaded: Artifact, scorer: Scorer) -> None:
    transactions = _spread(300)
    expected = loaded.pipeline.predict_proba(np.array([transaction.features for transaction in transactions]))[:, 1]

    answers = [prediction.fraud_probability for prediction in scorer.score(transactions)]

    assert answers == pytest.approx(expected.tolist(), abs=1e-12)
    assert len(set(answers)) > 5


def test_the_answer_does_not_depend_on_the_batch(scorer: Scorer) -> None:
    transactions = _spread(40)
    together = scorer.score(transactions)

    assert [scorer.score([transaction])[0] for transaction in transactions] == together
    assert scorer.score(transactions[::-1]) == together[::-1]
    assert scorer.score(transactions[3:10]) == together[3:10]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(*[st.floats(-_LARGEST, _LARGEST, allow_nan=False, allow_infinity=False)] * 4), max_size=3))
def test_every_finite_number_has_an_answer(scorer: Scorer, rows: list[tuple[float, ...]]) -> None:
    for prediction in scorer.score(_batch(rows)):
        assert 0.0 <= prediction.fraud_probability <= 1.0


def test_threads_get_the_same_answers(scorer: Scorer) -> None:
    transactions = _spread(100)
    expected = scorer.score(transactions)

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(scorer.score, [transactions] * 8))

    assert answers == [expected] * 8


def test_fraud_has_a_higher_probability_than_what_is_usual(scorer: Scorer) -> None:
    fraud, legitimate = scorer.score([_transaction(_STRANGE), _transaction(LEGITIMATE)])

    assert fraud.fraud_probability > 3 * legitimate.fraud_probability


def test_it_is_evaluated_whole_and_never_on_an_event_loop(scorer: Scorer) -> None:
    (prediction,) = scorer.score([_transaction(LEGITIMATE)])

    assert prediction.method is Method.MODEL
    assert scorer.score_if_certified(_transaction(LEGITIMATE)) is None


def test_no_transactions_have_no_predictions(scorer: Scorer) -> None:
    assert (scorer.score([]), scorer.score_with_alerts([]), scorer.evidence([])) == ([], ([], []), [])


def test_what_a_feature_does_is_what_the_scorer_says_without_it(scorer: Scorer) -> None:
    (evidence,) = scorer.evidence([_transaction(_STRANGE)])

    assert evidence.influences
    for influence in evidence.influences:
        (changed,) = scorer.score([_transaction(_STRANGE | {influence.feature: influence.usual})])
        assert influence.probability_if_usual == changed.fraud_probability
    strengths = [influence.probability_if_usual for influence in evidence.influences]
    assert strengths == sorted(strengths)


def test_a_feature_that_the_model_does_not_look_at_has_no_influence(scorer: Scorer) -> None:
    (evidence,) = scorer.evidence([_transaction(_STRANGE | {"Time": 1e6})])

    assert "Time" not in {influence.feature for influence in evidence.influences}


def test_it_says_that_it_has_no_neighbours(scorer: Scorer) -> None:
    (evidence,) = scorer.evidence([_transaction(_STRANGE)])
    (prediction,) = scorer.score([_transaction(_STRANGE)])
    words = in_words(prediction, evidence)

    assert (evidence.neighbors, evidence.nearest_frauds) == ((), ())
    assert "not available for this model" in str(evidence.not_available)
    assert words[-1] == evidence.not_available
    assert f"were it {evidence.influences[0].usual:.2f}, as usual, the probability would be" in words[1]


def test_an_alert_carries_the_influences(loaded: Artifact) -> None:
    scorer = Scorer(loaded, threshold=0.3)

    _, (before, alert) = scorer.score_with_alerts([_transaction(LEGITIMATE), _transaction(_STRANGE)])

    assert before is None
    assert alert is not None
    assert alert.evidence == scorer.evidence([_transaction(_STRANGE)])[0]


def test_what_the_model_looks_at_is_finite_and_has_names(loaded: Artifact, scorer: Scorer) -> None:
    (inputs,) = scorer.scaled_features([_transaction(LEGITIMATE)])

    expected = loaded.pipeline[:-1].transform(np.array([_transaction(LEGITIMATE).features]))[0]
    assert list(inputs) == ["V1", "V2", "Amount"]
    assert list(inputs.values()) == pytest.approx(expected.tolist())
    assert all(math.isfinite(value) for value in inputs.values())


@pytest.mark.parametrize("model", _WHOLE)
def test_the_same_rows_and_seed_give_the_same_bytes(model: str, tmp_path: Path) -> None:
    first, second = (make_whole_artifact(tmp_path / name, model) for name in "ab")

    assert first == second
    assert not (tmp_path / "a" / NEIGHBORS_FILE).exists()
