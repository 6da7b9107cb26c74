"""What flatters a split in time, measured with and without."""

import numpy as np
import pytest

from app.training.outcome import Outcome
from app.training.slices import measure_slices

OUTCOME = Outcome(
    labels=np.array([1, 0, 1, 0]),
    probabilities=np.array([0.9, 0.8, 0.7, 0.1]),
    times=np.array([10_100.0, 11_000.0, 13_700.0, 20_000.0]),
)


def test_duplicates_and_the_first_hour_are_left_out() -> None:
    slices = measure_slices(OUTCOME, np.array([False, True, False, False]), split_time=10_000.0)

    duplicates, near = slices.without_duplicates, slices.without_first_hour
    assert (duplicates.rows_left_out, duplicates.frauds_left_out) == (1, 0)
    assert duplicates.average_precision == pytest.approx(1.0)
    assert (near.rows_left_out, near.frauds_left_out) == (2, 1)


def test_one_class_alone_has_no_average_precision() -> None:
    slices = measure_slices(OUTCOME, np.array([True, False, True, False]), split_time=10_000.0)

    assert slices.without_duplicates.average_precision is None
    assert "not defined" in slices.sentence()
