"""The whole guarantee in one file: what was answered is published, and only then is what was read committed.

Exactly-once. Each partition of the input has a producer of its own, whose transactional.id is made of the group, the
topic and the partition, so that there is one in the whole group. The steps, in this order:

1. The group assigns a partition. Its producer starts, before anything is read: the broker ends what the partition's
   former owner left open, and refuses every later word of that owner, who may not know yet that it is one. A broker
   that was away for long may think that it has ended it without having written so, and would end it with the next
   commit. So a transaction over every partition that is written to, with nothing in it, is aborted first.
2. The committed offset is asked for, now that nobody else can move it. The consumer seeks there, and it becomes the
   partition's next offset.
3. Records are taken, in order. Those below the next offset are dropped: the consumer may fetch some twice while it
   settles after an assignment. The next offset moves behind what was taken.
4. The outputs of what was taken and the next offset behind it go into one transaction: predictions, alerts, dead
   letters, processed features. It is committed when the broker has confirmed every one of them, or not at all.
5. When the partition is revoked, nothing more is taken from it; what is in hand gets a short time to be committed, and
   is aborted otherwise. Then the producer stops. Records that were fetched but not taken are forgotten with the
   assignment: step 2 of the next one decides where to go on, here or elsewhere.
6. When a producer is fenced or otherwise lost, what is in hand is forgotten, and the partition starts again at step 1,
   while the other partitions go on. An owner that was wrong about its ownership does no harm by that: whatever order
   the steps of two owners come in, only the one that started last can commit, and it read the committed offset after
   the other could.

The transactional.id is what makes steps 1 and 2 hold. aiokafka sends neither member id nor generation with the offsets
of a transaction, so that the group itself cannot tell a former owner from the present one. With ids that name the
instance too (BRIDGE_TRANSACTIONAL_ID_SCOPE=instance) a bridge that was frozen in the middle of a transaction, and wakes
when others have answered its transactions, commits the same answers once more. The setting exists to show just that.

Whoever reads the answers has to read with isolation.level=read_committed.

At-least-once. The same steps, but for these:

1. No producer is started; one producer, idempotent where the broker can, serves all partitions.
4. The outputs are published, the broker's word on every one of them is waited for, and then the next offset is
   committed through the group.

A process that dies in step 4 leaves the offset where it was, so its successor answers the same inputs again: a
prediction may come twice (its `source` is the same), and none is lost.

In both, a broker that does not confirm in time stops the process, with nothing committed that was not published.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    CommitFailedError,
    GroupAuthorizationFailedError,
    IllegalOperation,
    IllegalStateError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)

from bridge.codec import Headers
from bridge.errors import BrokerRefusedError, BrokerUnavailableError, DeliveryError

_NotAuthorized = (
    TransactionalIdAuthorizationFailed,
    TopicAuthorizationFailedError,
    GroupAuthorizationFailedError,
    ClusterAuthorizationFailedError,
)
# What aiokafka raises when its producer has ended: it guards its states by assertions.
_Lost = (KafkaError, IllegalOperation, AssertionError)

_T = TypeVar("_T")
_NO_HEADERS: list[tuple[str, bytes]] = []
_FETCH_WAIT_MS = 1_000
_ABORT_SECONDS = 2.0
_STOP_SECONDS = 5.0

_log = structlog.get_logger(__name__)


class Output(NamedTuple):
    """A record to publish."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


Batches = Sequence[tuple[TopicPartition, Any]]
"""aiokafka's batch builders, filled, and where each goes; those for one place in the order of their records."""


class Receipt(NamedTuple):
    """How long the broker took to confirm what was published, and then the commit."""

    publish_seconds: float
    commit_seconds: float


class LostProducerError(Exception):
    """The producer of a partition cannot go on: it was fenced, or the broker forgot it; nothing was committed."""


class Delivery(Protocol):
    """Delivers the answers to one partition, from its assignment to its revocation.

    Attributes:
        shortest_cycle_seconds: while traffic is light, no delivery begins sooner than that after the one before.
    """

    shortest_cycle_seconds: float

    async def start(self) -> None:
        """Make sure that no former owner of the partition commits any more.

        Raises:
            LostProducerError: worth another attempt.
            BridgeError: not worth one.
        """

    def batches(self, outputs: Sequence[Output]) -> Batches:
        """Outputs as they are sent. It computes, and may be called from a thread."""

    async def deliver(self, batches: Batches, next_offset: int) -> Receipt:
        """Publish, and commit the offset that follows the inputs, as one unit.

        Raises:
            LostProducerError: nothing was committed; the partition has to start again.
            DeliveryError: the broker did not confirm everything, and nothing was committed.
        """

    async def stop(self) -> None:
        """Abort what is open, and let go of the partition."""


