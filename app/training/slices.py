"""What flatters a nearest-neighbour model in a split in time, measured with and without."""

import msgspec
import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score

from app.training.outcome import Outcome

_SECONDS_NEAR = 3_600.0


class Slice(msgspec.Struct, frozen=True):
    """Average precision of some of the later transactions; None where they are of one class."""

    rows_left_out: int
    frauds_left_out: int
    average_precision: float | None


class Slices(msgspec.Struct, frozen=True):
    """The later part without what may flatter.

    Attributes:
        without_duplicates: without rows that equal a training row in every feature that the model looks at.
        without_first_hour: without rows of the first hour after the split, where a series of frauds on one card may
            have begun before it.
    """

    without_duplicates: Slice
    without_first_hour: Slice

    def sentence(self) -> str:
        duplicates, near = self.without_duplicates, self.without_first_hour
        return (
            f"Nothing is left out of these figures. Without the {duplicates.rows_left_out:,} later transactions "
            f"({duplicates.frauds_left_out:,} frauds) that equal an earlier one in all that the model looks at, "
            f"average precision is {_shown(duplicates)}; without the {near.rows_left_out:,} "
            f"({near.frauds_left_out:,} frauds) of the first hour after the split, {_shown(near)}."
        )


def measure_slices(outcome: Outcome, is_duplicate: npt.NDArray[np.bool_], split_time: float) -> Slices:
    return Slices(_slice(outcome, ~is_duplicate), _slice(outcome, outcome.times > split_time + _SECONDS_NEAR))


def _slice(outcome: Outcome, kept: npt.NDArray[np.bool_]) -> Slice:
    labels, probabilities = outcome.labels[kept], outcome.probabilities[kept]
    has_both = 0 < labels.sum() < len(labels)
    precision = float(average_precision_score(labels, probabilities)) if has_both else None
    return Slice(int((~kept).sum()), int(outcome.labels[~kept].sum()), precision)


def _shown(part: Slice) -> str:
    return "not defined" if part.average_precision is None else f"{part.average_precision:.3f}"
