"""The search for a model: average precision on time-ordered folds inside the training part.

Fold i trains on the first rows and is measured on those that follow, as the model will be used; the part that the
model is measured on in the end is never looked at.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from sklearn.metrics import average_precision_score

from app.training.dataset import Part
from app.training.errors import TrainingError, counted
from app.training.neighborhoods import Neighborhoods, find_neighborhoods
from app.training.progress import progress_bar
from app.training.space import Columns, Space, fit_space

N_FOLDS = 3
_FIRST_SHARE = 0.4  # of the training part, that the first fold trains on

Votes = Literal["uniform", "distance"]
Mode = Literal["none", "quick", "full"]

_QUICK_NEIGHBORS = (5, 10, 15, 25, 50)
_FULL_NEIGHBORS = (3, 5, 7, 10, 15, 20, 25, 35, 50, 75, 100)
_QUICK_SPACES = (
    Space("classic", "none", discriminant=0.0),
    Space("standard", "none", discriminant=0.0),
    Space("standard", "ks", discriminant=0.0),
    Space("standard", "ks-squared", discriminant=0.0),
    Space("standard", "ks-squared", discriminant=6.0),
    Space("robust", "ks", discriminant=0.0),
    Space("quantile", "ks", discriminant=0.0),
)


class Choice(msgspec.Struct, frozen=True):
    """A model: its space, how many neighbours vote, and how."""

    space: Space
    neighbors: int
    votes: Votes

    def words(self) -> str:
        return f"{self.neighbors} neighbours, {self.votes} votes, {self.space.words()}"


class Tried(msgspec.Struct, frozen=True):
    """A model that was tried, with its average precision on each fold, and their mean."""

    choice: Choice
    folds: tuple[float, ...]
    mean: float


class Search(msgspec.Struct, frozen=True):
    """What a search found; the best stands first.

    Attributes:
        mode: how much was tried.
        fold_rows: rows that each fold trains on and is measured on.
        fold_frauds: frauds that each fold is measured on.
        tried: every model, the best first.
    """

    mode: Mode
    fold_rows: tuple[tuple[int, int], ...]
    fold_frauds: tuple[int, ...]
    tried: tuple[Tried, ...]

    @property
    def best(self) -> Tried:
        return self.tried[0]


@dataclass(frozen=True)
class Wishes:
    """What the user has decided already; None leaves it to the search."""

    neighbors: int | None = None
    votes: Votes | None = None
    scaler: str | None = None
    feature_weights: str | None = None
    discriminant: float | None = None
    time_in_distance: bool = False


def folds_of(path: Path, train: Part, n_folds: int = N_FOLDS) -> list[tuple[Part, Part]]:
    """Earlier and later rows of each fold.

    Raises:
        TrainingError: a fold has no fraud on one of its sides.
    """
    edges = np.linspace(_FIRST_SHARE, 1, n_folds + 1) * len(train)
    folds = []
    for number, (start, end) in enumerate(
        zip(edges[:-1].round().astype(int), edges[1:].round().astype(int), strict=True), 1
    ):
        earlier, later = train.take(slice(0, start)), train.take(slice(start, end))
        for side, part in (("earlier", earlier), ("later", later)):
            if part.n_frauds in (0, len(part)):
                only = "no fraud" if part.n_frauds == 0 else "nothing but fraud"
                raise TrainingError(
                    f"{path}: the {side} side of fold {number} of {n_folds} has {only} among its "
                    f"{counted(len(part), 'row')}; give more transactions, fewer --folds, or train without what needs "
                    "folds: --search, --cost-missed, --cost-alert and --calibrate."
                )
        folds.append((earlier, later))
    return folds


def search(mode: Literal["quick", "full"], folds: list[tuple[Part, Part]], columns: Columns, wishes: Wishes) -> Search:
    """Try every model of a mode that agrees with the wishes; of equals the one with the fewest neighbours is best."""
    tried_spaces = list(spaces(mode, wishes))
    most = min(earlier.n_frauds for earlier, _ in folds)
    allowed = _QUICK_NEIGHBORS if mode == "quick" else _FULL_NEIGHBORS
    neighbors = [k for k in allowed if k <= most] or [most]
    if wishes.neighbors is not None:
        neighbors = [wishes.neighbors]
    tried = []
    with progress_bar("searching", len(tried_spaces) * len(folds)) as tell:
        for number, space in enumerate(tried_spaces):
            found = []
            for fold, (earlier, later) in enumerate(folds):
                found.append(_neighborhoods(space, columns, earlier, later, max(neighbors)))
                tell(number * len(folds) + fold + 1)
            tried += list(_try(space, neighbors, wishes, found, [later for _, later in folds]))
    tried.sort(key=lambda one: (-one.mean, one.choice.neighbors))
    return Search(
        mode=mode,
        fold_rows=tuple((len(earlier), len(later)) for earlier, later in folds),
        fold_frauds=tuple(later.n_frauds for _, later in folds),
        tried=tuple(tried),
    )


def wished_space(space: Space, wishes: Wishes) -> Space:
    """A space with what the user has decided."""
    return msgspec.structs.replace(
        space,
        scaler=wishes.scaler or space.scaler,
        feature_weights=wishes.feature_weights or space.feature_weights,
        discriminant=space.discriminant if wishes.discriminant is None else wishes.discriminant,
        time_in_distance=wishes.time_in_distance or space.time_in_distance,
    )


def predict_fold(choice: Choice, columns: Columns, fold: tuple[Part, Part]) -> np.ndarray:
    """The probabilities of a fold's later rows, of shape (n_later,)."""
    earlier, later = fold
    found = _neighborhoods(choice.space, columns, earlier, later, choice.neighbors)
    return found.probabilities(choice.neighbors, choice.votes)


