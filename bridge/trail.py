"""What stands in the topics of a bridge, read back side by side: each transaction and, not far from it, its answers."""

import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaError

from bridge.audit import Answer, Kind, Output, Place
from bridge.codec import REASON_HEADER, SOURCE_HEADER, Reason, Source, decode_source
from bridge.connection import connection_arguments
from bridge.errors import BridgeError, BrokerRefusedError, BrokerUnavailableError
from bridge.offset_range import Bound, OffsetRange, resolve
from bridge.settings import Settings
from bridge.topics import prepare_topics

_POLL_WAIT_MS = 200
_RECORDS_AT_ONCE = 5_000
_FETCH_WAIT_MS = 50  # a partition that has nothing more must not hold the others
_NARROW_ENOUGH = 2_000
_MARGIN = 10_000  # outputs before the first one that is known to be in range: doubles go back by a poll or two
_PROBE_RECORDS = 500


Polled = Mapping[TopicPartition, Sequence[ConsumerRecord]]
_Blocked = Callable[[TopicPartition], bool]


class UnreadableOutput(NamedTuple):
    """A record in an output topic that names no source."""

    kind: Kind
    place: Place


@dataclass(frozen=True)
class Extent:
    """What is to be read.

    Attributes:
        inputs: by partition of the transactions topic, the offsets that are asked for.
        outputs: by partition of the output topics, where their answers can stand.
        ends: by partition of the transactions topic, its end after the outputs' ends were taken.
        waiting: transactions behind the inputs: not committed, and so not answered yet.
    """

    inputs: Mapping[TopicPartition, OffsetRange]
    outputs: Mapping[TopicPartition, OffsetRange]
    ends: Mapping[int, int]
    waiting: int


