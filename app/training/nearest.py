"""The recipe of a nearest-neighbour model: a space, a number of neighbours, and how they vote."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline

from app.scoring.fitted import FittedModel, Reference
from app.scoring.neighbors import index_pipeline
from app.scoring.scaling import Scaling
from app.training.dataset import Part
from app.training.errors import TrainingError, counted
from app.training.outcome import Values
from app.training.search import Choice, Wishes, predict_fold, wished_space
from app.training.space import Columns, Space, fit_space

KNN = "knn"
DEFAULT_CHOICE = Choice(Space(), neighbors=50, votes="distance")


@dataclass(frozen=True)
class NearestRecipe:
    """What `app.training.models.Recipe` asks for."""

    choice: Choice
    columns: Columns
    name: str = KNN
    finds_its_own_rows: bool = True

    def check(self, file: Path, train: Part) -> None:
        if self.choice.neighbors > train.n_frauds:
            raise TrainingError(
                f"{file}: the earlier part has {counted(train.n_frauds, 'fraud')}, fewer than the "
                f"{self.choice.neighbors} neighbours that would vote; choose --neighbors {train.n_frauds} or "
                "less, or give more transactions."
            )
        if not self.seen():
            raise TrainingError(
                f"{file} has no column of numbers beside label and time; add features, or pass --time-in-distance."
            )

    def seen(self) -> list[int]:
        with_time = self.choice.space.time_in_distance
        return [i for i in range(self.columns.n_features) if with_time or i != self.columns.time]

    def fit(self, train: Part, feature_names: tuple[str, ...]) -> FittedModel:
        indexed = index_pipeline(make_pipeline(self.choice, self.columns, train))
        context = self.columns.context
        reference = Reference(indexed.index, train.features[:, context])
        return FittedModel(indexed.pipeline, feature_names, tuple(feature_names[i] for i in context), reference)

    def predict_fold(self, fold: tuple[Part, Part]) -> Values:
        return predict_fold(self.choice, self.columns, fold)

    def words(self) -> str:
        return self.choice.words()

    def parameters(self, _: FittedModel) -> dict[str, Any]:
        return {
            "neighbors": self.choice.neighbors,
            "weights": self.choice.votes,
            **msgspec.structs.asdict(self.choice.space),
        }


def make_pipeline(choice: Choice, columns: Columns, train: Part) -> Pipeline:
    """The fitted pipeline: scaling, then the neighbours."""
    scaling = fit_space(choice.space, columns, train.features, train.labels)
    classifier = KNeighborsClassifier(choice.neighbors, weights=choice.votes, algorithm="brute")
    # Scaled as transactions will be, so that a row's distance to itself is 0 to the last bit.
    classifier.fit(Scaling(scaling)(train.features), train.labels)
    return Pipeline([*scaling.steps, ("neighbors", classifier)])


def chosen(wishes: Wishes, n_frauds: int) -> Choice:
    """The defaults, where nothing was wished: neighbours are at most half of the frauds, so that fraud can win."""
    space = DEFAULT_CHOICE.space
    if wishes.scaler == "classic":
        space = Space("classic", "none", discriminant=0.0)
    return Choice(
        space=wished_space(space, wishes),
        neighbors=wishes.neighbors or min(DEFAULT_CHOICE.neighbors, max(1, n_frauds // 2)),
        votes=wishes.votes or DEFAULT_CHOICE.votes,
    )
