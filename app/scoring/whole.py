"""A model that is evaluated whole for every transaction: any scikit-learn classifier, behind its scaling."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from threadpoolctl import ThreadpoolController

from app.scoring.calibration import Calibration
from app.scoring.fitted import FittedModel
from app.scoring.neighbors import Neighborhood, Votes
from app.scoring.prediction import Evidence, Influence, Method
from app.scoring.scaling import Scaling
from app.scoring.transaction import FeatureMatrix

_MOST_INFLUENCES = 5
_NOT_AVAILABLE = (
    "Neighbours are not available for this model, which keeps no known transactions; its influences are the features "
    "that raise the probability, where one does alone."
)

_Values = npt.NDArray[np.float64]


class WholeModel:
    """Asks a classifier; its evidence is what the same classifier says with one feature after the other made usual.

    The classifiers that training makes answer each row by itself, whatever batch it is in (`app.training.models`).
    """

    certified_probability = 0.0

    def __init__(self, fitted: FittedModel) -> None:
        self._scaling = Scaling(fitted.pipeline[:-1])
        self._classifier = fitted.pipeline[-1]
        self._calibration = None if fitted.calibrator is None else Calibration(fitted.calibrator)
        self._feature_names = fitted.feature_names
        self._usual = np.array(fitted.usual, dtype=np.float64)
        self._threads = ThreadpoolController()
        self.input_names = self._scaling.names(fitted.feature_names)

    def votes(self, features: FeatureMatrix) -> Votes:
        return Votes(self._probabilities(features), [Method.MODEL] * len(features), {})

    def are_certified(self, _: FeatureMatrix) -> bool:
        return False

    def evidence(self, features: FeatureMatrix, _: Sequence[Neighborhood | None] | None = None) -> list[Evidence]:
        if not len(features):
            return []
        n_transactions, n_features = features.shape
        changed = np.repeat(features, n_features, axis=0)
        places = np.tile(np.arange(n_features), n_transactions)
        changed[np.arange(len(changed)), places] = self._usual[places]
        if_usual = self._probabilities(changed).reshape(n_transactions, n_features)
        return [
            Evidence((), (), self._influences(*row), _NOT_AVAILABLE)
            for row in zip(features, self._probabilities(features), if_usual, strict=True)
        ]

    def inputs(self, features: FeatureMatrix) -> FeatureMatrix:
        return self._scaling(features)

    def _influences(self, transaction: _Values, probability: float, if_usual: _Values) -> tuple[Influence, ...]:
        order = np.argsort(if_usual, kind="stable")[:_MOST_INFLUENCES]
        return tuple(
            Influence(
                self._feature_names[place], float(transaction[place]), float(self._usual[place]), float(if_usual[place])
            )
            for place in order.tolist()
            if if_usual[place] < probability
        )

    def _probabilities(self, features: FeatureMatrix) -> _Values:
        if not len(features):
            return np.empty(0)  # scikit-learn answers no empty matrix
        # Batches are small: threads would wait for each other longer than they work, and take cores from the loop.
        with self._threads.limit(limits=1):
            probabilities = np.asarray(self._classifier.predict_proba(self._scaling(features))[:, 1], dtype=np.float64)
        return probabilities if self._calibration is None else self._calibration(probabilities)
