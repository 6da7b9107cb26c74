"""When records that wait and do not come are deafness, and when they are not."""

from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from bridge.watchdog import Hearing, Silences

_FIRST, _SECOND = TopicPartition("transactions", 0), TopicPartition("transactions", 1)


def _silent(seconds: float) -> Silences:
    """Of one partition, where a record has waited for so long; deaf after 10 s."""
    silences = Silences(10)
    for now in (-1.0, 0.0, seconds):
        silences.observe({_FIRST: 5}, {_FIRST: 1}, now, is_settled=True)
    return silences


@given(st.floats(0, 1_000))
def test_it_grows_worse_with_each_span_of_silence(seconds: float) -> None:
    assert _silent(seconds).hearing(seconds) == Hearing(min(3, int(seconds / 10)))


def test_a_topic_without_records_that_wait_is_not_silent() -> None:
    silences = _silent(15)
    silences.observe({_FIRST: 5}, {_FIRST: 0}, 16, is_settled=True)

    assert silences.hearing(100) is Hearing.GOOD


def test_progress_ends_a_silence() -> None:
    silences = _silent(15)
    silences.observe({_FIRST: 6}, {_FIRST: 1}, 16, is_settled=True)

    assert silences.hearing(100) is Hearing.GOOD


def test_a_busy_partition_is_not_silent() -> None:
    silences = _silent(15)
    silences.observe({}, {_FIRST: 1}, 16, is_settled=True)

    assert silences.hearing(100) is Hearing.GOOD


def test_the_longest_silence_counts() -> None:
    silences = _silent(15)
    silences.observe({_FIRST: 5, _SECOND: 0}, {_FIRST: 1, _SECOND: 1}, 16, is_settled=True)

    assert silences.hearing(20) is Hearing.STILL_DEAF


def test_a_silence_goes_on_while_the_group_is_not_settled() -> None:
    silences = _silent(15)
    silences.observe({}, {}, 16, is_settled=False)

    assert silences.hearing(20) is Hearing.STILL_DEAF


def test_a_partition_that_another_member_took_is_not_silent() -> None:
    silences = _silent(15)
    silences.observe({}, {}, 16, is_settled=False)
    silences.observe({_SECOND: 0}, {_SECOND: 0}, 17, is_settled=True)

    assert silences.hearing(100) is Hearing.GOOD
