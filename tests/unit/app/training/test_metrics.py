"""The figures of an outcome against scikit-learn's own, and their intervals."""

import numpy as np
import pytest
from sklearn import metrics as reference

from app.training.metrics import Metrics, calibration_curve, measure
from app.training.money import Costs
from app.training.outcome import Outcome


def _outcome(labels: np.ndarray, probabilities: np.ndarray, cards: np.ndarray | None = None) -> Outcome:
    times = np.linspace(0, 172_799, len(labels))
    return Outcome(labels, probabilities, times, cards, amounts=np.linspace(1, 100, len(labels)))


@pytest.fixture(scope="module")
def votes() -> tuple[np.ndarray, np.ndarray]:
    """Labels and coarse probabilities, as votes are: many ties."""
    generator = np.random.default_rng(11)
    labels = (generator.random(2_000) < 0.05).astype(np.int64)
    probabilities = generator.integers(0, 6, 2_000) / 10 + 0.5 * labels * generator.integers(0, 2, 2_000)
    return labels, probabilities


@pytest.fixture(scope="module")
def figures(votes: tuple[np.ndarray, np.ndarray]) -> Metrics:
    return measure(_outcome(*votes), 0.5, Costs(), n_resamples=200).metrics


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
    assert measure(_outcome(np.array([0, 1]), np.array([0.0, 0.8])), 0.8, n_resamples=0).metrics.true_positives == 1


def test_doing_nothing_is_as_accurate_as_fraud_is_rare(votes: tuple[np.ndarray, np.ndarray], figures: Metrics) -> None:
    assert figures.accuracy_of_doing_nothing == pytest.approx((votes[0] == 0).mean())


def test_without_an_alert_precision_and_recall_are_0() -> None:
    figures = measure(_outcome(np.array([0, 1]), np.array([0.1, 0.2])), 0.9, n_resamples=0).metrics

    assert (figures.precision, figures.recall, figures.f1) == (0.0, 0.0, 0.0)


def test_the_brier_score_is_scikit_learns(votes: tuple[np.ndarray, np.ndarray], figures: Metrics) -> None:
    assert figures.brier_score == pytest.approx(reference.brier_score_loss(*votes))


def test_the_cost_is_that_of_misses_and_of_alerts(votes: tuple[np.ndarray, np.ndarray], figures: Metrics) -> None:
    labels, probabilities = votes
    amounts = _outcome(*votes).amounts
    assert amounts is not None
    missed = amounts[(labels == 1) & (probabilities < 0.5)].sum()

    assert figures.cost == pytest.approx(missed + 5 * (probabilities >= 0.5).sum())
    assert figures.cost_of_doing_nothing == pytest.approx(amounts[labels == 1].sum())


def test_every_figure_stands_within_its_interval(figures: Metrics) -> None:
    for name, (low, high) in figures.intervals.items():
        assert low <= getattr(figures, name) <= high
        assert low < high, name


def test_the_interval_of_average_precision_is_the_bootstraps(
    votes: tuple[np.ndarray, np.ndarray], figures: Metrics
) -> None:
    generator = np.random.default_rng(2)
    drawn = []
    for _ in range(400):
        rows = generator.integers(2_000, size=2_000)
        drawn.append(reference.average_precision_score(votes[0][rows], votes[1][rows]))

    assert figures.intervals["average_precision"] == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.03)


def test_the_interval_of_precision_is_the_binomial_one() -> None:
    labels = np.repeat([1, 0, 0], [60, 40, 900])
    probabilities = np.repeat([0.9, 0.1], [100, 900])

    low, high = measure(_outcome(labels, probabilities), 0.5).metrics.intervals["precision"]

    assert (low, high) == pytest.approx((0.6 - 0.096, 0.6 + 0.096), abs=0.015)


def test_frauds_that_come_together_on_a_card_widen_the_interval() -> None:
    labels = np.repeat([1, 0], [100, 900])
    probabilities = np.concatenate([np.repeat([0.9, 0.1], [50, 50]), np.zeros(900)])
    cards = np.concatenate([np.arange(100) // 25, np.arange(4, 904)])

    def width(cards: np.ndarray | None) -> float:
        low, high = measure(_outcome(labels, probabilities, cards), 0.5).metrics.intervals["recall"]
        return high - low

    assert width(cards) > 2 * width(None)


def test_the_same_seed_gives_the_same_intervals(votes: tuple[np.ndarray, np.ndarray]) -> None:
    first, second = (measure(_outcome(*votes), 0.5, seed=4, n_resamples=50).metrics for _ in range(2))

    assert first == second


def test_the_bands_hold_the_curves(votes: tuple[np.ndarray, np.ndarray]) -> None:
    bands = measure(_outcome(*votes), 0.5, n_resamples=100).bands

    assert bands is not None
    for low, high in (bands.precision_at_recall, bands.true_positive_rate):
        assert (low <= high).all()
        assert (low < high).any()


def test_card_precision_counts_the_100_highest_cards_of_each_day() -> None:
    """200 cards a day, two transactions each; on the first day 30 of the 100 highest have fraud, on the second 10."""
    cards = np.tile(np.repeat(np.arange(200), 2), 2)
    scores = np.tile(np.repeat(np.linspace(1, 0, 200), 2), 2)
    scores[1::2] = 0.0  # a card's highest transaction counts
    labels = np.zeros(800, dtype=np.int64)
    labels[1:60:2] = 1  # and its fraud counts wherever it stands
    labels[400:420:2] = 1
    labels[650] = 1  # below the first 100

    metrics = measure(_outcome(labels, scores, cards), 0.5, n_resamples=0).metrics

    assert metrics.card_precision_at_100 == pytest.approx((0.30 + 0.10) / 2)


def test_without_cards_each_transaction_is_a_card() -> None:
    labels = np.repeat([1, 0], [40, 360])
    outcome = Outcome(labels, np.linspace(1, 0, 400), np.zeros(400))

    assert measure(outcome, 0.5, n_resamples=0).metrics.card_precision_at_100 == pytest.approx(0.4)


def test_calibration_compares_what_is_said_with_what_was() -> None:
    labels = np.repeat([0, 1, 0, 1], [95, 5, 40, 60])
    probabilities = np.repeat([0.05, 0.65], [100, 100])

    curve = calibration_curve(_outcome(labels, probabilities))

    assert np.allclose(curve, [(0.05, 0.05, 100), (0.65, 0.60, 100)])
    metrics = measure(_outcome(labels, probabilities), 0.5, n_resamples=0).metrics
    assert metrics.calibration_error == pytest.approx(0.025)
