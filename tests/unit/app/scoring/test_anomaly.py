"""The estimators of what is unusual."""

import numpy as np
import pytest
from sklearn.ensemble import IsolationForest

from app.scoring.anomaly import AnomalyClassifier, Autoencoder
from tests.artifacts import make_part


@pytest.fixture(scope="module")
def autoencoder() -> Autoencoder:
    part = make_part()
    return Autoencoder(n_narrow=2, seed=1).fit(part.features, part.labels)


def test_what_is_drawn_is_the_networks_own(autoencoder: Autoencoder) -> None:
    rows = make_part().features
    errors = np.square(autoencoder.network_.predict(rows) - rows).mean(axis=1)

    assert autoencoder.score_samples(rows) == pytest.approx(-np.log1p(errors))


def test_a_row_is_drawn_the_same_in_every_batch(autoencoder: Autoencoder) -> None:
    rows = np.random.default_rng(2).normal(size=(1_200, 4))
    together = autoencoder.score_samples(rows)

    for size in (1, 2, 7, 600):
        assert np.array_equal(autoencoder.score_samples(rows[:size]), together[:size])


def test_fraud_is_harder_to_draw(autoencoder: Autoencoder) -> None:
    part = make_part()
    scores = autoencoder.score_samples(part.features)

    assert scores[part.labels == 1].max() < np.median(scores[part.labels == 0])


def test_one_column_can_be_drawn() -> None:
    part = make_part()

    scores = Autoencoder(n_narrow=2, seed=1).fit(part.features[:, 3:], part.labels).score_samples(part.features[:, 3:])

    assert scores.shape == (440,)


def test_the_more_unusual_the_more_probable() -> None:
    part = make_part()
    classifier = AnomalyClassifier(IsolationForest(random_state=1)).fit(part.features, part.labels)

    probabilities = classifier.predict_proba(part.features)
    order = np.argsort(classifier.detector_.score_samples(part.features))

    assert probabilities.sum(axis=1) == pytest.approx(np.ones(440))
    assert (np.diff(probabilities[order, 1]) <= 0).all()
    assert classifier.classes_.tolist() == [0, 1]
