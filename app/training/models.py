"""Other models than nearest neighbours, to compare with: scikit-learn's own, with settings that suit rare fraud."""

import io
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import joblib
import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, IsolationForest, RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import QuantileTransformer
from threadpoolctl import threadpool_limits

from app.scoring.neighbors import NearestNeighbors, index_pipeline
from app.scoring.transaction import FeatureMatrix
from app.training.dataset import Part
from app.training.outcome import Values
from app.training.search import Choice
from app.training.space import Columns
from app.training.train import make_pipeline

_ROWS_FOR_THE_AUTOENCODER = 40_000
_BATCH = 512
_ROWS_FOR_THREADS = 20_000

KNN = "knn"


class FraudModel(Protocol):
    """A fitted model."""

    def fraud_probability(self, features: FeatureMatrix) -> Values:
        """Probabilities of shape (n_rows,), of features (n_rows, n_features)."""
        ...


@dataclass(frozen=True)
class Fitted:
    """A fitted model with what it took.

    Attributes:
        model: answers.
        seconds: that the fit took.
        megabytes: of the model on disk, uncompressed.
    """

    model: FraudModel
    seconds: float
    megabytes: float


@dataclass(frozen=True)
class _Classifier:
    """A classifier of scikit-learn on some of the columns."""

    estimator: Any
    columns: list[int]

    def fraud_probability(self, features: FeatureMatrix) -> Values:
        return np.asarray(self.estimator.predict_proba(features[:, self.columns])[:, 1])


@dataclass(frozen=True)
class _Anomaly:
    """A model of what is usual; how unusual a row is becomes a probability by a fitted sigmoid."""

    estimator: Any
    score: Callable[[Any, FeatureMatrix], Values]
    columns: list[int]
    sigmoid: LogisticRegression

    def fraud_probability(self, features: FeatureMatrix) -> Values:
        scores = self.score(self.estimator, features[:, self.columns])
        return np.asarray(self.sigmoid.predict_proba(scores[:, np.newaxis])[:, 1])


def fit_model(name: str, train: Part, columns: Columns, choice: Choice, seed: int) -> Fitted:
    started = time.perf_counter()
    # On few rows, threads wait for each other longer than they work.
    with threadpool_limits(1 if len(train) < _ROWS_FOR_THREADS else None):
        model, kept = _FITS[name](train, columns, choice, seed)
    seconds = time.perf_counter() - started
    return Fitted(model, seconds, _megabytes(kept))


def microseconds_per_row(model: FraudModel, features: FeatureMatrix, n_batches: int = 8) -> float:
    """In batches of 512, as the bridge asks; the median of a few batches after one to warm up."""
    batches = [features[start : start + _BATCH] for start in range(0, (n_batches + 1) * _BATCH, _BATCH)]
    batches = [batch for batch in batches if len(batch)]
    taken = []
    for batch in batches:
        started = time.perf_counter()
        model.fraud_probability(batch)
        taken.append((time.perf_counter() - started) / len(batch))
    return 1e6 * float(np.median(taken[1:] or taken))


def _fit_knn(train: Part, columns: Columns, choice: Choice, _: int) -> tuple[FraudModel, Any]:
    indexed = index_pipeline(make_pipeline(choice, columns, train))
    return NearestNeighbors(indexed), indexed


def _fit_boosting(train: Part, columns: Columns, _: Choice, seed: int) -> tuple[FraudModel, Any]:
    # Slow and smooth: with scikit-learn's defaults a few hundred frauds make it useless (0.32 on the real data).
    estimator = HistGradientBoostingClassifier(
        learning_rate=0.03,
        max_iter=300,
        l2_regularization=10.0,
        min_samples_leaf=50,
        early_stopping=False,
        random_state=seed,
    )
    return _fit_classifier(estimator, train, columns)


def _fit_forest(train: Part, columns: Columns, _: Choice, seed: int) -> tuple[FraudModel, Any]:
    estimator = RandomForestClassifier(n_estimators=100, min_samples_leaf=2, n_jobs=-1, random_state=seed)
    return _fit_classifier(estimator, train, columns)


def _fit_classifier(estimator: Any, train: Part, columns: Columns) -> tuple[FraudModel, Any]:
    kept = _without_time(columns)
    return _Classifier(estimator.fit(train.features[:, kept], train.labels), kept), estimator


def _fit_isolation(train: Part, columns: Columns, _: Choice, seed: int) -> tuple[FraudModel, Any]:
    kept = _without_time(columns)
    estimator = IsolationForest(n_estimators=200, random_state=seed, n_jobs=-1).fit(train.features[:, kept])
    return _anomaly(estimator, lambda fitted, rows: -fitted.score_samples(rows), train, kept), estimator


def _fit_autoencoder(train: Part, columns: Columns, _: Choice, seed: int) -> tuple[FraudModel, Any]:
    """What a narrow network cannot draw again after it has seen legitimate rows only is unusual."""
    kept = _without_time(columns)
    legitimate = train.features[train.labels == 0][:, kept]
    legitimate = legitimate[:: max(1, len(legitimate) // _ROWS_FOR_THE_AUTOENCODER)]
    n_quantiles = min(1_000, len(legitimate))
    ranks = QuantileTransformer(n_quantiles=n_quantiles, output_distribution="normal", subsample=None)
    narrow = max(2, len(kept) // 3)
    network = MLPRegressor(
        hidden_layer_sizes=(2 * narrow, narrow, 2 * narrow),
        max_iter=60,
        early_stopping=True,
        n_iter_no_change=5,
        random_state=seed,
    )
    drawn = ranks.fit_transform(legitimate)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it need not be drawn to perfection
        network.fit(drawn, drawn)
    return _anomaly(Pipeline([("ranks", ranks), ("network", network)]), _redrawing_error, train, kept), network


def _redrawing_error(fitted: Any, rows: FeatureMatrix) -> Values:
    drawn = fitted[0].transform(rows)
    return np.asarray(np.log1p(np.square(fitted[-1].predict(drawn) - drawn).mean(axis=1)))


def _anomaly(
    estimator: Any, score: Callable[[Any, FeatureMatrix], Values], train: Part, columns: list[int]
) -> FraudModel:
    scores = score(estimator, train.features[:, columns])
    return _Anomaly(estimator, score, columns, LogisticRegression().fit(scores[:, np.newaxis], train.labels))


def _without_time(columns: Columns) -> list[int]:
    return [i for i in range(columns.n_features) if i != columns.time]


def _megabytes(kept: Any) -> float:
    buffer = io.BytesIO()
    joblib.dump(kept, buffer)
    return buffer.tell() / 1e6


_FITS: dict[str, Callable[[Part, Columns, Choice, int], tuple[FraudModel, Any]]] = {
    KNN: _fit_knn,
    "gradient-boosting": _fit_boosting,
    "random-forest": _fit_forest,
    "isolation-forest": _fit_isolation,
    "autoencoder": _fit_autoencoder,
}
MODELS = tuple(_FITS)
