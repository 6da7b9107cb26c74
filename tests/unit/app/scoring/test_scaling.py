"""The quick scaling is scikit-learn's, to the last bit."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.compose import ColumnTransformer
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.neighbors import NeighborhoodComponentsAnalysis
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import QuantileTransformer, RobustScaler, StandardScaler

from app.scoring.scaling import Scaling

_MATRICES = arrays(np.float64, (12, 4), elements=st.floats(-1e9, 1e9))

_PARTS: dict[str, list[tuple[str, Any, list[int]]]] = {
    "standard": [("standard", StandardScaler(), [0, 1, 2, 3])],
    "without the first": [("standard", StandardScaler(), [3, 1, 2])],
    "classic": [("robust", RobustScaler(), [0, 3]), ("as_is", "passthrough", [1, 2])],
    "no mean": [("standard", StandardScaler(with_mean=False), [0, 1]), ("left", "drop", [2, 3])],
    "no deviation": [("standard", StandardScaler(with_std=False), [2])],
    "no quartiles": [("robust", RobustScaler(with_scaling=False), [0]), ("as_is", "passthrough", [3])],
    "quantiles": [("quantile", QuantileTransformer(n_quantiles=5), [0, 1]), ("standard", StandardScaler(), [2])],
}


def _fitted(parts: list[tuple[str, Any, list[int]]], features: np.ndarray[Any, Any]) -> Pipeline:
    return Pipeline([("scaling", ColumnTransformer(parts))]).fit(features)


@pytest.mark.parametrize("name", _PARTS)
@settings(max_examples=40, deadline=None)
@given(train=_MATRICES, rows=_MATRICES)
def test_it_is_equal_to_the_pipelines_own(name: str, train: np.ndarray[Any, Any], rows: np.ndarray[Any, Any]) -> None:
    steps = _fitted(_PARTS[name], train)

    scaled = Scaling(steps)(rows)

    assert np.array_equal(scaled, steps.transform(rows))


def _directed(seed: int) -> Pipeline:
    """Scalers side by side with the direction that parts two classes, and behind them a learned linear map."""
    generator = np.random.default_rng(seed)
    features, labels = generator.normal(size=(60, 4)), generator.integers(2, size=60)
    direction = Pipeline([("direction", LinearDiscriminantAnalysis(n_components=1)), ("weight", StandardScaler())])
    parts = [("standard", StandardScaler(), [0, 1, 2, 3]), ("direction", direction, [1, 2, 3])]
    components = NeighborhoodComponentsAnalysis(init="identity", max_iter=2, random_state=1)
    return Pipeline([("scaling", ColumnTransformer(parts)), ("components", components)]).fit(features, labels)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1_000), arrays(np.float64, (12, 4), elements=st.floats(-1e3, 1e3)))
def test_linear_maps_are_the_pipelines_own_but_for_rounding(seed: int, rows: np.ndarray[Any, Any]) -> None:
    steps = _directed(seed)

    assert np.allclose(Scaling(steps)(rows), steps.transform(rows), rtol=1e-9, atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1_000), arrays(np.float64, (12, 4), elements=st.floats(-1e3, 1e3)))
def test_a_row_is_scaled_the_same_in_every_batch(seed: int, rows: np.ndarray[Any, Any]) -> None:
    scaling = Scaling(_directed(seed))

    assert np.array_equal(scaling(rows), np.concatenate([scaling(row[np.newaxis]) for row in rows]))


def test_a_scaler_of_all_columns_is_equal_too() -> None:
    rows = np.random.default_rng(2).normal(size=(9, 4))
    steps = Pipeline([("scaling", StandardScaler())]).fit(rows)

    assert np.array_equal(Scaling(steps)(rows), steps.transform(rows))


def test_without_a_step_nothing_is_scaled() -> None:
    rows = np.arange(8.0).reshape(2, 4)
    scaling = Scaling(Pipeline([("last", StandardScaler())])[:-1])

    assert np.array_equal(scaling(rows), rows)
    assert scaling.names(["a", "b", "c", "d"]) == ["a", "b", "c", "d"]


def test_the_rows_that_were_given_are_not_changed() -> None:
    rows = np.arange(8.0).reshape(2, 4)
    scaling = Scaling(_fitted(_PARTS["standard"], np.random.default_rng(1).normal(size=(9, 4))))

    scaling(rows)

    assert np.array_equal(rows, np.arange(8.0).reshape(2, 4))


def test_the_names_are_those_of_the_scaled_columns() -> None:
    scaling = Scaling(_fitted(_PARTS["without the first"], np.ones((3, 4))))

    assert scaling.names(["Time", "V1", "V2__b", "Amount"]) == ["Amount", "V1", "b"]
