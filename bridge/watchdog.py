"""Watches the lag, and notices a consumer that has gone deaf: transactions wait, none arrives, and no error is raised.

aiokafka's consumer is known to end so after request timeouts (https://github.com/aio-libs/aiokafka/issues/1037). The
end offsets are therefore asked for over a connection of its own. What follows on a silence:

1. After `deaf_seconds` the consumer is made anew, with new connections.
2. After twice that time readiness turns red.
3. After three times the process ends, for its supervisor to start another.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from enum import IntEnum

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition

from bridge.backlog import Backlog, Sight
from bridge.broker_watch import LOOK_SECONDS, BrokerWatch
from bridge.lane import Lane
from bridge.metrics import Metrics

_NOWHERE = -1
_LONG_BACKLOG_SECONDS = 10.0
_TELL_EVERY_SECONDS = 10.0

_log = structlog.get_logger(__name__)


class Hearing(IntEnum):
    """How long transactions have waited without one arriving, in units of the time after which that is deafness."""

    GOOD = 0
    DEAF = 1
    STILL_DEAF = 2
    HOPELESS = 3


class Silences:
    """Since when each partition has been silent, although records wait in it."""

    def __init__(self, deaf_seconds: float) -> None:
        self._deaf_seconds = deaf_seconds
        self._since: dict[TopicPartition, float] = {}
        self._positions: dict[TopicPartition, int] = {}

    def observe(
        self,
        positions: Mapping[TopicPartition, int],
        lags: Mapping[TopicPartition, int],
        now: float,
        *,
        is_settled: bool,
    ) -> None:
        """Take note of where the partitions that wait for records stand, and how many records there are behind that.

        A partition that is not named is busy or, once the group is settled, another member's. Until then its silence
        goes on: a consumer that was made anew has yet to show that it hears.
        """
        silent = {
            partition: self._since.get(partition, now)
            for partition, position in positions.items()
            if lags[partition] > 0 and self._positions.get(partition) == position
        }
        self._since = silent if is_settled else self._since | silent
        self._positions = {**({} if is_settled else self._positions), **positions}

    def hearing(self, now: float) -> Hearing:
        longest_seconds = max((now - since for since in self._since.values()), default=0.0)
        return Hearing(min(int(longest_seconds / self._deaf_seconds), Hearing.HOPELESS))


class Watchdog:
    """Looks after the lanes every few seconds; what it saw last can be asked for at any time."""

    def __init__(self, probe: AIOKafkaConsumer, metrics: Metrics, deaf_seconds: float) -> None:
        self._probe = probe
        self._metrics = metrics
        self._silences = Silences(deaf_seconds)
        self._broker = BrokerWatch(min(LOOK_SECONDS, deaf_seconds / 3))
        self._told_at = time.monotonic()
        self._arrived: dict[TopicPartition, tuple[int, float]] = {}
        self.backlog = Backlog()

    def hearing(self) -> Hearing:
        return self._silences.hearing(time.monotonic())

    @property
    def broker_silent_seconds(self) -> float:
        """For how long the broker has not answered."""
        return self._broker.silent_seconds

    def watching(self, lanes: Callable[[], Sequence[Lane] | None]) -> AbstractAsyncContextManager[None]:
        """Watch while the context lasts. There are no lanes, but None, while the group is not formed."""
        return self._broker.looking(lambda: self._look(lanes()))

    async def _look(self, lanes: Sequence[Lane] | None) -> None:
        begun = {lane.partition: lane for lane in lanes or () if lane.delivered_offset is not None}
        # Positions first: what comes in between is lag, and never the other way round.
        positions = {partition: await lane.position() for partition, lane in begun.items()}
        ends = await self._probe.end_offsets(list(begun)) if begun else {}
        if not begun:
            await self._probe.topics()  # whether the broker answers is asked even so
        lags = {partition: max(0, ends[partition] - position) for partition, position in positions.items()}
        self._tell(begun, positions, lags)
        waiting = {partition: positions[partition] for partition, lane in begun.items() if lane.is_waiting}
        # A partition that does not come to its beginning waits too.
        stuck = {lane.partition: _NOWHERE for lane in lanes or () if lane.partition not in begun}
        self._silences.observe(
            waiting | stuck, lags | dict.fromkeys(stuck, 1), time.monotonic(), is_settled=lanes is not None
        )

    def _tell(
        self,
        lanes: Mapping[TopicPartition, Lane],
        positions: Mapping[TopicPartition, int],
        lags: Mapping[TopicPartition, int],
    ) -> None:
        now = time.time()
        for partition, position in positions.items():
            if self._arrived.get(partition, (None, now))[0] != position or lags[partition] == 0:
                self._arrived[partition] = (position, now)
        self._metrics.lag_records.values = lags
        self._metrics.lag_seconds.values = {
            partition: _age_seconds(lanes[partition], now, self._arrived[partition][1]) if lag > 0 else 0.0
            for partition, lag in lags.items()
        }
        self.backlog.observe(Sight(time.monotonic(), positions, lags))
        self._metrics.catch_up_seconds.set(self.backlog.catch_up_seconds)
        self._tell_backlog()

    def _tell_backlog(self) -> None:
        backlog, now = self.backlog, time.monotonic()
        if backlog.catch_up_seconds < _LONG_BACKLOG_SECONDS or now - self._told_at < _TELL_EVERY_SECONDS:
            return
        self._told_at = now
        is_growing = backlog.catch_up_seconds == math.inf
        _log.warning(
            "transactions wait, and do not become fewer" if is_growing else "transactions wait, and become fewer",
            lag_records=backlog.lag_records,
            answered_per_second=round(backlog.answered_per_second, 1),
            catch_up_seconds=None if is_growing else round(backlog.catch_up_seconds),
        )


def _age_seconds(lane: Lane, now: float, arrived_at: float) -> float:
    """The age of the oldest record that waits; where none was fetched, for how long there has been no progress."""
    written_at = lane.oldest_ms
    # A sender is free to write no time, or one that is still to come.
    return max(0.0, now - (written_at / 1000 if written_at is not None and written_at > 0 else arrived_at))