class Trail:
    """Reads the transactions topic and output topics by what is committed.

    Args:
        consumer: connected and assigned to nothing; its group is only asked for what it has committed.
        watermarks: connected; tells the ends of partitions with what open transactions have written.
        inputs: the transactions topic.
        outputs: the output topics that are read, and what stands in each.
        partitions: of each of these topics.
        timeout_seconds: how long a partition may stand still before its end.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - two clients, and what there is to read
        self,
        consumer: AIOKafkaConsumer,
        watermarks: AIOKafkaConsumer,
        inputs: str,
        outputs: Mapping[str, Kind],
        partitions: Mapping[str, int],
        timeout_seconds: float,
    ) -> None:
        self._consumer = consumer
        self._watermarks = watermarks
        self._inputs = inputs
        self.kinds = outputs
        self._partitions = partitions
        self._timeout_seconds = timeout_seconds
        self._decoder = msgspec.json.Decoder(Answer)

    async def survey(self, first: Bound | None, last: Bound | None) -> Extent:
        """Where the asked part of the topics begins and ends, as things stand now."""
        # In this order: what is committed is answered already, and what is answered stands in the inputs' topic.
        partitions = self._partitions_of(self._inputs)
        inputs = await resolve(self._consumer, partitions, first, last)
        output_partitions = [partition for topic in self.kinds for partition in self._partitions_of(topic)]
        begins = await self._consumer.beginning_offsets(output_partitions)
        stops = await self._watermarks.end_offsets(output_partitions)
        ends = await self._watermarks.end_offsets(partitions)
        outputs = {where: OffsetRange(begins[where], stops[where]) for where in output_partitions}
        if first is not None:
            self._consumer.assign(output_partitions)
            for where in output_partitions:
                outputs[where] = OffsetRange(await self._start_of(where, outputs[where], inputs), stops[where])
        waiting = sum(ends[where] - inputs[where].stop for where in inputs) if last is None else 0
        return Extent(inputs, outputs, {where.partition: end for where, end in ends.items()}, waiting)

    async def read(
        self, extent: Extent, is_blocked: _Blocked, relieve: Callable[[], None]
    ) -> AsyncIterator[tuple[Polled, list[TopicPartition]]]:
        """Polls, each with the partitions whose end it reached; partitions that are blocked wait.

        Raises:
            BridgeError: a partition stands still: an open transaction holds it back, or the broker is away.
        """
        ranges = {**extent.inputs, **extent.outputs}
        unread = {where for where, offsets in ranges.items() if offsets.start < offsets.stop}
        yield {}, [where for where in ranges if where not in unread]
        self._consumer.assign(list(unread))
        for where in unread:
            self._consumer.seek(where, ranges[where].start)
        moved_at = time.monotonic()
        while unread:
            readable = [where for where in unread if not is_blocked(where)]
            if not readable:
                relieve()
                continue
            polled = await self._consumer.getmany(*readable, timeout_ms=_POLL_WAIT_MS, max_records=_RECORDS_AT_ONCE)
            ended = [where for where in readable if await self._consumer.position(where) >= ranges[where].stop]
            unread.difference_update(ended)
            if ended:
                self._consumer.pause(*ended)
            if polled or ended:
                moved_at = time.monotonic()
            elif time.monotonic() - moved_at > self._timeout_seconds:
                raise self._standstill(readable, ranges)
            yield {where: _before(polled[where], ranges[where].stop) for where in polled}, ended

    def output(self, record: ConsumerRecord) -> Output | UnreadableOutput:
        """The output in a record of an output topic."""
        kind = self.kinds[record.topic]
        place = Place(record.topic, record.partition, record.offset)
        if kind is Kind.DEAD_LETTER:
            # The record's own headers come first, and may have any names: the last one of a name is the bridge's.
            headers = dict(record.headers)
            source = decode_source(headers.get(SOURCE_HEADER, b"").decode(errors="replace"))
            if source is None:
                return UnreadableOutput(kind, place)
            is_readable = headers.get(REASON_HEADER) == Reason.OUTPUT_TOO_LARGE.encode()
            return Output(kind, place, record.key, source, is_readable=is_readable)
        try:
            answer = self._decoder.decode(record.value or b"")
        except (msgspec.DecodeError, UnicodeDecodeError):
            return UnreadableOutput(kind, place)
        return Output(kind, place, record.key, answer.source, answer)

    def _partitions_of(self, topic: str) -> list[TopicPartition]:
        return [TopicPartition(topic, number) for number in range(self._partitions[topic])]

    def _standstill(
        self, readable: Iterable[TopicPartition], ranges: Mapping[TopicPartition, OffsetRange]
    ) -> BridgeError:
        where = min(readable)
        return BridgeError(
            f"{where.topic}[{where.partition}] stands still before offset {ranges[where].stop} for "
            f"{self._timeout_seconds:g} s: a transaction is open there, or the broker is away; try again later."
        )

    async def _start_of(
        self, where: TopicPartition, offsets: OffsetRange, inputs: Mapping[TopicPartition, OffsetRange]
    ) -> int:
        """An offset before every answer to these inputs; answers stand in the order of their transactions."""
        found = [await self._bisect(where, offsets, lane.partition, inputs[lane].start) for lane in inputs]
        return max(offsets.start, min(found, default=offsets.start) - _MARGIN)

    async def _bisect(self, where: TopicPartition, offsets: OffsetRange, partition: int, first: int) -> int:
        low, high = offsets
        while high - low > _NARROW_ENOUGH:
            middle = (low + high) // 2
            reached = await self._source_at(where, middle, partition)
            # Where nothing is known, one begins earlier: that costs time and loses nothing.
            low, high = (middle, high) if reached is not None and reached < first else (low, middle)
        return low

    async def _source_at(self, where: TopicPartition, offset: int, partition: int) -> int | None:
        """The source's offset of the first answer at or behind an offset that belongs to this input partition."""
        self._consumer.seek(where, offset)
        records = (await self._consumer.getmany(where, timeout_ms=5 * _POLL_WAIT_MS, max_records=_PROBE_RECORDS)).get(
            where, ()
        )
        for record in records:
            output = self.output(record)
            if isinstance(output, Output) and _is_of(output.source, self._inputs, partition):
                return output.source.offset
        return None


@contextlib.asynccontextmanager
async def trailing(settings: Settings, outputs: Mapping[str, Kind]) -> AsyncIterator[Trail]:
    """A trail of the settings' transactions topic and these output topics, which have to be there.

    Raises:
        BrokerUnavailableError: no broker answered.
        BrokerRefusedError: the broker refused.
        TopicsMissingError: a topic is not there.
    """
    inputs = settings.transactions_topic
    partitions = await prepare_topics(settings.model_copy(update={"create_topics": False}), (inputs, *outputs))
    connection = connection_arguments(settings)
    consumer = AIOKafkaConsumer(
        **connection,
        group_id=settings.group_id,
        enable_auto_commit=False,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        fetch_max_wait_ms=_FETCH_WAIT_MS,
    )
    watermarks = AIOKafkaConsumer(**connection, isolation_level="read_uncommitted")
    try:
        await consumer.start()
        await watermarks.start()
        yield Trail(consumer, watermarks, inputs, outputs, partitions, settings.broker_timeout_seconds)
    except (KafkaConnectionError, OSError) as error:
        raise BrokerUnavailableError(f"No Kafka broker answers at {settings.bootstrap_servers}.") from error
    except KafkaError as error:
        raise BrokerRefusedError(f"The broker refused the audit: {error}.") from error
    finally:
        await consumer.stop()
        await watermarks.stop()


def _is_of(source: Source, topic: str, partition: int) -> bool:
    return source.partition == partition and source.topic == topic


def _before(records: Sequence[ConsumerRecord], stop: int) -> Sequence[ConsumerRecord]:
    if records and records[-1].offset >= stop:
        return [record for record in records if record.offset < stop]
    return records
