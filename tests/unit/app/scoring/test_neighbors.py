"""The answers are those of a full search, whatever the data, the batch and the way they were found."""

import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from app.scoring.neighbors import NearestNeighbors, index_pipeline
from app.scoring.prediction import Method

_Matrix = npt.NDArray[np.float64]
_KINDS = (
    "clustered",
    "duplicated",
    "grid",
    "one point",
    "flat",
    "heavy tails",
    "far away",
    "beyond single precision",
    "huge",
    "overflow",
    "tiny",
    "of all sizes",
)


@dataclass(frozen=True)
class Problem:
    """Reference rows with labels, rows to ask for, and a classifier that is fitted on them without any scaling."""

    reference: _Matrix
    is_fraud: npt.NDArray[np.bool_]
    questions: _Matrix
    classifier: KNeighborsClassifier

    @property
    def neighbors(self) -> NearestNeighbors:
        return NearestNeighbors(index_pipeline(Pipeline([("neighbors", self.classifier)])))


def _rows(generator: np.random.Generator, kind: str, shape: tuple[int, int]) -> _Matrix:
    normal = generator.normal(size=shape)
    rows: dict[str, _Matrix] = {
        "clustered": generator.integers(-3, 3, size=(6, shape[1]))[generator.integers(6, size=shape[0])] + 0.1 * normal,
        "duplicated": normal[generator.integers(max(1, shape[0] // 8), size=shape[0])],
        "grid": np.round(normal),
        "one point": np.ones(shape),
        "flat": normal * (np.arange(shape[1]) == 0),
        "heavy tails": normal / np.maximum(generator.uniform(size=(shape[0], 1)), 1e-4) ** 2,
        "far away": normal + 1e7,
        "beyond single precision": normal * 2e19,
        "huge": normal * 1e140,
        "of all sizes": normal * 10.0 ** generator.integers(-25, 25, size=(shape[0], 1)),
        "overflow": normal * 1e200,
        "tiny": normal * 1e-160,
    }
    return np.ascontiguousarray(rows[kind], dtype=np.float64)


@st.composite
def problems(draw: st.DrawFn, kinds: tuple[str, ...] = _KINDS) -> Problem:
    """Of any kind, size, share of fraud and k."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1), label="seed"))
    kind = draw(st.sampled_from(kinds), label="kind")
    n_reference = draw(st.integers(2, 900), label="reference rows")
    rows = _rows(generator, kind, (n_reference + 24, draw(st.integers(1, 9), label="features")))
    reference, questions = rows[:n_reference], rows[n_reference:]
    questions[:8] = reference[generator.integers(n_reference, size=8)]
    questions[8:12] *= 30.0
    n_fraud = min(n_reference - 1, draw(st.sampled_from([1, 2, 5, 40, 300]), label="frauds"))
    near_each_other = reference[:, 0].argsort(kind="stable")[-n_fraud:]
    anywhere = generator.choice(n_reference, n_fraud, replace=False)
    is_fraud = np.zeros(n_reference, dtype=bool)
    is_fraud[near_each_other if draw(st.booleans(), label="frauds together") else anywhere] = True
    classifier = KNeighborsClassifier(
        min(n_reference, draw(st.integers(1, 200), label="k")),
        weights=draw(st.sampled_from(["uniform", "distance"]), label="weights"),
        algorithm="brute",
    )
    return Problem(reference, is_fraud, questions, classifier.fit(reference, is_fraud.astype(int)))


def _distances(problem: Problem, question: _Matrix) -> _Matrix:
    with np.errstate(over="ignore"):
        return np.asarray(np.sqrt(np.square(problem.reference - question).sum(axis=1)))


def _by_full_search(problem: Problem, question: _Matrix) -> tuple[float, _Matrix, npt.NDArray[np.intp]]:
    """Probability, distances and reference ids by the definition."""
    distances = _distances(problem, question)
    nearest = np.lexsort((np.arange(len(distances)), distances))[: problem.classifier.n_neighbors]
    with np.errstate(divide="ignore"):
        weights = 1.0 / distances[nearest]
    if problem.classifier.weights == "uniform":
        weights = np.ones(len(nearest))
    elif np.isinf(weights).any():
        weights = np.isinf(weights).astype(float)
    sides = [0.0, 0.0]
    for is_fraud, weight in zip(problem.is_fraud[nearest].tolist(), weights.tolist(), strict=True):
        sides[is_fraud] += weight
    return sides[1] / (sum(sides) or 1.0), distances[nearest], nearest


@settings(max_examples=250, deadline=None)
@given(problems())
def test_a_probability_is_that_of_a_full_search(problem: Problem) -> None:
    expected = [_by_full_search(problem, question)[0] for question in problem.questions]

    assert problem.neighbors.fraud_probability(problem.questions).tolist() == expected


@settings(max_examples=150, deadline=None)
@given(problems())
def test_the_neighbours_are_those_of_a_full_search(problem: Problem) -> None:
    neighbors = problem.neighbors

    found = neighbors.nearest(problem.questions)

    for question, neighborhood in zip(problem.questions, found, strict=True):
        _, distances, ids = _by_full_search(problem, question)
        assert neighborhood.distances.tolist() == distances.tolist()
        assert neighbors.reference_ids[neighborhood.rows].tolist() == ids.tolist()


@settings(max_examples=150, deadline=None)
@given(problems())
def test_an_answer_does_not_depend_on_its_batch(problem: Problem) -> None:
    neighbors = problem.neighbors
    together = neighbors.fraud_probability(problem.questions).tolist()

    assert [neighbors.fraud_probability(question[np.newaxis])[0] for question in problem.questions] == together
    assert neighbors.fraud_probability(problem.questions[::-1]).tolist() == together[::-1]


# Where scikit-learn's own expansion of the distance neither overflows nor cancels.
_ORDINARY = ("clustered", "duplicated", "grid", "one point", "flat")


@settings(max_examples=120, deadline=None)
@given(problems(_ORDINARY))
def test_an_answer_is_one_that_scikit_learns_choice_among_ties_allows(problem: Problem) -> None:
    k = problem.classifier.n_neighbors
    answers = problem.neighbors.fraud_probability(problem.questions).tolist()
    its_answers = problem.classifier.predict_proba(problem.questions)[:, 1].tolist()

    for question, answer, its_answer in zip(problem.questions, answers, its_answers, strict=True):
        distances = _distances(problem, question)
        last = np.sort(distances)[k - 1]
        rounding = 1e-7 * (1.0 + np.abs(question).max())
        is_sure, is_tied = distances < last - rounding, np.abs(distances - last) <= rounding
        n_open = k - int(is_sure.sum())
        if int(is_tied.sum()) == n_open and distances.min() > 1_000 * rounding:  # nearer ones cancel in its expansion
            assert answer == pytest.approx(its_answer, abs=1e-6)
        elif problem.classifier.weights == "uniform":
            tied_fraud = int((is_tied & problem.is_fraud).sum())
            tied_legitimate = int(is_tied.sum()) - tied_fraud
            sure_fraud = int((is_sure & problem.is_fraud).sum())
            least, most = sure_fraud + max(0, n_open - tied_legitimate), sure_fraud + min(n_open, tied_fraud)
            assert least / k <= answer <= most / k
            assert least / k <= its_answer <= most / k


def test_equal_distances_go_to_the_row_that_was_trained_on_first() -> None:
    classifier = KNeighborsClassifier(2, algorithm="brute").fit(np.array([[1.0], [-1.0], [1.0], [5.0]]), [1, 0, 0, 0])
    neighbors = NearestNeighbors(index_pipeline(Pipeline([("neighbors", classifier)])))

    (neighborhood,) = neighbors.nearest(np.zeros((1, 1)))

    assert neighbors.reference_ids[neighborhood.rows].tolist() == [0, 1]


@pytest.fixture(scope="module")
def rare_fraud() -> tuple[Pipeline, _Matrix]:
    """A fitted pipeline with 8,000 rows, 40 of them fraud, and rows to ask for."""
    generator = np.random.default_rng(11)
    features = generator.standard_t(6, size=(8_000, 12))
    labels = np.zeros(8_000, dtype=int)
    labels[:40] = 1
    features[:40, :4] += 3.0
    pipeline = Pipeline([("scaling", StandardScaler()), ("n", KNeighborsClassifier(9, weights="distance"))])
    questions = np.vstack([generator.standard_t(6, size=(1_500, 12)), features[:200] + 0.1])
    return pipeline.fit(features, labels), questions


def test_rare_fraud_is_mostly_certified(rare_fraud: tuple[Pipeline, _Matrix]) -> None:
    pipeline, questions = rare_fraud

    votes = NearestNeighbors(index_pipeline(pipeline)).votes(questions)

    assert votes.methods.count(Method.CERTIFIED) > 0.9 * len(questions)
    assert votes.methods.count(Method.SEARCHED) > 0


def test_a_fraud_that_is_far_away_keeps_nothing_from_being_certified() -> None:
    generator = np.random.default_rng(11)
    frauds = np.array([[6.0, 0, 0, 0, 0], [1e4, 0, 0, 0, 0]])
    reference = np.concatenate([generator.normal(size=(2_000, 5)), frauds])
    classifier = KNeighborsClassifier(5, algorithm="brute").fit(reference, np.repeat([0, 1], [2_000, 2]))
    neighbors = NearestNeighbors(index_pipeline(Pipeline([("neighbors", classifier)])))

    methods = neighbors.votes(0.5 * generator.normal(size=(100, 5))).methods

    assert methods.count(Method.CERTIFIED) == 100


def test_what_is_certified_has_probability_0(rare_fraud: tuple[Pipeline, _Matrix]) -> None:
    pipeline, questions = rare_fraud
    votes = NearestNeighbors(index_pipeline(pipeline)).votes(questions)
    is_certified = np.array([method is Method.CERTIFIED for method in votes.methods])

    assert pipeline.predict_proba(questions[is_certified])[:, 1].max() == 0.0


def test_a_scaled_pipelines_probabilities_are_scikit_learns(rare_fraud: tuple[Pipeline, _Matrix]) -> None:
    pipeline, questions = rare_fraud

    answers = NearestNeighbors(index_pipeline(pipeline)).fraud_probability(questions)

    assert answers.tolist() == pytest.approx(pipeline.predict_proba(questions)[:, 1].tolist(), abs=1e-12)
    assert np.count_nonzero(answers) > 40


def test_much_fraud_is_looked_up_in_full() -> None:
    generator = np.random.default_rng(12)
    features, labels = generator.normal(size=(3_000, 6)), generator.random(3_000) < 0.3
    pipeline = Pipeline([("neighbors", KNeighborsClassifier(7, algorithm="brute"))]).fit(features, labels.astype(int))
    questions = generator.normal(size=(500, 6))

    votes = NearestNeighbors(index_pipeline(pipeline)).votes(questions)

    assert set(votes.methods) <= {Method.FULL, Method.SEARCHED}
    assert votes.methods.count(Method.FULL) > 0
    assert votes.probabilities.tolist() == pytest.approx(pipeline.predict_proba(questions)[:, 1].tolist())


def test_the_order_of_the_index_keeps_the_classifiers_answers(rare_fraud: tuple[Pipeline, _Matrix]) -> None:
    pipeline, questions = rare_fraud

    ordered = index_pipeline(pipeline).pipeline

    assert np.allclose(ordered.predict_proba(questions), pipeline.predict_proba(questions), atol=1e-12)


def test_threads_get_the_same_answers(rare_fraud: tuple[Pipeline, _Matrix]) -> None:
    pipeline, questions = rare_fraud
    neighbors = NearestNeighbors(index_pipeline(pipeline))
    expected = neighbors.fraud_probability(questions).tolist()

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(neighbors.fraud_probability, [questions] * 8))

    assert [answer.tolist() for answer in answers] == [expected] * 8


def test_the_reference_rows_are_not_copied(rare_fraud: tuple[Pipeline, _Matrix]) -> None:
    indexed = index_pipeline(rare_fraud[0])

    assert np.shares_memory(NearestNeighbors(indexed).reference, indexed.pipeline[-1]._fit_X)


def test_what_is_kept_besides_is_small(rare_fraud: tuple[Pipeline, _Matrix]) -> None:
    indexed = index_pipeline(rare_fraud[0])
    n_reference, n_scaled = indexed.pipeline[-1]._fit_X.shape
    tracemalloc.start()
    neighbors = NearestNeighbors(indexed)
    kept_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert kept_bytes < 40 * n_reference + 3 * 8 * n_scaled * len(indexed.index.centers) + 100_000
    assert neighbors.reference.shape == (n_reference, n_scaled)


def test_no_rows_have_no_answers(rare_fraud: tuple[Pipeline, _Matrix]) -> None:
    votes = NearestNeighbors(index_pipeline(rare_fraud[0])).votes(np.empty((0, 12)))

    assert (votes.probabilities.tolist(), votes.methods) == ([], [])


@settings(max_examples=100, deadline=None)
@given(problems(("clustered", "heavy tails")), st.sampled_from(["uniform", "distance"]))
def test_every_k_up_to_all_rows_is_answered(problem: Problem, weights: Literal["uniform", "distance"]) -> None:
    assume(len(problem.reference) < 60)
    classifier = KNeighborsClassifier(len(problem.reference), weights=weights, algorithm="brute")
    everything = Problem(
        problem.reference,
        problem.is_fraud,
        problem.questions,
        classifier.fit(problem.reference, problem.is_fraud.astype(int)),
    )

    expected = [_by_full_search(everything, question)[0] for question in problem.questions]
    assert everything.neighbors.fraud_probability(problem.questions).tolist() == expected
