"""A model's probabilities made to mean what they say: a rising curve that was fitted on later transactions.

The curve is scikit-learn's own fitted estimator, so that anybody can check it. Its arithmetic is done here, value by
value: an answer then does not depend on its batch, no order is ever reversed, and it costs a hundredth.
"""

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

CalibrationKind = Literal["isotonic", "sigmoid"]
Calibrator: TypeAlias = IsotonicRegression | LogisticRegression

_Values = npt.NDArray[np.float64]
_Curve = Callable[[_Values], _Values]


class Calibration:
    """From the probabilities of a model to calibrated ones; read-only after construction.

    Attributes:
        kind: of the curve.
        at_zero: what a probability of 0 becomes, which most answers have.
    """

    def __init__(self, calibrator: Calibrator) -> None:
        """Take a fitted estimator.

        Raises:
            ValueError: it is none of the kinds that are known, or its curve falls.
        """
        self.kind, curve_of = _known(calibrator)
        self._curve = curve_of(calibrator)
        self.at_zero = float(self(np.zeros(1))[0])

    def __call__(self, probabilities: _Values) -> _Values:
        """Calibrated probabilities, of the same shape (n_transactions,)."""
        return self._curve(probabilities)


def _isotonic(fitted: IsotonicRegression) -> _Curve:
    """Straight lines between the fitted points, and level before the first and behind the last of them."""
    inputs = np.asarray(fitted.X_thresholds_, dtype=np.float64)
    outputs = np.asarray(fitted.y_thresholds_, dtype=np.float64)
    if not (np.diff(outputs) >= 0).all():
        raise ValueError("An isotonic curve that falls is no calibration.")
    if len(inputs) == 1:
        inputs, outputs = np.append(inputs, inputs + 1.0), np.repeat(outputs, 2)

    def curve(probabilities: _Values) -> _Values:
        ends = np.clip(np.searchsorted(inputs, probabilities, side="right"), 1, len(inputs) - 1)
        start = inputs[ends - 1]
        way = np.clip((probabilities - start) / (inputs[ends] - start), 0.0, 1.0)
        low, high = outputs[ends - 1], outputs[ends]
        # Rounding may carry the end of a line above the start of the next one.
        return np.asarray(np.minimum(low + way * (high - low), high))

    return curve


def _sigmoid(fitted: LogisticRegression) -> _Curve:
    (slope,), (intercept,) = fitted.coef_.ravel().tolist(), fitted.intercept_.tolist()
    if not slope >= 0:
        raise ValueError("A sigmoid that falls is no calibration.")
    return lambda probabilities: np.asarray(expit(slope * probabilities + intercept))


_KINDS: dict[type, tuple[CalibrationKind, Callable[[Any], _Curve]]] = {
    IsotonicRegression: ("isotonic", _isotonic),
    LogisticRegression: ("sigmoid", _sigmoid),
}


def _known(calibrator: object) -> tuple[CalibrationKind, Callable[[Any], _Curve]]:
    # An estimator derived from one of these may do something else.
    kind = _KINDS.get(type(calibrator))
    if kind is None:
        raise ValueError(f"A {type(calibrator).__name__} is no known calibration.")
    return kind