class Ownership:
    """A partition from its assignment to its revocation: what may be answered next."""

    def __init__(self, consumer: AIOKafkaConsumer, partition: TopicPartition, delivery: Delivery) -> None:
        self.partition = partition
        self.delivery = delivery
        self._consumer = consumer
        self._next_offset = 0

    async def begin(self, timeout_seconds: float) -> int:
        """Shut the former owner out, then go to the committed offset, which is the value.

        For the first time, or again after a loss.

        Raises:
            LostProducerError: worth another attempt.
            BridgeError: not worth one.
        """
        await self.delivery.start()
        try:
            self._next_offset = await asyncio.wait_for(self._committed(), timeout_seconds)
        except TimeoutError as error:
            raise BrokerUnavailableError(
                f"The broker did not tell the offset of {partition_name(self.partition)} in {timeout_seconds:g} s."
            ) from error
        except KafkaError as error:
            raise BrokerRefusedError(
                f"The broker does not tell the offset of {partition_name(self.partition)}: {error}."
            ) from error
        self._consumer.seek(self.partition, self._next_offset)
        return self._next_offset

    async def _committed(self) -> int:
        committed: int | None = await self._consumer.committed(self.partition)
        if committed is None:
            beginnings: dict[TopicPartition, int] = await self._consumer.beginning_offsets([self.partition])
            return beginnings[self.partition]
        return committed

    async def position(self) -> int:
        """Behind everything that was taken, and behind what holds no record, such as the end of a transaction."""
        position: int = await self._consumer.position(self.partition)
        return position

    async def take(self, max_records: int) -> Sequence[ConsumerRecord]:
        """The next records, in order; none when a while has passed without any.

        Raises:
            BrokerRefusedError: the partition cannot be read, or the group does not want this member.
        """
        try:
            polled = await self._consumer.getmany(self.partition, timeout_ms=_FETCH_WAIT_MS, max_records=max_records)
        except KafkaError as error:
            raise BrokerRefusedError(f"{partition_name(self.partition)} cannot be read: {error}.") from error
        records: Sequence[ConsumerRecord] = polled.get(self.partition, ())
        if records and records[0].offset < self._next_offset:
            records = [record for record in records if record.offset >= self._next_offset]
        if records:
            self._next_offset = records[-1].offset + 1
        return records


class AtLeastOnceDelivery:
    """Publishes with one producer, then commits through the consumer's group."""

    def __init__(self, consumer: AIOKafkaConsumer, producer: AIOKafkaProducer, timeout_seconds: float) -> None:
        self._consumer = consumer
        self._producer = producer
        self._timeout_seconds = timeout_seconds

    async def deliver(self, outputs: Sequence[Output], offsets: Mapping[TopicPartition, int]) -> None:
        """Publish, then commit.

        Raises:
            DeliveryError: the broker did not confirm every output, and nothing was committed.
        """
        await self.deliver_batches(self.batches(outputs), offsets)

    def batches(self, outputs: Sequence[Output]) -> Batches:
        return _batches(self._producer, outputs)

    async def deliver_batches(self, batches: Batches, offsets: Mapping[TopicPartition, int]) -> Receipt:
        """Publish what `batches` made, then commit.

        Raises:
            DeliveryError: the broker did not confirm every output, and nothing was committed.
        """
        started = time.perf_counter()
        try:
            await _confirmed(_publish(self._producer, batches), batches, self._timeout_seconds)
            published = time.perf_counter()
            await _confirmed(self._commit(offsets), batches, self._timeout_seconds)
        except KafkaError as error:
            raise DeliveryError(
                f"The broker did not take the outputs of a poll ({type(error).__name__}); "
                "their transactions stay uncommitted and are read again at the next start."
            ) from error
        return Receipt(published - started, time.perf_counter() - published)

    async def _commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        try:
            await self._consumer.commit(dict(offsets))
        except (CommitFailedError, IllegalStateError):
            # The group gave the partitions to another member while the broker was away: that member reads the same
            # transactions again, so that some predictions come twice and none is lost.
            _log.warning("the partitions of a poll have a new owner; it will answer them again", n_offsets=len(offsets))


