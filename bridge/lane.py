"""One partition's way through the bridge, from its assignment to its revocation: fetch, answer, deliver, in order.

Each partition has a lane of its own, so that none waits for another one's commit. In a lane, the answering of one poll
overlaps with the delivery of the poll before. What comes in meanwhile is collected: a poll is small when traffic is
light, grows with the backlog, and is never larger than it may be, so that memory does not grow with it.
"""

import asyncio
import contextlib
import time
from collections import deque
from dataclasses import dataclass

import structlog
from aiokafka import ConsumerRecord

from bridge.delivery import LostProducerError, Ownership, partition_name
from bridge.errors import DeliveryError
from bridge.poll import Poll, Polls

# Fewer are better answered after the delivery than during it: they make one transaction with what comes meanwhile.
_WORTH_OVERLAPPING_RECORDS = 64
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 5.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Limits:
    """How much and how long.

    Attributes:
        max_poll_records: most records of a partition that are answered at once; less than twice as many wait.
        drain_seconds: how long a rebalance waits for what is in hand.
        timeout_seconds: how long a broker that does not answer is waited for.
        runaway_seconds: how long what waits may grow before that is a failure.
    """

    max_poll_records: int
    drain_seconds: float
    timeout_seconds: float
    runaway_seconds: float


class Lane:
    """Answers the records of a partition that this process owns, until it is drained; starts at once."""

    def __init__(self, ownership: Ownership, polls: Polls, limits: Limits) -> None:
        self.partition = ownership.partition
        self.delivered_offset: int | None = None
        self.is_lost = False  # its producer, until another one has begun
        self._ownership = ownership
        self._delivery = ownership.delivery
        self._polls = polls
        self._limits = limits
        self._waiting: list[ConsumerRecord] = []
        self._oldest_ms: deque[int] = deque()  # of the polls that are being answered and delivered
        self._came = asyncio.Event()
        self._went = asyncio.Event()
        self._draining = asyncio.Event()
        self._in_hand_since: float | None = None
        self._lost_since: float | None = None
        self._next_delivery_at = 0.0
        self._task = asyncio.create_task(self._run(), name=partition_name(self.partition))

    @property
    def error(self) -> BaseException | None:
        """What ended it, if not `drain`."""
        return self._task.exception() if self._task.done() and not self._task.cancelled() else None

    @property
    def in_hand_seconds(self) -> float:
        """For how long its oldest poll is being answered and delivered."""
        since = self._in_hand_since  # once: another thread may ask
        return 0.0 if since is None else time.monotonic() - since

    @property
    def is_waiting(self) -> bool:
        """Whether it has delivered everything that was fetched."""
        return self.delivered_offset is not None and self._in_hand_since is None and not self._waiting

    @property
    def oldest_ms(self) -> int | None:
        """The timestamp of the oldest record that was fetched and is not delivered."""
        if self._oldest_ms:
            return self._oldest_ms[0]
        return self._waiting[0].timestamp if self._waiting else None

    async def position(self) -> int:
        """The offset of the first record that is not answered."""
        if self.is_waiting:
            return await self._ownership.position()
        return self.delivered_offset or 0

    async def drain(self, limit_seconds: float) -> None:
        """Finish the poll in hand in this time or abort it, and let go of the partition."""
        self._draining.set()
        self._came.set()
        if self._in_hand_since is None:
            self._task.cancel()
        _, unfinished = await asyncio.wait({self._task}, timeout=limit_seconds)
        if unfinished:
            self._polls.metrics.aborted_transactions.inc()
            _log.warning("a poll in hand is aborted", partition=self._task.get_name())
            self._task.cancel()
            await asyncio.wait({self._task})
        if self.error is not None:
            _log.warning("a partition is given up", partition=self._task.get_name(), reason=str(self.error))
        await self._delivery.stop()

    async def _run(self) -> None:
        pause_seconds = _FIRST_PAUSE_SECONDS
        while not self._draining.is_set():
            try:
                await self._answer_everything()
            except LostProducerError as error:
                self.is_lost = True
                self._polls.metrics.aborted_transactions.inc()
                _log.warning("a partition starts again", partition=self._task.get_name(), reason=str(error))
                pause_seconds = self._next_pause_seconds(pause_seconds, error)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._draining.wait(), pause_seconds)

    def _next_pause_seconds(self, pause_seconds: float, error: LostProducerError) -> float:
        now = time.monotonic()
        if self._lost_since is None:
            self._lost_since = now
            return _FIRST_PAUSE_SECONDS
        if now - self._lost_since > self._limits.timeout_seconds:
            raise DeliveryError(
                f"{self._task.get_name()} could not be delivered for {self._limits.timeout_seconds:g} s: {error}."
            ) from error
        return min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)

    async def _answer_everything(self) -> None:
        self._waiting.clear()
        self._oldest_ms.clear()
        self._in_hand_since = None
        self.delivered_offset = await self._ownership.begin(self._limits.timeout_seconds)
        self.is_lost = False
        fetching = asyncio.create_task(self._fetch())
        fetching.add_done_callback(lambda _: self._came.set())
        ahead: asyncio.Task[Poll] | None = None
        try:
            while not self._draining.is_set() and (ahead or await self._has_records(fetching)):
                if ahead is None:
                    await self._rest()
                self._in_hand_since = time.monotonic()
                self._next_delivery_at = self._in_hand_since + self._delivery.shortest_cycle_seconds
                poll = await (ahead or self._start_answering())
                ahead = self._start_answering() if len(self._waiting) >= _WORTH_OVERLAPPING_RECORDS else None
                await self._deliver(poll)
                self._in_hand_since = None
        finally:
            fetching.cancel()
            if ahead is not None:
                ahead.cancel()

    async def _has_records(self, fetching: asyncio.Task[None]) -> bool:
        while not self._waiting and not self._draining.is_set():
            if fetching.done():
                fetching.result()
            self._came.clear()
            await self._came.wait()
        return bool(self._waiting)

    async def _rest(self) -> None:
        if len(self._waiting) < _WORTH_OVERLAPPING_RECORDS:
            await asyncio.sleep(self._next_delivery_at - time.monotonic())

    async def _fetch(self) -> None:
        while True:
            while len(self._waiting) >= self._limits.max_poll_records:
                self._went.clear()
                await self._went.wait()
            self._waiting.extend(await self._ownership.take(self._limits.max_poll_records))
            self._came.set()

    def _start_answering(self) -> asyncio.Task[Poll]:
        records = self._waiting[: self._limits.max_poll_records]
        self._oldest_ms.append(records[0].timestamp)
        del self._waiting[: self._limits.max_poll_records]
        self._went.set()
        return asyncio.create_task(self._polls.answer(records, self._delivery))

    async def _deliver(self, poll: Poll) -> None:
        try:
            receipt = await self._delivery.deliver(poll.batches, poll.next_offset)
        except BaseException as error:
            poll.trace.fail(error)
            raise
        self.delivered_offset = poll.next_offset
        self._lost_since = None
        self._oldest_ms.popleft()
        self._polls.count(poll, receipt)
