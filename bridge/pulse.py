"""Whether the event loop turns, and how late it comes: the group, the broker and the lanes all wait for it."""

import asyncio
import time
from contextlib import AbstractAsyncContextManager

from prometheus_client import Histogram

from bridge.background import in_background

_INTERVAL_SECONDS = 0.25


class Pulse:
    """Beats on the event loop; another thread can see when it has stopped."""

    def __init__(self, lag_seconds: Histogram) -> None:
        self._lag_seconds = lag_seconds
        self._beat_at = time.monotonic()

    @property
    def silent_seconds(self) -> float:
        """For how long the event loop has not turned."""
        return max(0.0, time.monotonic() - self._beat_at - _INTERVAL_SECONDS)

    def beating(self) -> AbstractAsyncContextManager[None]:
        """Beat on this event loop while the context lasts."""
        return in_background(self._beat())

    async def _beat(self) -> None:
        while True:
            self._beat_at = time.monotonic()
            await asyncio.sleep(_INTERVAL_SECONDS)
            self._lag_seconds.observe(self.silent_seconds)
