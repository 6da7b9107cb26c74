"""Looks every few seconds at what the broker tells of the topics, and knows since when it has told nothing."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import structlog
from aiokafka.errors import IllegalStateError, KafkaError

from bridge.background import in_background

LOOK_SECONDS = 2.0

_ANSWER_SECONDS = 5.0

_log = structlog.get_logger(__name__)


class BrokerWatch:
    """Looks while a context lasts; may be asked from any thread."""

    def __init__(self, interval_seconds: float = LOOK_SECONDS) -> None:
        self._interval_seconds = interval_seconds
        self._answered_at = time.monotonic()

    @property
    def silent_seconds(self) -> float:
        """For how long the broker has not answered."""
        return time.monotonic() - self._answered_at

    def looking(self, look: Callable[[], Awaitable[None]]) -> AbstractAsyncContextManager[None]:
        """Look with this, which asks the broker and may raise a KafkaError."""
        return in_background(self._look_again(look))

    async def _look_again(self, look: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await asyncio.wait_for(look(), _ANSWER_SECONDS)
                self._answered_at = time.monotonic()
            except IllegalStateError:
                pass  # a rebalance came between
            except (TimeoutError, KafkaError) as error:
                _log.warning("the broker does not tell the lag", reason=type(error).__name__)
            await asyncio.sleep(self._interval_seconds)
