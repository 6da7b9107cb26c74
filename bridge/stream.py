"""What went through the topics, read back: the facts of the demo's summary and of the pictures."""

import contextlib
import csv
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaConnectionError

from bridge.codec import REASON_HEADER, SOURCE_HEADER, Source, decode_source
from bridge.connection import connection_arguments
from bridge.errors import BrokerUnavailableError
from bridge.produce import LINE_HEADER, open_csv
from bridge.settings import Settings
from bridge.topics import prepare_topics

_POLL_WAIT_MS = 200
_QUIET_SECONDS = 10.0  # an end offset may stand behind markers that are no records, and is then never reached


class Answered(NamedTuple):
    """A prediction that was read back.

    Attributes:
        source: where its transaction stands.
        fraud_probability: from 0 to 1.
        is_alert: whether it reached the threshold.
        received_at_seconds: timestamp_received, in seconds since the epoch.
        published_at_seconds: when the prediction could be read, in seconds since the epoch.
    """

    source: Source
    fraud_probability: float
    is_alert: bool
    received_at_seconds: float
    published_at_seconds: float

    @property
    def latency_seconds(self) -> float:
        return self.published_at_seconds - self.received_at_seconds


@dataclass
class Stream:
    """What went through.

    Attributes:
        transactions: the records of the transactions topic.
        answered: the predictions, in the order in which they were read.
        settled: the transactions that are answered or dead letters.
        n_alerts: records of the alerts topic.
        dead_letters: records of the dead letter topic by reason.
        n_foreign: records in the predictions topic that are no predictions.
        fraud_sources: transactions that the file's label calls fraud; None when no labels are known.
    """

    transactions: set[Source] = field(default_factory=set)
    answered: list[Answered] = field(default_factory=list)
    settled: set[Source] = field(default_factory=set)
    n_alerts: int = 0
    dead_letters: Counter[str] = field(default_factory=Counter)
    n_foreign: int = 0
    fraud_sources: frozenset[Source] | None = None

    @property
    def n_outputs(self) -> int:
        return len(self.answered) + self.dead_letters.total()

    @property
    def n_doubled(self) -> int:
        """Outputs of transactions that had one already; at-least-once delivery allows it."""
        return self.n_outputs - len(self.settled)

    @property
    def is_complete(self) -> bool:
        """Whether every transaction is answered or a dead letter. One doubled does not make up for one lost."""
        return len(self.settled) >= len(self.transactions) and self.transactions <= self.settled

    def add_answer(self, answered: Answered) -> None:
        self.answered.append(answered)
        self.settled.add(answered.source)

    def add_dead_letter(self, reason: str, source: Source) -> None:
        self.dead_letters[reason] += 1
        self.settled.add(source)


class _Prediction(msgspec.Struct):
    fraud_probability: float
    is_fraud: bool
    timestamp_received: datetime
    source: Source


class StreamReader:
    """Reads the topics of a bridge; a call to `read_some` goes on where the one before ended.

    Args:
        consumer: stands at the beginning of the topics.
        settings: name the topics.
        arrives_now: take the moment of reading as the moment of publication (for a reader that runs beside the bridge),
            not the record's own timestamp.
    """

    def __init__(self, consumer: AIOKafkaConsumer, settings: Settings, *, arrives_now: bool) -> None:
        self.stream = Stream()
        self.lines: dict[Source, int] = {}
        self._consumer = consumer
        self._arrives_now = arrives_now
        self._decoder = msgspec.json.Decoder(_Prediction)
        self._takers: Mapping[str, Callable[[ConsumerRecord], None]] = {
            settings.transactions_topic: self._take_transaction,
            settings.predictions_topic: self._take_prediction,
            settings.alerts_topic: self._take_alert,
            settings.dead_letter_topic: self._take_dead_letter,
        }

    async def read_some(self) -> None:
        """Read what there is, for at most a moment."""
        polled = await self._consumer.getmany(timeout_ms=_POLL_WAIT_MS)
        for partition, records in polled.items():
            for record in records:
                self._takers[partition.topic](record)

    async def read_to_end(self) -> None:
        """Read all that stands in the topics at the moment of the call."""
        async for record in records_until_end(self._consumer):
            self._takers[record.topic](record)

    def _take_transaction(self, record: ConsumerRecord) -> None:
        source = _place(record)
        self.stream.transactions.add(source)
        line = dict(record.headers).get(LINE_HEADER, b"")
        if line.isdigit():
            self.lines[source] = int(line)

    def _take_prediction(self, record: ConsumerRecord) -> None:
        try:
            prediction = self._decoder.decode(record.value or b"")
        except (msgspec.DecodeError, UnicodeDecodeError):
            self.stream.n_foreign += 1
            return
        self.stream.add_answer(
            Answered(
                source=prediction.source,
                fraud_probability=prediction.fraud_probability,
                is_alert=prediction.is_fraud,
                received_at_seconds=prediction.timestamp_received.timestamp(),
                published_at_seconds=time.time() if self._arrives_now else record.timestamp / 1000,
            )
        )

    def _take_alert(self, _: ConsumerRecord) -> None:
        self.stream.n_alerts += 1

    def _take_dead_letter(self, record: ConsumerRecord) -> None:
        headers = dict(record.headers)
        reason = headers.get(REASON_HEADER, b"unknown").decode(errors="replace")
        source = decode_source(headers.get(SOURCE_HEADER, b"").decode(errors="replace"))
        self.stream.add_dead_letter(reason, source or _place(record))


