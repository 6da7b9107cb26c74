"""What a model said of labelled transactions: all that quality and money are computed from."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_SECONDS_OF_DAY = 86_400

Values = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Outcome:
    """Labelled transactions in time order with their probabilities.

    Attributes:
        labels: 1 for fraud, of shape (n_rows,).
        probabilities: of fraud, of shape (n_rows,).
        times: in seconds, of shape (n_rows,).
        cards: a number for each card, of shape (n_rows,); None where they are not known.
        amounts: of money, of shape (n_rows,); None where they are not known.
    """

    labels: Counts
    probabilities: Values
    times: Values
    cards: Counts | None = None
    amounts: Values | None = None

    @property
    def days(self) -> Counts:
        """The day of each row, counted from that of the first."""
        days = np.floor(self.times / _SECONDS_OF_DAY).astype(np.int64)
        return np.asarray(days - days.min())
