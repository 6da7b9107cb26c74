"""Records in, outputs out: whole polls are decoded, scored and encoded."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import structlog

from app import __version__
from app.scoring.prediction import Method
from app.scoring.scorer import Scorer
from app.scoring.transaction import Transaction
from bridge.board import Board
from bridge.codec import Codec, DeadLetter, Record, encode_dead_letter_headers
from bridge.delivery import Batches, Delivery, Output, Receipt
from bridge.metrics import Metrics
from bridge.tracing import UNTRACED, PollTrace, Steps, Tracer

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
    received_at_seconds: list[float] = field(default_factory=list)
    fraud_probabilities: list[float] = field(default_factory=list)
    alerts: list[bytes] = field(default_factory=list)
    dead_letters: Counter[str] = field(default_factory=Counter)
    first_dead_letters: dict[str, str] = field(default_factory=dict)
    methods: Counter[Method] = field(default_factory=Counter)
    decode_seconds: float = 0.0
    score_seconds: float = 0.0
    encode_seconds: float = 0.0


@dataclass(frozen=True)
class Poll:
    """Records of one partition that were answered at once, ready to be delivered."""

    written_at_seconds: npt.NDArray[np.float64]
    next_offset: int
    answer: Answer
    batches: Batches
    trace: PollTrace

    @property
    def n_records(self) -> int:
        return len(self.written_at_seconds)


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
        started = time.perf_counter()
        for record in records:
            decoded = self._codec.decode(record)
            if isinstance(decoded, DeadLetter):
                headers = encode_dead_letter_headers(record, decoded, now, __version__)
                answer.outputs.append(self._output(self._topics.dead_letters, record, record.value, headers))
                answer.dead_letters[decoded.reason] += 1
                place = f"{record.topic}[{record.partition}] {record.offset}"
                answer.first_dead_letters.setdefault(decoded.reason, place)
            else:
                readable.append((record, decoded))
        answer.decode_seconds = time.perf_counter() - started
        self._score(readable, answer)
        return answer

    def _score(self, readable: Sequence[tuple[Record, Transaction]], answer: Answer) -> None:
        started = time.perf_counter()
        transactions = [transaction for _, transaction in readable]
        predictions, alerts = self._scorer.score_with_alerts(transactions)
        answer.methods.update([prediction.method for prediction in predictions])
        answer.fraud_probabilities = [prediction.fraud_probability for prediction in predictions]
        scored = time.perf_counter()
        scored_at = datetime.now(UTC)
        topics, codec = self._topics, self._codec
        for (record, transaction), prediction, alert in zip(readable, predictions, alerts, strict=True):
            value = codec.encode_prediction(record, transaction, prediction, scored_at)
            answer.outputs.append(self._output(topics.predictions, record, value, record.headers))
            if alert is not None:
                value = codec.encode_alert(record, transaction, alert, scored_at)
                answer.outputs.append(self._output(topics.alerts, record, value, record.headers))
                answer.alerts.append(value)
            if transaction.timestamp_received is not None:
                answer.received_at_seconds.append(transaction.timestamp_received.timestamp())
        if topics.processed:
            self._publish_scaled(readable, answer)
        answer.score_seconds, answer.encode_seconds = scored - started, time.perf_counter() - scored

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


class AnswerThread:
    """Answers polls in a thread, where it blocks no event loop, and counts what became of them.

    One thread: numpy frees the interpreter lock in it, and more would only take the lock from each other.
    """

    def __init__(self, answerer: Answerer, metrics: Metrics, board: Board, tracer: Tracer = UNTRACED) -> None:
        self.metrics = metrics
        self._tracer = tracer
        self._board = board
        self._answerer = answerer
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="answer")

    async def answer(self, records: Sequence[Record], delivery: Delivery) -> Poll:
        """Decode, score and encode records of one partition, in their order."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._compute, records, delivery)

    def count(self, poll: Poll, receipt: Receipt) -> None:
        """Count a poll that is committed."""
        metrics, answer, now = self.metrics, poll.answer, time.time()
        metrics.poll_records.observe(poll.n_records)
        metrics.decode_seconds.observe(answer.decode_seconds)
        metrics.score_seconds.observe(answer.score_seconds)
        metrics.encode_seconds.observe(answer.encode_seconds)
        metrics.publish_seconds.observe(receipt.publish_seconds)
        metrics.commit_seconds.observe(receipt.commit_seconds)
        metrics.delivery_seconds.observe(receipt.publish_seconds + receipt.commit_seconds)
        metrics.consumed.inc(poll.n_records)
        metrics.predictions.inc(poll.n_records - answer.dead_letters.total())
        metrics.alerts.inc(len(answer.alerts))
        for method, count in answer.methods.items():
            metrics.found.labels(method).inc(count)
        for reason, count in answer.dead_letters.items():
            metrics.dead_letters.labels(reason).inc(count)
            _log.warning("dead letters", reason=reason, count=count, first=answer.first_dead_letters[reason])
        metrics.fraud_probabilities.observe(np.array(answer.fraud_probabilities))
        latencies_seconds = now - np.array(answer.received_at_seconds)
        metrics.latency_seconds.observe(latencies_seconds)
        written_at = poll.written_at_seconds
        metrics.record_latency_seconds.observe(now - written_at[written_at > 0])  # a sender may write no time
        self._board.note(poll.n_records, latencies_seconds, answer.alerts)
        poll.trace.end(Steps(answer.decode_seconds, answer.score_seconds, answer.encode_seconds, *receipt))

    def close(self) -> None:
        """Wait for what is being answered."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _compute(self, records: Sequence[Record], delivery: Delivery) -> Poll:
        with self.metrics.answer_seconds.time():
            trace = self._tracer.begin(records)
            answer = self._answerer.answer(records)
            trace.stamp(answer.outputs)
            written_at_seconds = np.array([record.timestamp for record in records]) / 1000
            return Poll(written_at_seconds, records[-1].offset + 1, answer, delivery.batches(answer.outputs), trace)
