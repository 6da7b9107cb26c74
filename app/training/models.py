"""The models that can be trained: recipes of scikit-learn's own estimators, with settings that suit rare fraud.

What is fitted here must answer each row by itself, whatever batch it is in: trees do when their sum is taken by one
thread, and `app.scoring.anomaly` sees to it for the network.
"""

import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import joblib
import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, IsolationForest, RandomForestClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, QuantileTransformer
from threadpoolctl import threadpool_limits

from app.scoring.anomaly import AnomalyClassifier, Autoencoder
from app.scoring.fitted import FittedModel
from app.scoring.model import Model, model_of
from app.scoring.transaction import FeatureMatrix
from app.training.dataset import Part
from app.training.errors import TrainingError
from app.training.nearest import KNN, NearestRecipe
from app.training.outcome import Values
from app.training.search import Choice
from app.training.space import Columns

_BATCH = 512
_ROWS_AT_ONCE = 4_096
_ROWS_FOR_THREADS = 20_000
_LARGEST_SINGLE = float(np.finfo(np.float32).max)
_MOST_ROWS_OF_A_LEAF = 50

_Steps = list[tuple[str, Any]]


@dataclass(frozen=True)
class _Size:
    """What settings depend on."""

    n_rows: int
    n_columns: int
    rows_of_a_leaf: int
    seed: int


class Recipe(Protocol):
    """A kind of model with its settings.

    Attributes:
        name: of its kind, one of MODELS.
        finds_its_own_rows: whether a row that it was trained on is answered with that row's own label. What is usual
            for its probabilities is then seen with a model that was not trained on the row. Of any other model that
            would be another scale: on the real data the probabilities of two models, one of four fifths of the other's
            rows, have a stability index of 0.2 to 1 between them, and those of one model on rows that it was trained
            on and on later ones of 0.01 to 0.03.
    """

    @property
    def name(self) -> str: ...

    @property
    def finds_its_own_rows(self) -> bool: ...

    def check(self, file: Path, train: Part) -> None:
        """Raise a TrainingError where the training part is too small, or too narrow, for it."""
        ...

    def seen(self) -> list[int]:
        """The columns that it looks at."""
        ...

    def fit(self, train: Part, feature_names: tuple[str, ...]) -> FittedModel:
        """The model; the same rows give the same one."""
        ...

    def predict_fold(self, fold: tuple[Part, Part]) -> Values:
        """The probabilities that a model of the earlier rows gives to the later ones, of shape (n_later,)."""
        ...

    def words(self) -> str:
        """Its settings, for people."""
        ...

    def parameters(self, fitted: FittedModel) -> dict[str, Any]:
        """The settings of a fitted one, for the manifest."""
        ...


