"""What went through the topics, read back: the facts of the demo's summary and of the pictures."""

import contextlib
import csv
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaConnectionError

from bridge.codec import Source
from bridge.connection import connection_arguments
from bridge.errors import BrokerUnavailableError
from bridge.produce import LINE_HEADER, open_csv
from bridge.settings import Settings

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
        n_transactions: records of the transactions topic.
        answered: the predictions, in the order in which they were read.
        n_alerts: records of the alerts topic.
        dead_letters: records of the dead letter topic by reason.
        fraud_sources: transactions that the file's label calls fraud; None when no labels are known.
    """

    n_transactions: int = 0
    answered: list[Answered] = field(default_factory=list)
    n_alerts: int = 0
    dead_letters: Counter[str] = field(default_factory=Counter)
    fraud_sources: frozenset[Source] | None = None


class _Prediction(msgspec.Struct):
    fraud_probability: float
    is_fraud: bool
    timestamp_received: datetime
    source: Source


class StreamReader:
    """Reads the topics of a bridge from their beginning; a call to `read` goes on where the one before ended.

    Args:
        consumer: connected, without a group.
        settings: name the topics.
        arrives_now: take the moment of reading as the moment of publication (for a reader that runs beside the bridge),
            not the record's own timestamp.
    """

    def __init__(self, consumer: AIOKafkaConsumer, settings: Settings, *, arrives_now: bool) -> None:
        self.stream = Stream()
        self.lines: dict[Source, int] = {}
        self._consumer = consumer
        self._arrives_now = arrives_now
        self._n_read = 0
        self._decoder = msgspec.json.Decoder(_Prediction)
        self._takers: Mapping[str, Callable[[ConsumerRecord], None]] = {
            settings.transactions_topic: self._take_transaction,
            settings.predictions_topic: self._take_prediction,
            settings.alerts_topic: self._take_alert,
            settings.dead_letter_topic: self._take_dead_letter,
        }

    async def assign(self) -> None:
        """Take every partition of the topics, from its first record."""
        partitions = [
            TopicPartition(topic, partition)
            for topic in self._takers
            for partition in sorted(self._consumer.partitions_for_topic(topic) or ())
        ]
        self._consumer.assign(partitions)
        await self._consumer.seek_to_beginning(*partitions)

    async def read_some(self) -> None:
        """Read what there is, for at most a moment."""
        polled = await self._consumer.getmany(timeout_ms=_POLL_WAIT_MS)
        for partition, records in polled.items():
            self._n_read += len(records)
            for record in records:
                self._takers[partition.topic](record)

    async def read_to_end(self) -> None:
        """Read all that stands in the topics at the moment of the call."""
        ends = await self._consumer.end_offsets(self._consumer.assignment())
        last_new = time.monotonic()
        while time.monotonic() - last_new < _QUIET_SECONDS:
            n_before = self._n_read
            await self.read_some()
            if self._n_read != n_before:
                last_new = time.monotonic()
            elif await self._has_reached(ends):
                return

    async def _has_reached(self, ends: Mapping[TopicPartition, int]) -> bool:
        return all([await self._consumer.position(partition) >= end for partition, end in ends.items()])

    def _take_transaction(self, record: ConsumerRecord) -> None:
        self.stream.n_transactions += 1
        line = dict(record.headers).get(LINE_HEADER)
        if line is not None:
            self.lines[Source(record.topic, record.partition, record.offset)] = int(line)

    def _take_prediction(self, record: ConsumerRecord) -> None:
        prediction = self._decoder.decode(record.value)
        self.stream.answered.append(
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
        reason = dict(record.headers).get("neighborwatch-reason", b"unknown")
        self.stream.dead_letters[reason.decode(errors="replace")] += 1


@contextlib.asynccontextmanager
async def reading(settings: Settings, *, arrives_now: bool) -> AsyncIterator[StreamReader]:
    """A connected reader of the topics that the settings name, which have to be there.

    Raises:
        BrokerUnavailableError: no broker answered.
    """
    consumer = AIOKafkaConsumer(
        **connection_arguments(settings),
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        fetch_max_wait_ms=settings.fetch_max_wait_ms,
    )
    try:
        await consumer.start()
        reader = StreamReader(consumer, settings, arrives_now=arrives_now)
        await reader.assign()
        yield reader
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
        fraud_lines = {reader.line_num for row in reader if row[label] not in ("0", "0.0", "", None)}
    return frozenset(source for source, line in lines.items() if line in fraud_lines)
