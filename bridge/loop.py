"""The bridge's loop: poll, answer, deliver, again. A transaction's way to its commit starts here."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition

from app import __version__
from app.scoring.scorer import Scorer
from app.scoring.transaction import Transaction
from bridge.codec import Codec, DeadLetter, Record, encode_dead_letter_headers
from bridge.delivery import Delivery, Output
from bridge.metrics import Metrics
from bridge.status import Readiness

_POLL_WAIT_MS = 200  # how long a stop may go unnoticed when no transaction comes
_SLOW_POLL_SECONDS = 10.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class OutputTopics:
    """Where answers go, and how many partitions each topic has; processed is empty when it is off."""

    predictions: str
    alerts: str
    dead_letters: str
    processed: str
    partitions: Mapping[str, int]


@dataclass
class Answer:
    """What a poll gives: outputs in the order of their inputs, and what there was to count."""

    outputs: list[Output] = field(default_factory=list)
    received_at: list[datetime] = field(default_factory=list)
    n_alerts: int = 0
    dead_letters: Counter[str] = field(default_factory=Counter)


class Answerer:
    """Records in, outputs out: decodes, scores and encodes whole polls. It computes, and so runs in a thread."""

    def __init__(self, codec: Codec, scorer: Scorer, topics: OutputTopics) -> None:
        self._codec = codec
        self._scorer = scorer
        self._topics = topics

    def answer(self, records: Sequence[Record]) -> Answer:
        answer = Answer()
        readable: list[tuple[Record, Transaction]] = []
        now = datetime.now(UTC)
        for record in records:
            decoded = self._codec.decode(record)
            if isinstance(decoded, DeadLetter):
                headers = encode_dead_letter_headers(record, decoded, now, __version__)
                answer.outputs.append(self._output(self._topics.dead_letters, record, record.value, headers))
                answer.dead_letters[decoded.reason] += 1
            else:
                readable.append((record, decoded))
        self._score(readable, answer)
        return answer

    def _score(self, readable: Sequence[tuple[Record, Transaction]], answer: Answer) -> None:
        transactions = [transaction for _, transaction in readable]
        predictions = self._scorer.score(transactions)
        alerts = self._scorer.alerts(transactions, predictions)
        scored_at = datetime.now(UTC)
        topics, codec = self._topics, self._codec
        for (record, transaction), prediction, alert in zip(readable, predictions, alerts, strict=True):
            value = codec.encode_prediction(record, transaction, prediction, scored_at)
            answer.outputs.append(self._output(topics.predictions, record, value, record.headers))
            if alert is not None:
                value = codec.encode_alert(record, transaction, alert, scored_at)
                answer.outputs.append(self._output(topics.alerts, record, value, record.headers))
                answer.n_alerts += 1
            if transaction.timestamp_received is not None:
                answer.received_at.append(transaction.timestamp_received)
        if topics.processed:
            self._publish_scaled(readable, answer)

    def _publish_scaled(self, readable: Sequence[tuple[Record, Transaction]], answer: Answer) -> None:
        rows = self._scorer.scaled_features([transaction for _, transaction in readable])
        version = self._scorer.manifest.model_version
        for (record, transaction), scaled in zip(readable, rows, strict=True):
            value = self._codec.encode_processed(transaction, version, scaled)
            answer.outputs.append(self._output(self._topics.processed, record, value, record.headers))

    def _output(self, topic: str, record: Record, value: bytes | None, headers: Sequence[tuple[str, bytes]]) -> Output:
        # The input's partition, not a hash of the key, chooses the output's: keys keep their order whatever
        # partitioner the sender has, and records without a key keep theirs too.
        return Output(topic, record.partition % self._topics.partitions[topic], record.key, value, headers)


class Bridge:
    """Consumes, answers and delivers whole polls until it is told to stop."""

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        answerer: Answerer,
        delivery: Delivery,
        metrics: Metrics,
        *,
        max_poll_records: int,
    ) -> None:
        self._consumer = consumer
        self._answerer = answerer
        self._delivery = delivery
        self._metrics = metrics
        self._max_poll_records = max_poll_records
        self._stopping = False
        self._listener: _PartitionListener | None = None
        self._poll_in_hand = asyncio.Lock()
        self._in_hand_since: float | None = None
        # One thread: numpy frees the interpreter lock in it, and polls stay in order.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="answer")

    def request_stop(self) -> None:
        """Finish the poll in hand, then return from `main_loop`."""
        self._stopping = True

    def readiness(self) -> Readiness:
        """Whether transactions are being answered, for the supervisor."""
        if self._stopping:
            return Readiness(is_ready=False, reason="stopping")
        if self._listener is None or not self._listener.has_joined:
            return Readiness(is_ready=False, reason="has not joined the consumer group yet")
        since = self._in_hand_since
        if since is not None and time.monotonic() - since > _SLOW_POLL_SECONDS:
            return Readiness(is_ready=False, reason="waits for the broker to confirm a poll")
        return Readiness(is_ready=True, reason="transactions are being answered")

    async def main_loop(self, topic: str) -> None:
        """Consume the topic until a stop is requested.

        Raises:
            DeliveryError: outputs were not confirmed; the poll they belong to was not committed.
        """
        self._listener = _PartitionListener(self._poll_in_hand, self._metrics)
        self._consumer.subscribe([topic], listener=self._listener)
        try:
            while not self._stopping:
                polled = await self._consumer.getmany(timeout_ms=_POLL_WAIT_MS, max_records=self._max_poll_records)
                if polled:
                    async with self._poll_in_hand:
                        self._in_hand_since = time.monotonic()
                        await self._process(polled)
                        self._in_hand_since = None
        finally:
            self._thread.shutdown(wait=True)

    async def _process(self, polled: Mapping[TopicPartition, Sequence[Record]]) -> None:
        # A rebalance may have come between the poll and the lock; the new owner answers what it took.
        owned = {partition: polled[partition] for partition in polled if partition in self._consumer.assignment()}
        records = [record for batch in owned.values() for record in batch]
        if not records:
            return
        with self._metrics.score_seconds.time():
            answer = await asyncio.get_running_loop().run_in_executor(self._thread, self._answerer.answer, records)
        offsets = {partition: batch[-1].offset + 1 for partition, batch in owned.items()}
        with self._metrics.delivery_seconds.time():
            await self._delivery.deliver(answer.outputs, offsets)
        self._count(len(records), answer)

    def _count(self, n_records: int, answer: Answer) -> None:
        metrics = self._metrics
        metrics.consumed.inc(n_records)
        metrics.predictions.inc(n_records - answer.dead_letters.total())
        metrics.alerts.inc(answer.n_alerts)
        for reason, count in answer.dead_letters.items():
            metrics.dead_letters.labels(reason).inc(count)
            _log.warning("dead letters", reason=reason, count=count)
        now = time.time()
        for received_at in answer.received_at:
            metrics.latency_seconds.observe(now - received_at.timestamp())


class _PartitionListener(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka ships no types
    """Lets the poll in hand be committed before its partitions go to another member."""

    def __init__(self, poll_in_hand: asyncio.Lock, metrics: Metrics) -> None:
        self._poll_in_hand = poll_in_hand
        self._metrics = metrics
        self.has_joined = False

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        async with self._poll_in_hand:
            self._metrics.assigned_partitions.set(0)
            if revoked:
                _log.info("partitions given back", partitions=_names(revoked))

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self.has_joined = True
        self._metrics.assigned_partitions.set(len(assigned))
        _log.info("partitions assigned", partitions=_names(assigned))


def _names(partitions: set[TopicPartition]) -> list[str]:
    return [f"{partition.topic}[{partition.partition}]" for partition in sorted(partitions)]