class AtLeastOnce:
    """One partition's part of an at-least-once delivery."""

    shortest_cycle_seconds = 0.0

    def __init__(self, delivery: AtLeastOnceDelivery, partition: TopicPartition) -> None:
        self._delivery = delivery
        self._partition = partition

    async def start(self) -> None:
        """Nothing to do: a former owner can commit no more than it published."""

    def batches(self, outputs: Sequence[Output]) -> Batches:
        return self._delivery.batches(outputs)

    async def deliver(self, batches: Batches, next_offset: int) -> Receipt:
        return await self._delivery.deliver_batches(batches, {self._partition: next_offset})

    async def stop(self) -> None:
        """Nothing to do: the producer serves other partitions too."""


class ExactlyOnce:
    """One partition's own transactional producer."""

    # A transaction costs the broker and the bridge about 2 ms each, however few records are in it, and one that begins
    # at the heels of another is refused until that is written down everywhere. A short rest makes the slowest answers
    # at 1,000 transactions a second a fifth quicker (docs/performance.md), and costs an answer of rare traffic nothing.
    shortest_cycle_seconds = 0.015

    def __init__(
        self,
        make_producer: Callable[[], AIOKafkaProducer],
        partition: TopicPartition,
        targets: Sequence[TopicPartition],
        group_id: str,
        timeout_seconds: float,
    ) -> None:
        self._make_producer = make_producer
        self._partition = partition
        self._targets = targets
        self._group_id = group_id
        self._timeout_seconds = timeout_seconds
        self._producer: AIOKafkaProducer | None = None
        self._is_open = False

    async def start(self) -> None:
        await self.stop()
        self._producer = self._make_producer()
        try:
            await asyncio.wait_for(self._end_what_is_open(self._producer), self._timeout_seconds)
        except _NotAuthorized as error:
            raise BrokerRefusedError(f"The broker does not let this user write in transactions: {error}.") from error
        except (TimeoutError, OSError) as error:
            raise BrokerUnavailableError(
                f"The broker gave the producer of {partition_name(self._partition)} no answer "
                f"within {self._timeout_seconds:g} s."
            ) from error
        except _Lost as error:
            raise LostProducerError(f"its producer did not start ({type(error).__name__})") from error

    async def _end_what_is_open(self, producer: AIOKafkaProducer) -> None:
        await producer.start()
        await producer.begin_transaction()
        for target in self._targets:
            producer._txn_manager.maybe_add_partition_to_txn(target)  # noqa: SLF001 # in its public words only a record does that
        await producer.abort_transaction()

    def batches(self, outputs: Sequence[Output]) -> Batches:
        return _batches(self._running(), outputs)

    async def deliver(self, batches: Batches, next_offset: int) -> Receipt:
        try:
            return await _confirmed(self._transact(batches, next_offset), batches, self._timeout_seconds)
        except _NotAuthorized as error:
            raise BrokerRefusedError(f"The broker does not let this user write in transactions: {error}.") from error
        except _Lost as error:
            raise LostProducerError(f"its producer was lost ({type(error).__name__})") from error

    async def stop(self) -> None:
        producer, self._producer = self._producer, None
        if producer is None:
            return
        if self._is_open:
            # Only a courtesy to readers, who wait for the end of what is open: the next owner's start aborts it too.
            with contextlib.suppress(TimeoutError, *_Lost):
                await asyncio.wait_for(producer.abort_transaction(), _ABORT_SECONDS)
            self._is_open = False
        await stop_producer(producer)
        end = producer._txn_manager.wait_for_transaction_end()  # noqa: SLF001 # nobody has waited for it
        if end is not None and end.done() and not end.cancelled():
            end.exception()  # was told already, and is no news when the future is collected

    async def _transact(self, batches: Batches, next_offset: int) -> Receipt:
        producer = self._running()
        started = time.perf_counter()
        await producer.begin_transaction()
        self._is_open = True
        # Side by side: each is two requests that wait for their answers, and a poll's latency is made of those.
        await asyncio.gather(
            producer.send_offsets_to_transaction({self._partition: next_offset}, self._group_id),
            _publish(producer, batches),
        )
        published = time.perf_counter()
        await producer.commit_transaction()
        self._is_open = False
        return Receipt(published - started, time.perf_counter() - published)

    def _running(self) -> AIOKafkaProducer:
        if self._producer is None:
            raise LostProducerError("its producer was stopped")
        return self._producer


