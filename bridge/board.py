"""What the live page shows of the stream: the last minute's counts, the last latencies, the last alerts.

Noted poll by poll on the bridge's event loop, read in the thread of the HTTP port; what is kept does not grow.
"""

import time
from collections import deque
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

_N_SECONDS = 60
_N_POLLS = 128
_N_ALERTS = 20
_RECENT_SECONDS = 10.0


class NumberedAlert(NamedTuple):
    """The value of a record of the alerts topic, and the how manyth it is since the start."""

    number: int
    value: bytes


class Board:
    """The latest of everything."""

    def __init__(self) -> None:
        self._per_second: deque[tuple[int, int]] = deque(maxlen=_N_SECONDS + 1)
        self._latencies: deque[tuple[float, npt.NDArray[np.float64]]] = deque(maxlen=_N_POLLS)
        self._alerts: deque[NumberedAlert] = deque(maxlen=_N_ALERTS)
        self._n_alerts = 0

    def note(self, n_records: int, latencies_seconds: npt.NDArray[np.float64], alerts: list[bytes]) -> None:
        """Take note of a poll that is committed."""
        now = time.time()
        second = int(now)
        if self._per_second and self._per_second[-1][0] == second:
            n_records += self._per_second.pop()[1]
        self._per_second.append((second, n_records))
        self._latencies.append((now, latencies_seconds))
        for value in alerts[-_N_ALERTS:]:
            self._n_alerts += 1
            self._alerts.append(NumberedAlert(self._n_alerts, value))

    def per_second(self) -> list[int]:
        """Records answered in each of the last sixty whole seconds, the latest last."""
        counts = dict(list(self._per_second))
        now = int(time.time())
        return [counts.get(second, 0) for second in range(now - _N_SECONDS, now)]

    def recent_latencies_seconds(self) -> npt.NDArray[np.float64]:
        """Of the last ten seconds, or of the last polls where those were too many to keep."""
        since = time.time() - _RECENT_SECONDS
        recent = [latencies for at, latencies in list(self._latencies) if at >= since]
        return np.concatenate(recent) if recent else np.empty(0)

    def alerts_after(self, number: int) -> list[NumberedAlert]:
        """The alerts behind this one, as far as they are kept, the oldest first."""
        return [alert for alert in list(self._alerts) if alert.number > number]
