"""Fits the curve that makes a model's probabilities mean what they say, on transactions that it was not trained on."""

import dataclasses
from typing import Literal

import msgspec
import numpy as np
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from app.scoring.calibration import Calibration, CalibrationKind, Calibrator
from app.training.errors import TrainingError
from app.training.outcome import Outcome

CalibrationWish = Literal["none", "isotonic", "sigmoid"]


class Effect(msgspec.Struct, frozen=True):
    """What a calibration did to the Brier score, the mean squared error of a probability."""

    kind: CalibrationKind
    brier_before: float
    brier_after: float

    def sentence(self) -> str:
        return (
            f"Calibration ({self.kind}) took the Brier score from {self.brier_before:.5f} to {self.brier_after:.5f}; "
            "lower is better."
        )


def fit_calibrator(wish: CalibrationWish, later: Outcome) -> Calibrator | None:
    """The fitted curve; None where none was wished.

    Raises:
        TrainingError: the probabilities fall where fraud is more frequent, so that no rising curve helps.
    """
    if wish == "none":
        return None
    if wish == "isotonic":
        isotonic = IsotonicRegression(y_min=0.0, y_max=1.0, increasing=True, out_of_bounds="clip")
        return isotonic.fit(later.probabilities, later.labels)
    sigmoid = LogisticRegression(C=1e6).fit(later.probabilities[:, np.newaxis], later.labels)  # hardly held back
    if sigmoid.coef_[0, 0] <= 0:
        raise TrainingError(
            "The model gives fraud of the last earlier fold no higher probabilities than the rest, so there is nothing "
            "to calibrate; choose another model or --calibrate none."
        )
    return sigmoid


def calibrate(outcome: Outcome, calibrator: Calibrator | None) -> tuple[Outcome, Effect | None]:
    """The outcome with calibrated probabilities, and what that did; the same and None without a calibrator."""
    if calibrator is None:
        return outcome, None
    calibration = Calibration(calibrator)
    after = dataclasses.replace(outcome, probabilities=calibration(outcome.probabilities))
    return after, Effect(calibration.kind, _brier(outcome), _brier(after))


def _brier(outcome: Outcome) -> float:
    return float(np.square(outcome.probabilities - outcome.labels).mean())