async def check_transactions(
    make_producer: Callable[[str], AIOKafkaProducer], prefix: str, timeout_seconds: float
) -> None:
    """Make sure, before anything is read, that the broker knows transactions.

    Raises:
        BrokerRefusedError: it does not, or does not let this user write in them; the message says what to set.
        BrokerUnavailableError: it gave no answer.
    """
    producer = make_producer(f"{prefix}-check")
    try:
        await asyncio.wait_for(producer.start(), timeout_seconds)
    except _NotAuthorized as error:
        raise BrokerRefusedError(
            f"The broker does not let this user write in transactions: {error}; allow transactional ids that start "
            f"with {prefix}-, or set BRIDGE_PROCESSING_GUARANTEE=at-least-once."
        ) from error
    except (TimeoutError, OSError) as error:
        raise BrokerUnavailableError(
            f"The broker opened no transaction within {timeout_seconds:g} s; if it knows none, "
            "set BRIDGE_PROCESSING_GUARANTEE=at-least-once."
        ) from error
    except KafkaError as error:
        raise BrokerRefusedError(
            f"The broker knows no transactions ({type(error).__name__}), and exactly-once needs them: "
            "set BRIDGE_PROCESSING_GUARANTEE=at-least-once, or use Apache Kafka."
        ) from error
    finally:
        await stop_producer(producer)


async def stop_producer(producer: AIOKafkaProducer) -> None:
    """Stop it, in any state, within a few seconds."""
    try:
        await asyncio.wait_for(producer.stop(), _STOP_SECONDS)
    except (TimeoutError, KafkaError):
        # It waits for ever for batches that nobody confirms; none of them was committed.
        sender = producer._sender.sender_task  # noqa: SLF001 # stop() has no way to leave them behind
        if sender is not None:
            sender.cancel()
        await producer.client.close()


def transactional_id(group_id: str, partition: TopicPartition, instance: str | None = None) -> str:
    """One for each partition in the group; with an instance, which does not fence, one for each of its partitions."""
    return "-".join((group_id, partition.topic, str(partition.partition), *([instance] if instance else [])))


async def _confirmed(work: Coroutine[Any, Any, _T], batches: Batches, timeout_seconds: float) -> _T:
    try:
        return await asyncio.wait_for(work, timeout_seconds)
    except TimeoutError as error:
        n_outputs = sum(batch.record_count() for _, batch in batches)
        raise DeliveryError(
            f"The broker did not confirm {n_outputs} outputs within {timeout_seconds:g} s; "
            "their transactions stay uncommitted and are read again at the next start."
        ) from error
    except (MessageSizeTooLargeError, RecordListTooLargeError) as error:
        raise DeliveryError(
            "The broker takes no batch as large as one of these outputs; start again if max.message.bytes of "
            f"{', '.join(sorted({target.topic for target, _ in batches}))} was lowered, raise it otherwise."
        ) from error


async def _publish(producer: AIOKafkaProducer, batches: Batches) -> None:
    confirmations = [
        await producer.send_batch(batch, target.topic, partition=target.partition) for target, batch in batches
    ]
    await asyncio.gather(*confirmations)


def _batches(producer: AIOKafkaProducer, outputs: Sequence[Output]) -> Batches:
    # A future for a batch costs a small part of one for each record, which is what `send` makes.
    open_batches: dict[tuple[str, int], Any] = {}
    full_batches: list[tuple[TopicPartition, Any]] = []
    for topic, partition, key, value, headers in outputs:
        target = (topic, partition)
        batch = open_batches.get(target)
        if batch is None:
            batch = open_batches[target] = producer.create_batch()
        headers_list = list(headers) if headers else _NO_HEADERS
        if batch.append(timestamp=None, key=key, value=value, headers=headers_list) is None:
            full_batches.append((TopicPartition(*target), batch))
            batch = open_batches[target] = producer.create_batch()
            batch.append(timestamp=None, key=key, value=value, headers=headers_list)  # into an empty one it always fits
    return full_batches + [(TopicPartition(*target), batch) for target, batch in open_batches.items()]


def partition_name(partition: TopicPartition) -> str:
    return f"{partition.topic}[{partition.partition}]"
