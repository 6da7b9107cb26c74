"""What waits to be answered, whether it grows, and how long it takes until nothing waits any more."""

import math
from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

from aiokafka import TopicPartition

_WINDOW_SECONDS = 30.0


class Sight(NamedTuple):
    """The partitions that are owned, at one moment."""

    at_seconds: float
    positions: Mapping[TopicPartition, int]
    lags: Mapping[TopicPartition, int]

    @property
    def lag_records(self) -> int:
        return sum(self.lags.values())

    @property
    def position(self) -> int:
        return sum(self.positions.values())


class Backlog:
    """Remembers half a minute of what was seen; how long it grows and how much it is may be asked from any thread."""

    def __init__(self) -> None:
        self.lag_records = 0
        self._sights: deque[Sight] = deque()
        self._growing_since: float | None = None

    def observe(self, sight: Sight) -> None:
        """Take note; when the partitions are others than before, what was seen before tells nothing."""
        if self._sights and self._sights[-1].positions.keys() != sight.positions.keys():
            self._sights.clear()
            self._growing_since = None
        self._sights.append(sight)
        self.lag_records = sight.lag_records
        while sight.at_seconds - self._sights[0].at_seconds > _WINDOW_SECONDS:
            self._sights.popleft()
        if sight.lag_records == 0 or self.catch_up_seconds < math.inf:
            self._growing_since = None
        elif self._growing_since is None:
            self._growing_since = sight.at_seconds

    @property
    def answered_per_second(self) -> float:
        return self._rate(self._sights[-1].position - self._sights[0].position) if self._sights else 0.0

    @property
    def catch_up_seconds(self) -> float:
        """Until nothing waits, if everything goes on as it did; infinite while what waits does not become less."""
        if self.lag_records <= self.answered_per_second:
            # No more than a second's work is in hand rather than waiting, and its size goes up and down by chance.
            return self.lag_records / self.answered_per_second if self.lag_records else 0.0
        melting_per_second = self._rate(self._sights[0].lag_records - self.lag_records)
        return self.lag_records / melting_per_second if melting_per_second > 0 else math.inf

    def growing_seconds(self, now: float) -> float:
        """For how long what waits has not become less."""
        since = self._growing_since
        return 0.0 if since is None else now - since

    def _rate(self, count: int) -> float:
        seconds = self._sights[-1].at_seconds - self._sights[0].at_seconds
        return count / seconds if seconds > 0 else 0.0