def _neighborhoods(space: Space, columns: Columns, earlier: Part, later: Part, k: int) -> Neighborhoods:
    scaling = fit_space(space, columns, earlier.features, earlier.labels)
    reference, questions = scaling.transform(earlier.features), scaling.transform(later.features)
    return find_neighborhoods(reference, earlier.labels, questions, k)


def _try(
    space: Space, neighbors: list[int], wishes: Wishes, found: list[Neighborhoods], later: list[Part]
) -> Iterator[Tried]:
    for k in neighbors:
        for votes in ("uniform", "distance") if wishes.votes is None else (wishes.votes,):
            scores = tuple(
                float(average_precision_score(part.labels, fold.probabilities(k, votes)))
                for fold, part in zip(found, later, strict=True)
            )
            yield Tried(Choice(space, k, votes), scores, float(np.mean(scores)))


def spaces(mode: Literal["quick", "full"], wishes: Wishes) -> Iterator[Space]:
    """The spaces that a mode tries, each once, with what the user has decided."""
    seen = set()
    for space in _QUICK_SPACES if mode == "quick" else _full_spaces():
        wished = wished_space(space, wishes)
        if wished not in seen:
            seen.add(wished)
            yield wished


def _full_spaces() -> Iterator[Space]:
    yield Space("classic", "none", discriminant=0.0)
    for scaler in ("standard", "robust", "quantile"):
        for weights in ("none", "ks", "ks-squared", "mutual-information"):
            yield Space(scaler, weights, discriminant=0.0)
    for strongest in (0.75, 0.5):
        yield Space("standard", "ks-squared", discriminant=0.0, strongest=strongest)
    for weights in ("none", "ks", "ks-squared"):
        for discriminant in (3.0, 6.0, 10.0):
            yield Space("standard", weights, discriminant=discriminant)  # type: ignore[arg-type]  # the same
    yield Space("standard", "components", discriminant=0.0)
    yield Space("standard", "ks-squared", time_in_distance=True)
