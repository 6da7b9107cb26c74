"""The figures of an evaluation against scikit-learn's own."""

import numpy as np
import pytest
from sklearn import metrics as reference

from app.training.evaluate import Metrics, count_duplicates, measure


@pytest.fixture(scope="module")
def votes() -> tuple[np.ndarray, np.ndarray]:
    """Labels and coarse probabilities, as votes are: many ties."""
    generator = np.random.default_rng(11)
    labels = (generator.random(2_000) < 0.05).astype(np.int64)
    probabilities = generator.integers(0, 6, 2_000) / 10 + 0.5 * labels * generator.integers(0, 2, 2_000)
    return labels, probabilities


@pytest.fixture(scope="module")
def figures(votes: tuple[np.ndarray, np.ndarray]) -> Metrics:
    return measure(*votes, threshold=0.5)


def test_ranking_figures_are_scikit_learns(votes: tuple[np.ndarray, np.ndarray], figures: Metrics) -> None:
    assert figures.average_precision == pytest.approx(reference.average_precision_score(*votes))
    assert figures.roc_auc == pytest.approx(reference.roc_auc_score(*votes))


def test_figures_at_the_threshold_are_scikit_learns(votes: tuple[np.ndarray, np.ndarray], figures: Metrics) -> None:
    labels, probabilities = votes
    called = probabilities >= 0.5

    assert figures.precision == pytest.approx(reference.precision_score(labels, called))
    assert figures.recall == pytest.approx(reference.recall_score(labels, called))
    assert figures.f1 == pytest.approx(reference.f1_score(labels, called))
    assert figures.accuracy == pytest.approx(reference.accuracy_score(labels, called))
    matrix = [
        [figures.true_negatives, figures.false_positives],
        [figures.false_negatives, figures.true_positives],
    ]
    assert np.array_equal(matrix, reference.confusion_matrix(labels, called))


def test_a_probability_equal_to_the_threshold_is_an_alert() -> None:
    assert measure(np.array([0, 1]), np.array([0.0, 0.8]), threshold=0.8).true_positives == 1


def test_doing_nothing_is_as_accurate_as_fraud_is_rare(votes: tuple[np.ndarray, np.ndarray], figures: Metrics) -> None:
    assert figures.accuracy_of_doing_nothing == pytest.approx((votes[0] == 0).mean())


def test_without_an_alert_precision_and_recall_are_0() -> None:
    figures = measure(np.array([0, 1]), np.array([0.1, 0.2]), threshold=0.9)

    assert (figures.precision, figures.recall, figures.f1) == (0.0, 0.0, 0.0)


def test_duplicates_are_test_rows_equal_to_a_training_row_in_every_feature() -> None:
    train = np.array([[1.0, 2.0], [3.0, 4.0]])
    test = np.array([[3.0, 4.0], [3.0, 4.0], [3.0, 4.5], [2.0, 1.0]])

    assert count_duplicates(train, test) == 2
