"""The scaling of a fitted pipeline, at a hundredth of scikit-learn's cost for one row, and the same for every batch.

`ColumnTransformer.transform` spends some 200 us on checks whatever the number of rows. The estimators that training
uses do little arithmetic, so that is taken out of the fitted objects and done here. Shifts and scales are done in
scikit-learn's order and are equal to the last bit. Linear maps are added up row by row: a matrix product rounds
otherwise for one row than for many, and then the distance of a transaction to itself would depend on its batch.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.compose import ColumnTransformer
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.neighbors import NeighborhoodComponentsAnalysis
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, RobustScaler, StandardScaler

from app.scoring.transaction import FeatureMatrix

_Step = Callable[[FeatureMatrix], FeatureMatrix]
_DISCRIMINANT = "discriminant"

_Column = npt.NDArray[np.float64]


class Scaling:
    """From the features of a transaction to those that the distance is taken of; read-only after construction."""

    def __init__(self, steps: Pipeline) -> None:
        """Take every step of a fitted pipeline but its last."""
        self._steps = steps
        self._scale = _chain([_step_of(transformer) for _, transformer in steps.steps])

    def __call__(self, features: FeatureMatrix) -> FeatureMatrix:
        """Scaled features of shape (n_transactions, n_scaled), from those of shape (n_transactions, n_features)."""
        return np.ascontiguousarray(self._scale(features), dtype=np.float64)

    def names(self, feature_names: Sequence[str]) -> list[str]:
        """The features that are in the distance, in the order of the scaled columns."""
        if not len(self._steps):
            return list(feature_names)
        names = self._steps.get_feature_names_out(list(feature_names))
        # A ColumnTransformer puts the name of its part before the feature's, with two underscores between; the part
        # of a learned direction has one column, which is no feature's and has the part's name.
        parted = [str(name).rpartition("__") for name in names]
        return [_DISCRIMINANT if part == _DISCRIMINANT else name for part, _, name in parted]


def _step_of(transformer: Any) -> _Step:
    """The arithmetic of a fitted estimator; of one that is not known, its own `transform`."""
    if _is_passthrough(transformer):
        return _unchanged
    known: dict[type, Callable[[Any], _Step]] = {
        StandardScaler: lambda fitted: _affine(fitted.mean_ if fitted.with_mean else None, fitted.scale_),
        RobustScaler: lambda fitted: _affine(fitted.center_, fitted.scale_),
        LinearDiscriminantAnalysis: _discriminant,
        NeighborhoodComponentsAnalysis: lambda fitted: _linear(None, fitted.components_),
        Pipeline: lambda fitted: _chain([_step_of(step) for _, step in fitted.steps]),
        ColumnTransformer: _side_by_side,
    }
    # An estimator derived from one of these may do something else.
    return known.get(type(transformer), _own_transform)(transformer)


def _own_transform(transformer: Any) -> _Step:
    transform: _Step = transformer.transform
    return transform


def _is_passthrough(transformer: Any) -> bool:
    # A fitted ColumnTransformer holds the word "passthrough" as an identity function.
    is_word = isinstance(transformer, str) and transformer == "passthrough"
    return is_word or (type(transformer) is FunctionTransformer and transformer.func is None)


def _parts(transformer: ColumnTransformer) -> list[Any]:
    return [
        (name, part, columns)
        for name, part, columns in transformer.transformers_
        if len(columns) and not (isinstance(part, str) and part == "drop")
    ]


def _unchanged(features: FeatureMatrix) -> FeatureMatrix:
    return features


def _affine(center: _Column | None, scale: _Column | None) -> _Step:
    """(x - center) / scale, each of shape (n_columns,)."""

    def step(features: FeatureMatrix) -> FeatureMatrix:
        if center is not None:
            features = features - center
        return features if scale is None else features / scale

    return step


def _discriminant(fitted: LinearDiscriminantAnalysis) -> _Step:
    if fitted.solver != "svd":
        return _own_transform(fitted)
    return _linear(fitted.xbar_, fitted.scalings_[:, : fitted._max_components].T)  # noqa: SLF001 - as its own transform


def _linear(center: _Column | None, weights: FeatureMatrix) -> _Step:
    """(x - center) . w for each row w of weights, of shape (n_outputs, n_columns)."""

    def step(features: FeatureMatrix) -> FeatureMatrix:
        if center is not None:
            features = features - center
        return np.column_stack([(features * row).sum(axis=1) for row in np.ascontiguousarray(weights)])

    return step


def _chain(steps: Sequence[_Step]) -> _Step:
    def step(features: FeatureMatrix) -> FeatureMatrix:
        for one in steps:
            features = one(features)
        return features

    return step


def _side_by_side(transformer: ColumnTransformer) -> _Step:
    if any(np.asarray(columns).dtype.kind not in "iu" for _, _, columns in _parts(transformer)):
        return _own_transform(transformer)  # columns by name or mask
    parts = [(np.asarray(columns, dtype=np.intp), _step_of(part)) for _, part, columns in _parts(transformer)]

    def step(features: FeatureMatrix) -> FeatureMatrix:
        scaled = [part(features.take(columns, axis=1)) for columns, part in parts]
        return scaled[0] if len(scaled) == 1 else np.concatenate(scaled, axis=1)

    return step