@dataclass(frozen=True)
class WholeRecipe:
    """A classifier that is evaluated whole (`app.scoring.whole`), on all columns but the time."""

    name: str
    columns: Columns
    seed: int
    finds_its_own_rows: bool = False

    def check(self, file: Path, _: Part) -> None:
        if not self.seen():
            raise TrainingError(f"{file} has no column of numbers beside label and time; add features.")

    def seen(self) -> list[int]:
        return [i for i in range(self.columns.n_features) if i != self.columns.time]

    def fit(self, train: Part, feature_names: tuple[str, ...]) -> FittedModel:
        pipeline = self._pipeline(train)
        # On few rows, threads wait for each other longer than they work.
        with threadpool_limits(1 if len(train) < _ROWS_FOR_THREADS else None):
            pipeline.fit(train.features, train.labels)
        if "n_jobs" in pipeline[-1].get_params():
            # Answers come in small batches; and threads would add up the trees in another order each time.
            pipeline[-1].set_params(n_jobs=None)
        usual = np.median(train.features[train.labels == 0], axis=0)
        context = tuple(feature_names[i] for i in self.columns.context)
        return FittedModel(pipeline, feature_names, context, usual=tuple(usual.tolist()))

    def predict_fold(self, fold: tuple[Part, Part]) -> Values:
        earlier, later = fold
        names = tuple(str(i) for i in range(self.columns.n_features))
        return probabilities_of(model_of(self.fit(earlier, names)), later.features)

    def words(self) -> str:
        return self.name

    def parameters(self, fitted: FittedModel) -> dict[str, Any]:
        classifier = fitted.pipeline[-1]
        plain = {
            name: value
            for name, value in classifier.get_params().items()
            if value is None or isinstance(value, (bool, int, float, str))
        }
        return {"estimator": type(classifier).__name__, "parameters": plain}

    def _pipeline(self, train: Part) -> Pipeline:
        seen = self.seen()
        # A leaf that is larger than all frauds together could never be sure of one.
        rows_of_a_leaf = min(_MOST_ROWS_OF_A_LEAF, max(1, train.n_frauds // 2))
        size = _Size(len(train), len(seen), rows_of_a_leaf, self.seed)
        return Pipeline([("columns", ColumnTransformer([("seen", "passthrough", seen)])), *_STEPS[self.name](size)])


def recipe_of(name: str, choice: Choice, columns: Columns, seed: int) -> Recipe:
    """The recipe of a kind of model; the choice concerns nearest neighbours, the seed the others."""
    return NearestRecipe(choice, columns) if name == KNN else WholeRecipe(name, columns, seed)


@dataclass(frozen=True)
class Trained:
    """A model with what it took.

    Attributes:
        model: answers.
        seconds: that the fit took.
        megabytes: of the model on disk, uncompressed.
    """

    model: Model
    seconds: float
    megabytes: float


def train_model(recipe: Recipe, train: Part, feature_names: tuple[str, ...]) -> Trained:
    started = time.perf_counter()
    fitted = recipe.fit(train, feature_names)
    seconds = time.perf_counter() - started
    return Trained(model_of(fitted), seconds, _megabytes(fitted))


def probabilities_of(model: Model, features: FeatureMatrix) -> Values:
    """Probabilities of shape (n_rows,), some rows at a time."""
    starts = range(0, len(features), _ROWS_AT_ONCE)
    return np.concatenate([model.votes(features[start : start + _ROWS_AT_ONCE]).probabilities for start in starts])


def microseconds_per_row(model: Model, features: FeatureMatrix, n_batches: int = 8) -> float:
    """In batches of 512, as the bridge asks; the median of a few batches after one to warm up."""
    batches = [features[start : start + _BATCH] for start in range(0, (n_batches + 1) * _BATCH, _BATCH)]
    batches = [batch for batch in batches if len(batch)]
    taken = []
    for batch in batches:
        started = time.perf_counter()
        model.votes(batch)
        taken.append((time.perf_counter() - started) / len(batch))
    return 1e6 * float(np.median(taken[1:] or taken))


def _boosting(size: _Size) -> _Steps:
    # Slow and smooth: with scikit-learn's defaults a few hundred frauds make it useless (0.32 on the real data).
    classifier = HistGradientBoostingClassifier(
        learning_rate=0.03,
        max_iter=300,
        l2_regularization=10.0,
        min_samples_leaf=size.rows_of_a_leaf,
        early_stopping=False,
        random_state=size.seed,
    )
    return [("model", classifier)]


def _forest(size: _Size) -> _Steps:
    classifier = RandomForestClassifier(n_estimators=100, min_samples_leaf=2, n_jobs=-1, random_state=size.seed)
    return [_within_single_precision(), ("model", classifier)]


def _isolation(size: _Size) -> _Steps:
    detector = IsolationForest(n_estimators=200, random_state=size.seed)
    return [_within_single_precision(), ("model", AnomalyClassifier(detector))]


def _autoencoder(size: _Size) -> _Steps:
    n_quantiles = min(1_000, size.n_rows)
    ranks = QuantileTransformer(n_quantiles=n_quantiles, output_distribution="normal", subsample=None)
    return [("ranks", ranks), ("model", AnomalyClassifier(Autoencoder(max(2, size.n_columns // 3), size.seed)))]


def _within_single_precision() -> tuple[str, Any]:
    """Trees compare in float32, and scikit-learn refuses what that does not hold; a transaction may have any number."""
    bounds = {"a_min": -_LARGEST_SINGLE, "a_max": _LARGEST_SINGLE}
    return "bounds", FunctionTransformer(np.clip, kw_args=bounds, feature_names_out="one-to-one")


def _megabytes(fitted: FittedModel) -> float:
    buffer = io.BytesIO()
    joblib.dump(fitted, buffer)
    return buffer.tell() / 1e6


_STEPS: dict[str, Callable[[_Size], _Steps]] = {
    "gradient-boosting": _boosting,
    "random-forest": _forest,
    "isolation-forest": _isolation,
    "autoencoder": _autoencoder,
}
"""What comes behind the columns, by kind of model."""

MODELS = (KNN, *_STEPS)