async def records_until_end(consumer: AIOKafkaConsumer) -> AsyncGenerator[ConsumerRecord]:
    """The records of the assigned partitions from their positions to their ends, as these are at the first step."""
    ends = await consumer.end_offsets(consumer.assignment())
    last_new = time.monotonic()
    while time.monotonic() - last_new < _QUIET_SECONDS:
        polled = await consumer.getmany(timeout_ms=_POLL_WAIT_MS)
        for records in polled.values():
            last_new = time.monotonic()
            for record in records:
                yield record
        if not polled and await _has_reached(consumer, ends):
            return


async def _has_reached(consumer: AIOKafkaConsumer, ends: Mapping[TopicPartition, int]) -> bool:
    return all([await consumer.position(partition) >= end for partition, end in ends.items()])


def _place(record: ConsumerRecord) -> Source:
    return Source(record.topic, record.partition, record.offset)


@contextlib.asynccontextmanager
async def reading(settings: Settings, *, arrives_now: bool) -> AsyncIterator[StreamReader]:
    """A connected reader of the topics that the settings name.

    Raises:
        BridgeError: the broker or a topic cannot be used.
    """
    topics = (settings.transactions_topic, settings.predictions_topic, settings.alerts_topic)
    async with consuming_alone(settings, (*topics, settings.dead_letter_topic)) as consumer:
        yield StreamReader(consumer, settings, arrives_now=arrives_now)


@contextlib.asynccontextmanager
async def consuming_alone(settings: Settings, topics: Sequence[str]) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer without a group, which reads what is committed in these topics from their beginning.

    Raises:
        BridgeError: the broker or a topic cannot be used.
    """
    counts = await prepare_topics(settings, topics)
    consumer = AIOKafkaConsumer(
        **connection_arguments(settings),
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        fetch_max_wait_ms=settings.fetch_max_wait_ms,
    )
    try:
        await consumer.start()
        partitions = [TopicPartition(topic, number) for topic in topics for number in range(counts[topic])]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        yield consumer
    except KafkaConnectionError as error:
        raise BrokerUnavailableError(f"No Kafka broker answers at {settings.bootstrap_servers}.") from error
    finally:
        await consumer.stop()


def frauds_by_label(lines: Mapping[Source, int], file: Path, label: str) -> frozenset[Source] | None:
    """The transactions whose line of the file is labelled 1; None when the file has no such column.

    Args:
        lines: where each transaction stands, and the line of the file it came from.
        file: the CSV file that was streamed.
        label: its label column.

    Raises:
        TransactionsFileError: the file cannot be read.
    """
    with open_csv(file) as opened:
        reader = csv.DictReader(opened)
        if label not in (reader.fieldnames or ()):
            return None
        fraud_lines = {reader.line_num for row in reader if _is_positive(row[label])}
    return frozenset(source for source, line in lines.items() if line in fraud_lines)


def _is_positive(cell: str | None) -> bool:
    try:
        return float(cell or 0) > 0
    except ValueError:
        return False
