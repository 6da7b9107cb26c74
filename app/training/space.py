"""The space that distances are taken in: which columns, how they are scaled, and how much each one counts.

Everything is made of scikit-learn's own estimators. The weight of a feature is put into the scale that its fitted
scaler divides by, so that it costs nothing at scoring and `pipeline.predict_proba` knows it.
"""

from collections.abc import Callable
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
from scipy.stats import ks_2samp
from sklearn.compose import ColumnTransformer
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.feature_selection import mutual_info_classif
from sklearn.neighbors import NeighborhoodComponentsAnalysis
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import QuantileTransformer, RobustScaler, StandardScaler

from app.scoring.transaction import FeatureMatrix
from app.training.dataset import Labels

Scaler = Literal["standard", "robust", "classic", "quantile"]
FeatureWeights = Literal["none", "ks", "ks-squared", "mutual-information", "components"]

_LEAST_WEIGHT = 1e-3  # of the largest; a scaler cannot divide by infinity
_SAMPLED_LEGITIMATE = 5_000  # enough to tell features apart
_SAMPLED_FOR_COMPONENTS = 1_500  # its cost is the square of that
_COMPONENTS_ROUNDS = 60
_QUANTILES = 1_000
_SEED = 1
_DISCRIMINANT = "discriminant"

Values = npt.NDArray[np.float64]


class Space(msgspec.Struct, frozen=True):
    """How distances are measured.

    Attributes:
        scaler: standard: mean 0 and deviation 1; robust: median 0 and quartile range 1; classic: time and amount
            robust, the rest as it is; quantile: to a normal distribution by rank.
        feature_weights: none; ks: by how far the distributions of fraud and of the rest are apart
            (Kolmogorov-Smirnov), or the square of that; mutual-information with the label; components: a linear
            map that is learned so that neighbours have the same label (neighbourhood components analysis).
        discriminant: how much the direction of linear discriminant analysis counts beside the features; 0: not.
        strongest: share of the columns that is kept, the most telling ones.
        time_in_distance: whether the time column is one of them.
    """

    scaler: Scaler = "standard"
    feature_weights: FeatureWeights = "ks-squared"
    discriminant: float = 6.0
    strongest: float = 1.0
    time_in_distance: bool = False

    def words(self) -> str:
        parts = [self.scaler, f"weights {self.feature_weights}"]
        parts += [f"discriminant weight {self.discriminant:g}"] if self.discriminant else []
        parts += [f"strongest {self.strongest:.0%}"] if self.strongest < 1 else []
        return ", ".join(parts + (["time"] if self.time_in_distance else []))


class Columns(msgspec.Struct, frozen=True):
    """Where the columns with a meaning stand among the features; None where there is none."""

    n_features: int
    time: int | None
    amount: int | None

    @property
    def context(self) -> list[int]:
        """Those that people want to read beside a prediction."""
        return [i for i in (self.time, self.amount) if i is not None]


def fit_space(space: Space, columns: Columns, features: FeatureMatrix, labels: Labels) -> Pipeline:
    """Fit what comes before the neighbours: features of shape (n_rows, n_features), labels of shape (n_rows,)."""
    chosen = _chosen(space, columns, features, labels)
    parts = [(name, make(), part) for name, make, part in _scalers(space, columns, chosen, len(features)) if part]
    if space.discriminant:
        direction = [("direction", LinearDiscriminantAnalysis(n_components=1)), ("weight", StandardScaler())]
        parts.append((_DISCRIMINANT, Pipeline(direction), chosen))
    scaling = ColumnTransformer(parts).fit(features, labels)
    for name, transformer, part in scaling.transformers_:
        if name == _DISCRIMINANT:
            _weigh(transformer[-1], np.array([space.discriminant]))
        elif name != "remainder":
            _weigh(transformer, _weights(space, features[:, part], labels))
    steps: list[tuple[str, Any]] = [("scaling", scaling)]
    if space.feature_weights == "components":
        steps.append(("components", _components(scaling.transform(features), labels)))
    return Pipeline(steps)


def separations(features: FeatureMatrix, labels: Labels) -> Values:
    """The Kolmogorov-Smirnov statistic of each column between the classes, from 0 to 1."""
    rows = _sample(labels, _SAMPLED_LEGITIMATE * 4)
    sampled, is_fraud = features[rows], labels[rows] == 1
    return np.array([ks_2samp(column[is_fraud], column[~is_fraud]).statistic for column in sampled.T])


def _chosen(space: Space, columns: Columns, features: FeatureMatrix, labels: Labels) -> list[int]:
    allowed = [i for i in range(columns.n_features) if space.time_in_distance or i != columns.time]
    n_kept = max(1, round(space.strongest * len(allowed)))
    if n_kept == len(allowed):
        return allowed
    order = np.argsort(-separations(features[:, allowed], labels), kind="stable")[:n_kept]
    return sorted(allowed[i] for i in order)


def _scalers(
    space: Space, columns: Columns, chosen: list[int], n_rows: int
) -> list[tuple[str, Callable[[], Any], list[int]]]:
    if space.scaler == "classic":
        robust = [i for i in chosen if i in (columns.time, columns.amount)]
        return [("robust", RobustScaler, robust), ("as_is", _unscaled, [i for i in chosen if i not in robust])]
    if space.scaler == "quantile":
        ranks = QuantileTransformer(n_quantiles=min(_QUANTILES, n_rows), output_distribution="normal", subsample=None)
        return [("quantile", lambda: Pipeline([("ranks", ranks), ("weights", _unscaled())]), chosen)]
    return [(space.scaler, StandardScaler if space.scaler == "standard" else RobustScaler, chosen)]


def _unscaled() -> StandardScaler:
    return StandardScaler(with_mean=False, with_std=False)


def _weigh(scaler: Any, weights: Values) -> None:
    """Make a fitted scaler multiply its output by weights, of shape (n_columns,)."""
    if isinstance(scaler, Pipeline):
        scaler = scaler[-1]
    if (weights == 1).all():
        return
    scaler.scale_ = (1.0 if scaler.scale_ is None else scaler.scale_) / weights
    scaler.set_params(**{"with_std" if isinstance(scaler, StandardScaler) else "with_scaling": True})


def _weights(space: Space, features: FeatureMatrix, labels: Labels) -> Values:
    if space.feature_weights == "mutual-information":
        rows = _sample(labels, _SAMPLED_LEGITIMATE)
        weights = np.sqrt(mutual_info_classif(features[rows], labels[rows], random_state=_SEED))
    elif space.feature_weights in ("ks", "ks-squared"):
        weights = separations(features, labels) ** (2 if space.feature_weights == "ks-squared" else 1)
    else:
        return np.ones(features.shape[1])
    return np.asarray(np.maximum(weights, _LEAST_WEIGHT * max(weights.max(), _LEAST_WEIGHT)))


def _components(scaled: FeatureMatrix, labels: Labels) -> NeighborhoodComponentsAnalysis:
    rows = _sample(labels, _SAMPLED_FOR_COMPONENTS)
    components = NeighborhoodComponentsAnalysis(init="pca", max_iter=_COMPONENTS_ROUNDS, random_state=_SEED)
    return components.fit(scaled[rows], labels[rows])


def _sample(labels: Labels, n_legitimate: int) -> npt.NDArray[np.intp]:
    """All frauds, and legitimate rows spread evenly over time."""
    legitimate = np.flatnonzero(labels == 0)
    step = max(1, len(legitimate) // n_legitimate)
    return np.sort(np.concatenate([np.flatnonzero(labels == 1), legitimate[::step]]))
