"""The space of distances: weights, columns and learned directions, all inside scikit-learn's own estimators."""

import pickle

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import RobustScaler, StandardScaler

from app.scoring.scaling import Scaling
from app.training.space import Columns, Space, fit_space, separations
from tests.unit.app.training.conftest import make_frame

NAMES = ["Time", "V1", "V2", "Amount"]
COLUMNS = Columns(n_features=4, time=0, amount=3)
FRAME = make_frame()
FEATURES, LABELS = FRAME[NAMES].to_numpy(dtype=float), FRAME["Class"].to_numpy()


def _plain(scaler: str, weights: str = "none") -> Space:
    return Space(scaler, weights, discriminant=0.0)  # type: ignore[arg-type]


def _transformed(space: Space) -> np.ndarray:
    return np.asarray(fit_space(space, COLUMNS, FEATURES, LABELS).transform(FEATURES))


def test_the_standard_space_is_the_standard_scalers() -> None:
    assert np.array_equal(_transformed(_plain("standard")), StandardScaler().fit_transform(FEATURES[:, 1:]))


def test_the_classic_space_scales_the_amount_alone() -> None:
    transformed = _transformed(_plain("classic"))

    assert np.array_equal(transformed[:, 0], RobustScaler().fit_transform(FEATURES[:, 3:])[:, 0])
    assert np.array_equal(transformed[:, 1:], FEATURES[:, 1:3])


def test_the_quantile_space_is_normal() -> None:
    transformed = _transformed(_plain("quantile"))

    assert transformed.std(axis=0) == pytest.approx(np.ones(3), abs=0.15)
    assert np.median(transformed, axis=0) == pytest.approx(np.zeros(3), abs=0.05)


@pytest.mark.parametrize("scaler", ["standard", "robust", "quantile", "classic"])
def test_weights_multiply_what_the_scaler_gives(scaler: str) -> None:
    plain, weighted = _transformed(_plain(scaler)), _transformed(_plain(scaler, "ks"))
    order = [2, 0, 1] if scaler == "classic" else [0, 1, 2]  # the amount comes first there

    assert np.allclose(weighted, plain * separations(FEATURES[:, 1:], LABELS)[order])


def test_a_telling_feature_weighs_more() -> None:
    v1, v2, amount = separations(FEATURES[:, 1:], LABELS)

    assert min(v1, v2) > 0.7
    assert amount < 0.3


def test_squared_weights_are_the_squares() -> None:
    once, twice = _transformed(_plain("standard", "ks")), _transformed(_plain("standard", "ks-squared"))

    assert np.allclose(twice, once * separations(FEATURES[:, 1:], LABELS))


@pytest.mark.parametrize("weights", ["mutual-information", "components"])
def test_other_weights_bring_out_the_telling_features(weights: str) -> None:
    transformed = _transformed(_plain("standard", weights))

    gap = transformed[LABELS == 1].mean(axis=0) - transformed[LABELS == 0].mean(axis=0)
    plain = _transformed(_plain("standard"))
    before = plain[LABELS == 1].mean(axis=0) - plain[LABELS == 0].mean(axis=0)
    assert np.linalg.norm(gap) / np.linalg.norm(transformed.std(axis=0)) > (
        np.linalg.norm(before) / np.linalg.norm(plain.std(axis=0))
    )


def test_the_discriminant_is_one_more_column_of_its_own_weight() -> None:
    transformed = _transformed(Space("standard", "none", discriminant=6.0))

    assert transformed.shape == (len(FEATURES), 4)
    assert transformed[:, 3].std() == pytest.approx(6.0)


def test_the_columns_of_a_space_have_the_names_of_their_features() -> None:
    scaling = Scaling(fit_space(Space(), COLUMNS, FEATURES, LABELS))

    assert scaling.names(NAMES) == ["V1", "V2", "Amount", "discriminant"]


def test_the_time_counts_only_when_it_is_asked_for() -> None:
    assert _transformed(_plain("standard")).shape[1] == 3
    with_time = Space("standard", "none", discriminant=0.0, time_in_distance=True)
    assert _transformed(with_time).shape[1] == 4


def test_the_strongest_columns_are_kept() -> None:
    space = Space("standard", "none", discriminant=0.0, strongest=0.67)

    assert np.array_equal(_transformed(space), StandardScaler().fit_transform(FEATURES[:, 1:3]))


@pytest.mark.parametrize("space", [Space(), _plain("quantile", "ks")])
def test_the_pipeline_holds_nothing_but_scikit_learn(space: Space) -> None:
    pickled = pickle.dumps(fit_space(space, COLUMNS, FEATURES, LABELS))

    assert b"app.training" not in pickled


def test_the_same_rows_give_the_same_space() -> None:
    assert np.array_equal(_transformed(Space()), _transformed(Space()))


def test_a_learned_space_beats_one_full_of_noise() -> None:
    """Forty columns of noise drown two telling ones where all count the same."""
    generator = np.random.default_rng(8)
    noisy = np.hstack([FEATURES[:, 1:3], generator.normal(size=(len(FEATURES), 40))])
    columns = Columns(n_features=42, time=None, amount=None)
    half = len(noisy) // 2

    def accuracy_of_fraud(space: Space) -> float:
        scaling = fit_space(space, columns, noisy[:half], LABELS[:half])
        classifier = KNeighborsClassifier(5).fit(scaling.transform(noisy[:half]), LABELS[:half])
        return float(classifier.predict(scaling.transform(noisy[half:]))[LABELS[half:] == 1].mean())

    assert accuracy_of_fraud(Space()) > accuracy_of_fraud(_plain("standard")) + 0.3
