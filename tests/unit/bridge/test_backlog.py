"""How long it takes until nothing waits any more."""

import math

import pytest
from aiokafka import TopicPartition

from bridge.backlog import Backlog, Sight

_PARTITION = TopicPartition("transactions", 0)
_OTHER = TopicPartition("transactions", 1)


def _backlog(*seen: tuple[float, int, int]) -> Backlog:
    """What was seen: moment, position and lag of one partition."""
    backlog = Backlog()
    for at_seconds, position, lag in seen:
        backlog.observe(Sight(at_seconds, {_PARTITION: position}, {_PARTITION: lag}))
    return backlog


def test_without_a_lag_there_is_nothing_to_catch_up() -> None:
    assert _backlog((0, 0, 0), (2, 500, 0)).catch_up_seconds == 0


def test_no_more_than_a_seconds_work_is_in_hand_and_not_growing() -> None:
    backlog = _backlog((0, 0, 0), (10, 3_000, 150))

    assert backlog.catch_up_seconds == pytest.approx(0.5)
    assert backlog.growing_seconds(20) == 0


def test_a_lag_that_melts_ends_at_the_rate_at_which_it_melts() -> None:
    assert _backlog((0, 0, 1_000), (10, 3_000, 800)).catch_up_seconds == pytest.approx(40)


@pytest.mark.parametrize("lag", [1_000, 1_200])
def test_a_lag_that_does_not_melt_never_ends(lag: int) -> None:
    assert _backlog((0, 0, 1_000), (10, 3_000, lag)).catch_up_seconds == math.inf


def test_only_the_last_half_minute_counts() -> None:
    backlog = _backlog((0, 0, 0), (40, 0, 1_000), (60, 2_000, 500))

    assert backlog.catch_up_seconds == pytest.approx(20)
    assert backlog.answered_per_second == pytest.approx(100)


def test_it_grows_from_when_it_was_seen_to_grow_until_it_melts() -> None:
    growing = ((0, 0, 0), (10, 0, 100), (20, 0, 200))

    assert _backlog(*growing).growing_seconds(25) == 15
    assert _backlog(*growing, (50, 200, 50)).growing_seconds(55) == 0


def test_other_partitions_begin_anew() -> None:
    backlog = _backlog((0, 0, 0), (10, 0, 100))
    backlog.observe(Sight(20, {_OTHER: 0}, {_OTHER: 100}))

    assert backlog.growing_seconds(20) == 0
    assert backlog.answered_per_second == 0
