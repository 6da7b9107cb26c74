"""The bridge's loop: join the group, give each partition its lane, and watch them until a stop is requested."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError

from bridge.delivery import Delivery, Ownership, partition_name
from bridge.errors import BrokerRefusedError, DeafConsumerError
from bridge.health import Check, Health
from bridge.lane import Lane, Limits
from bridge.metrics import Metrics
from bridge.poll import Polls
from bridge.watchdog import Hearing, Watchdog

_PULSE_SECONDS = 0.2  # how long a stop or a failure may go unnoticed
_SLOW_POLL_SECONDS = 10.0
_SILENT_BROKER_SECONDS = 15.0

_log = structlog.get_logger(__name__)

MakeConsumer = Callable[[], AbstractAsyncContextManager[AIOKafkaConsumer]]
MakeDelivery = Callable[[AIOKafkaConsumer, TopicPartition], Delivery]


class Bridge:
    """Consumes, answers and delivers until it is told to stop.

    Args:
        make_consumer: a consumer of the group, while its context lasts.
        make_delivery: what delivers the answers to one partition that this consumer owns.
        polls: answers records.
        limits: how much at once, how long at most.
        watchdog: sees whether the consumer hears what comes.
    """

    def __init__(
        self,
        make_consumer: MakeConsumer,
        make_delivery: MakeDelivery,
        polls: Polls,
        limits: Limits,
        watchdog: Watchdog,
    ) -> None:
        self._make_consumer = make_consumer
        self._make_delivery = make_delivery
        self._polls = polls
        self._limits = limits
        self._watchdog = watchdog
        self._stopping = False
        self._was_made_anew = False
        self._lanes: _Lanes | None = None

    def request_stop(self) -> None:
        """Finish the polls in hand, then return from `main_loop`."""
        self._stopping = True

    def readiness(self) -> Health:
        """Whether transactions are being answered; may be asked from any thread."""
        lanes = self._lanes
        if self._stopping:
            return Health([Check("group", is_good=False, reason="stopping")])
        silent = self._watchdog.broker_silent_seconds > _SILENT_BROKER_SECONDS
        broker = Check("broker", not silent, "the broker does not answer" if silent else "the broker answers")
        if lanes is None or not lanes.has_joined:
            return Health([broker, Check("group", is_good=False, reason="has not joined the consumer group yet")])
        partitions = lanes.all
        owned = f"owns {len(partitions)} partitions" if partitions else "stands by: others own every partition"
        slow = any(lane.in_hand_seconds > _SLOW_POLL_SECONDS for lane in partitions)
        lost = ", ".join(partition_name(lane.partition) for lane in partitions if lane.is_lost)
        deaf = self._watchdog.hearing() >= Hearing.STILL_DEAF
        return Health(
            [
                Check(
                    "delivery", not slow, "waits for the broker to confirm a poll" if slow else "polls are confirmed"
                ),
                broker,
                Check("group", is_good=True, reason=owned),
                Check("producers", not lost, f"{lost} lost its producer" if lost else "none is lost"),
                Check("consumer", not deaf, "transactions wait and none arrives" if deaf else "hears what comes"),
                self._lag_check(),
            ]
        )

    def _lag_check(self) -> Check:
        backlog = self._watchdog.backlog
        growing_seconds = backlog.growing_seconds(time.monotonic())
        if growing_seconds > self._limits.runaway_seconds:
            waits = (
                f"{backlog.lag_records} transactions wait, and for {growing_seconds:.0f} s they have not become fewer"
            )
            return Check("lag", is_good=False, reason=waits)
        return Check("lag", is_good=True, reason="transactions are being answered")

    async def main_loop(self, topic: str) -> None:
        """Consume the topic until a stop is requested.

        Raises:
            BridgeError: the broker cannot be used; what was not confirmed was not committed.
        """
        try:
            async with self._watchdog.watching(self._settled_lanes):
                while not self._stopping:
                    async with self._make_consumer() as consumer:
                        await self._consume(consumer, topic)
        finally:
            self._polls.close()

    async def _consume(self, consumer: AIOKafkaConsumer, topic: str) -> None:
        lanes = self._lanes = _Lanes(
            lambda partition: self._lane(consumer, partition), self._polls.metrics, self._limits.drain_seconds
        )
        consumer.subscribe([topic], listener=lanes)
        nowhere = TopicPartition(topic, -1)
        try:
            while not self._stopping and not self._is_to_be_made_anew():
                self._polls.check()
                lanes.raise_errors()
                # The lanes fetch for themselves. This shows the group that a member without partitions is alive, and
                # raises what the group has against this one.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_PULSE_SECONDS):  # while the group forms, getmany waits for its end
                        await consumer.getmany(nowhere, timeout_ms=2_000 * _PULSE_SECONDS)
        except KafkaError as error:
            raise BrokerRefusedError(f"The consumer group cannot be used: {error}.") from error
        finally:
            await lanes.close(self._limits.timeout_seconds if self._stopping else self._limits.drain_seconds)

    def _settled_lanes(self) -> Sequence[Lane] | None:
        return self._lanes.all if self._lanes is not None and self._lanes.has_joined else None

    def _is_to_be_made_anew(self) -> bool:
        """Whether the consumer is deaf; one that is deaf after that ends the process."""
        hearing = self._watchdog.hearing()
        if hearing == Hearing.HOPELESS:
            raise DeafConsumerError(
                "Transactions wait and none arrives, not even over new connections; nothing of them is lost, "
                "another process can answer them."
            )
        was_made_anew, self._was_made_anew = self._was_made_anew, hearing >= Hearing.DEAF
        if hearing < Hearing.DEAF or was_made_anew:
            return False
        _log.error("transactions wait and none arrives; the consumer is made anew")
        self._polls.metrics.deaf_consumers.inc()
        return True

    def _lane(self, consumer: AIOKafkaConsumer, partition: TopicPartition) -> Lane:
        ownership = Ownership(consumer, partition, self._make_delivery(consumer, partition))
        return Lane(ownership, self._polls, self._limits)


class _Lanes(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka ships no types
    """A lane for each partition that the group assigns, until it revokes it."""

    def __init__(self, make_lane: Callable[[TopicPartition], Lane], metrics: Metrics, drain_seconds: float) -> None:
        self.all: list[Lane] = []
        self.has_joined = False
        self._make_lane = make_lane
        self._metrics = metrics
        self._drain_seconds = drain_seconds
        self._error: BaseException | None = None
        self._is_closed = False

    def raise_errors(self) -> None:
        """Raise what ended a lane, or went wrong in the listener: aiokafka only logs that."""
        for error in (self._error, *(lane.error for lane in self.all)):
            if error is not None:
                raise error

    async def close(self, limit_seconds: float) -> None:
        """Finish what is in hand, and take no partition any more."""
        self._is_closed = True
        await self._drain(limit_seconds)

    async def _drain(self, limit_seconds: float) -> None:
        lanes, self.all = self.all, []
        await asyncio.gather(*(lane.drain(limit_seconds) for lane in lanes))
        self._metrics.assigned_partitions.set(0)

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        self.has_joined = False
        try:
            self.raise_errors()
            await self._drain(self._drain_seconds)
        except Exception as error:  # noqa: BLE001 # whatever it is, it ends the process
            self._error = error
        if revoked:
            _log.info("partitions given back", partitions=_names(revoked))

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        if self._is_closed:
            return
        try:
            self.all = [self._make_lane(partition) for partition in sorted(assigned)]
        except Exception as error:  # noqa: BLE001 # whatever it is, it ends the process
            self._error = error
        self.has_joined = True
        self._metrics.rebalances.inc()
        self._metrics.assigned_partitions.set(len(assigned))
        _log.info("partitions assigned", partitions=_names(assigned))


def _names(partitions: set[TopicPartition]) -> list[str]:
    return [partition_name(partition) for partition in sorted(partitions)]
