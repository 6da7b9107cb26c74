"""What a model must give the scorer, and which models can: the last step of a fitted pipeline decides."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.neighbors import KNeighborsClassifier

from app.scoring.anomaly import AnomalyClassifier
from app.scoring.calibration import Calibration
from app.scoring.evidence import Witness
from app.scoring.fitted import FittedModel
from app.scoring.neighbors import IndexedPipeline, NearestNeighbors, Neighborhood, Votes
from app.scoring.prediction import Evidence
from app.scoring.transaction import FeatureMatrix
from app.scoring.whole import WholeModel


class Model(Protocol):
    """Answers to unscaled features of shape (n_transactions, n_features), finite; any number of rows, none included.

    An answer depends on nothing but its own row. Read-only after construction, and so safe to ask from several threads.

    Attributes:
        certified_probability: the one that every certified transaction has.
        input_names: of the columns of `inputs`.
    """

    certified_probability: float
    input_names: list[str]

    def votes(self, features: FeatureMatrix, /) -> Votes:
        """The probability of fraud of each row, and how it was found."""
        ...

    def are_certified(self, features: FeatureMatrix, /) -> bool:
        """Whether every row has the certified probability, as far as an event loop can wait to know it."""
        ...

    def evidence(
        self, features: FeatureMatrix, found: Sequence[Neighborhood | None] | None = None, /
    ) -> list[Evidence]:
        """Why each row has its probability; neighbours that its votes have found already save a search."""
        ...

    def inputs(self, features: FeatureMatrix, /) -> FeatureMatrix:
        """What the model looks at: scaled features of shape (n_transactions, n_inputs); of one row or more."""
        ...


class NeighborModel:
    """Nearest neighbours: votes, the search behind them, and the neighbours as evidence."""

    def __init__(self, fitted: FittedModel) -> None:
        reference = fitted.reference
        if reference is None:
            raise ValueError("A nearest-neighbour model needs its reference rows.")
        self._neighbors = NearestNeighbors(IndexedPipeline(fitted.pipeline, reference.index))
        self._witness = Witness(fitted, reference, self._neighbors)
        self._calibration = None if fitted.calibrator is None else Calibration(fitted.calibrator)
        self.certified_probability = 0.0 if self._calibration is None else self._calibration.at_zero
        self.input_names = self._neighbors.scaling.names(fitted.feature_names)

    def votes(self, features: FeatureMatrix) -> Votes:
        votes = self._neighbors.votes(features)
        return (
            votes if self._calibration is None else votes._replace(probabilities=self._calibration(votes.probabilities))
        )

    def are_certified(self, features: FeatureMatrix) -> bool:
        return self._neighbors.are_certified(features)

    def inputs(self, features: FeatureMatrix) -> FeatureMatrix:
        return self._neighbors.scaling(features)

    def evidence(self, features: FeatureMatrix, found: Sequence[Neighborhood | None] | None = None) -> list[Evidence]:
        known = [neighborhood for neighborhood in found or () if neighborhood is not None]
        # A calibrated 0 may reach a low threshold: then there are alerts that took no search.
        return self._witness.evidence(features, known if len(known) == len(features) else None)


@dataclass(frozen=True)
class Kind:
    """A kind of model, by the last step of its pipeline.

    Attributes:
        make: the model of a fitted one.
        keeps_reference: whether an artifact of it has reference rows.
    """

    make: Callable[[FittedModel], Model]
    keeps_reference: bool = False


_KINDS: dict[type, Kind] = {
    KNeighborsClassifier: Kind(NeighborModel, keeps_reference=True),
    HistGradientBoostingClassifier: Kind(WholeModel),
    RandomForestClassifier: Kind(WholeModel),
    AnomalyClassifier: Kind(WholeModel),
}


def kind_of(last_step: Any) -> Kind | None:
    """The kind of model that a fitted estimator makes; None where it is not known."""
    return _KINDS.get(type(last_step))  # an estimator derived from one of these may do something else


def known_steps() -> list[str]:
    """The names of the estimators that a pipeline may end in."""
    return [known.__name__ for known in _KINDS]


def model_of(fitted: FittedModel) -> Model:
    """The model that answers.

    Raises:
        ValueError: the pipeline ends in nothing that is known, or what that needs is missing.
    """
    kind = kind_of(fitted.pipeline[-1])
    if kind is None:
        raise ValueError(f"A pipeline ends in one of {', '.join(known_steps())}.")
    return kind.make(fitted)
