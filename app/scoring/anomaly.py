"""Estimators for models of what is usual: how unusual a transaction is becomes a probability of fraud.

They follow scikit-learn's conventions and are made of its estimators. An artifact that holds one is unpickled with
this module, so that names and attributes of these classes are part of the artifact's format.
"""

import warnings
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPRegressor

from app.scoring.transaction import FeatureMatrix

_ROWS_AT_ONCE = 512  # each is multiplied by all weights of a layer before anything is summed up

_Values = npt.NDArray[np.float64]
_Labels = npt.NDArray[np.int64]


class AnomalyClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """A detector whose scores a logistic regression turns into probabilities.

    Attributes:
        detector: not fitted; its `score_samples` is lower the more unusual a row is.
        detector_: fitted, on rows of both classes.
        sigmoid_: fitted on the scores of the same rows and their labels.
        classes_: 0 and 1.
    """

    def __init__(self, detector: Any) -> None:
        self.detector = detector

    def fit(self, features: FeatureMatrix, labels: _Labels) -> Self:
        self.detector_ = clone(self.detector).fit(features, labels)
        self.sigmoid_ = LogisticRegression().fit(self._unusual(features), labels)
        self.classes_ = self.sigmoid_.classes_
        return self

    def predict_proba(self, features: FeatureMatrix) -> FeatureMatrix:
        """Probabilities of both classes, of shape (n_rows, 2)."""
        return np.asarray(self.sigmoid_.predict_proba(self._unusual(features)))

    def _unusual(self, features: FeatureMatrix) -> FeatureMatrix:
        return -np.asarray(self.detector_.score_samples(features))[:, np.newaxis]


class Autoencoder(BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """A narrow network that draws legitimate rows again; what it cannot draw is unusual.

    Attributes:
        n_narrow: units of the narrowest layer.
        seed: of the network's first weights.
        n_most: rows that it learns from, spread evenly over time; more teach it nothing new.
        network_: fitted.
    """

    def __init__(self, n_narrow: int, seed: int, n_most: int = 40_000) -> None:
        self.n_narrow = n_narrow
        self.seed = seed
        self.n_most = n_most

    def fit(self, features: FeatureMatrix, labels: _Labels) -> Self:
        legitimate = features[labels == 0]
        legitimate = legitimate[:: max(1, len(legitimate) // self.n_most)]
        network = MLPRegressor(
            hidden_layer_sizes=(2 * self.n_narrow, self.n_narrow, 2 * self.n_narrow),
            max_iter=60,
            early_stopping=True,
            n_iter_no_change=5,
            random_state=self.seed,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # it need not be drawn to perfection
            self.network_ = network.fit(legitimate, legitimate if legitimate.shape[1] > 1 else legitimate.ravel())
        return self

    def score_samples(self, features: FeatureMatrix) -> _Values:
        """Minus the logarithm of the error of drawing each row again, of shape (n_rows,)."""
        blocks = [features[start : start + _ROWS_AT_ONCE] for start in range(0, len(features), _ROWS_AT_ONCE)]
        errors = [np.square(self._drawn_again(block) - block).mean(axis=1) for block in blocks]
        return np.asarray(-np.log1p(np.concatenate(errors)))

    def _drawn_again(self, features: FeatureMatrix) -> FeatureMatrix:
        """The network's own `predict`, row by row: a matrix product rounds otherwise for one row than for many."""
        drawn = features
        last = len(self.network_.coefs_) - 1
        for number, (weights, offsets) in enumerate(zip(self.network_.coefs_, self.network_.intercepts_, strict=True)):
            # Shapes (n_rows, 1, n_inputs) by (n_outputs, n_inputs).
            drawn = (drawn[:, np.newaxis] * np.ascontiguousarray(weights.T)).sum(axis=2) + offsets
            if number < last:
                drawn = np.maximum(drawn, 0.0)
        return drawn
