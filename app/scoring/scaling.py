"""The scaling of a fitted pipeline, at a hundredth of the cost of asking scikit-learn for one row.

`ColumnTransformer.transform` spends some 200 us on checks whatever the number of rows. What the scalers of a training
do to a value is one subtraction and one division, so these are taken out of the fitted estimators and done here, in
scikit-learn's order: the results are equal to the last bit. A pipeline with any other step is asked itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, RobustScaler, StandardScaler

from app.scoring.transaction import FeatureMatrix

_Column = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Affine:
    """(x - center) / scale of some columns; each array of shape (n_scaled,)."""

    columns: npt.NDArray[np.intp]
    center: _Column
    scale: _Column

    def __call__(self, features: FeatureMatrix) -> FeatureMatrix:
        scaled = features.take(self.columns, axis=1)
        scaled -= self.center
        scaled /= self.scale
        return scaled


class Scaling:
    """From the features of a transaction to those that the distance is taken of; read-only after construction."""

    def __init__(self, steps: Pipeline) -> None:
        """Take every step of a fitted pipeline but its last."""
        self._steps = steps
        self._affine = _affine_of(steps)

    def __call__(self, features: FeatureMatrix) -> FeatureMatrix:
        """Scaled features of shape (n_transactions, n_scaled), from those of shape (n_transactions, n_features)."""
        if self._affine is not None:
            return self._affine(features)
        if not len(self._steps):
            return features
        return np.ascontiguousarray(self._steps.transform(features), dtype=np.float64)

    def names(self, feature_names: Sequence[str]) -> list[str]:
        """The features that are in the distance, in the order of the scaled columns."""
        if not len(self._steps):
            return list(feature_names)
        names = self._steps.get_feature_names_out(list(feature_names))
        # A ColumnTransformer puts the name of its part before the feature's, with two underscores between.
        return [str(name).rpartition("__")[2] for name in names]


def _affine_of(steps: Pipeline) -> _Affine | None:
    """None when a step is not known to be a subtraction and a division of single columns."""
    if len(steps) != 1:
        return None
    if not isinstance(steps[0], ColumnTransformer):
        return _affine_of_part(steps[0], np.arange(steps[0].n_features_in_))
    parts = [
        _affine_of_part(transformer, columns)
        for _, transformer, columns in steps[0].transformers_
        if not (isinstance(transformer, str) and transformer == "drop")
    ]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts) or not known:
        return None
    return _Affine(
        np.concatenate([part.columns for part in known]),
        np.concatenate([part.center for part in known]),
        np.concatenate([part.scale for part in known]),
    )


def _affine_of_part(transformer: Any, columns: Any) -> _Affine | None:
    indices = np.asarray(columns)
    if indices.ndim != 1 or (indices.size and indices.dtype.kind not in "iu"):
        return None
    nothing, unit = np.zeros(len(indices)), np.ones(len(indices))
    if _is_passthrough(transformer):
        center, scale = None, None
    elif type(transformer) is StandardScaler:
        center, scale = transformer.mean_ if transformer.with_mean else None, transformer.scale_
    elif type(transformer) is RobustScaler:
        center, scale = transformer.center_, transformer.scale_
    else:
        return None
    return _Affine(indices.astype(np.intp), nothing if center is None else center, unit if scale is None else scale)


def _is_passthrough(transformer: Any) -> bool:
    # A fitted ColumnTransformer holds the word "passthrough" as an identity function.
    return transformer == "passthrough" or (type(transformer) is FunctionTransformer and transformer.func is None)
