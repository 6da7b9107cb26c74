"""A poll: records of one partition, answered by the model's process, made into outputs, and counted when committed."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import structlog
from aiokafka import ConsumerRecord, TopicPartition

from bridge.answer import Answer, Kind, Taken
from bridge.board import Board
from bridge.codec import DeadLetter, Reason
from bridge.delivery import Batches, Delivery, Output, Receipt
from bridge.metrics import Metrics
from bridge.model_process import ModelProcess
from bridge.tracing import UNTRACED, PollTrace, Steps, Tracer

_QUICK_RECORDS = 100  # the batches of so few take less than the way into a thread and back

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class OutputTopics:
    """Where answers go.

    Attributes:
        predictions: the topic of that name.
        alerts: the same.
        dead_letters: the same.
        processed: the same; empty when it is off.
        partitions: how many each topic has.
        max_batch_bytes: the largest batch that a topic takes, of those that are known.
    """

    predictions: str
    alerts: str
    dead_letters: str
    processed: str
    partitions: Mapping[str, int]
    max_batch_bytes: Mapping[str, int]

    def outputs(self, records: Sequence[ConsumerRecord], answer: Answer) -> list[Output]:
        """What is published of a poll, for each topic in the order of its records."""
        # The input's partition, not a hash of the key, chooses the output's: keys keep their order whatever
        # partitioner the sender has, and records without a key keep theirs too.
        partition = records[0].partition
        topic, to_partition = self.predictions, partition % self.partitions[self.predictions]
        outputs = [
            Output(topic, to_partition, record.key, value, record.headers)
            for record, value in zip(records, answer.predictions, strict=True)
            if value is not None
        ]
        topics = {Kind.ALERT: self.alerts, Kind.DEAD_LETTER: self.dead_letters, Kind.PROCESSED: self.processed}
        for extra in answer.extras:
            record, topic = records[extra.index], topics[extra.kind]
            value = record.value if extra.value is None else extra.value
            headers = [*record.headers, *extra.headers] if extra.headers else record.headers
            outputs.append(Output(topic, partition % self.partitions[topic], record.key, value, headers))
        return outputs

    def targets(self, partition: int) -> list[TopicPartition]:
        """Where the outputs of this partition of the input go."""
        topics = [topic for topic in (self.predictions, self.alerts, self.dead_letters, self.processed) if topic]
        return [TopicPartition(topic, partition % self.partitions[topic]) for topic in topics]

    def refuse(self, batch: tuple[TopicPartition, Any]) -> bool:
        """Whether the topic does not take the batch."""
        (topic, _), builder = batch
        limit_bytes = self.max_batch_bytes.get(topic)
        return limit_bytes is not None and builder.size() > limit_bytes


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


class Polls:
    """Has polls answered by the model, makes batches of the answers, and counts what became of them."""

    def __init__(
        self,
        model: ModelProcess,
        topics: OutputTopics,
        metrics: Metrics,
        board: Board,
        tracer: Tracer = UNTRACED,
    ) -> None:
        self.metrics = metrics
        self._model = model
        self._topics = topics
        self._board = board
        self._tracer = tracer
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="poll")

    async def answer(self, records: Sequence[ConsumerRecord], delivery: Delivery) -> Poll:
        """Decode, score and encode records of one partition, in their order.

        Raises:
            ModelProcessError: the model is gone.
        """
        with self.metrics.answer_seconds.time():
            trace = await self._begin_trace(records)
            answer = await self._model.answer(records)

            def finish() -> Poll:
                batches = self._batches(records, answer, trace, delivery)
                written_at_seconds = np.array([record.timestamp for record in records]) / 1000
                return Poll(written_at_seconds, records[-1].offset + 1, answer, batches, trace)

            if len(records) < _QUICK_RECORDS:
                return finish()
            return await asyncio.get_running_loop().run_in_executor(self._thread, finish)

    async def _begin_trace(self, records: Sequence[ConsumerRecord]) -> PollTrace:
        if self._tracer is UNTRACED or len(records) < _QUICK_RECORDS:
            return self._tracer.begin(records)
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._tracer.begin, records)

    def _batches(
        self, records: Sequence[ConsumerRecord], answer: Answer, trace: PollTrace, delivery: Delivery
    ) -> Batches:
        outputs = self._topics.outputs(records, answer)
        trace.stamp(outputs)
        batches = delivery.batches(outputs)
        # No batch is filled beyond what every topic takes, so that a larger one is a single output.
        if any(self._topics.refuse(batch) for batch in batches) and self._bury_too_large(
            records, answer, outputs, delivery
        ):
            return self._batches(records, answer, trace, delivery)
        return batches

    def _bury_too_large(
        self, records: Sequence[ConsumerRecord], answer: Answer, outputs: Sequence[Output], delivery: Delivery
    ) -> bool:
        """Make dead letters of records that have an output which its topic does not take; whether there were any."""
        too_large: dict[int, DeadLetter] = {}
        for index, output in zip(answer.output_indices(), outputs, strict=True):
            if output.topic == self._topics.dead_letters:
                continue  # there is no other place for it: the broker has the last word
            ((target, builder),) = delivery.batches([output])
            builder._build()  # noqa: SLF001 # only then it is compressed, as the broker will see it
            if self._topics.refuse((target, builder)):
                limit_bytes = self._topics.max_batch_bytes[output.topic]
                message = f"{output.topic} takes {limit_bytes} bytes; this output has {builder.size()}."
                too_large[index] = DeadLetter(Reason.OUTPUT_TOO_LARGE, message)
        now = datetime.now(UTC)
        for index, letter in too_large.items():
            record = records[index]
            answer.withdraw(index)
            answer.bury(
                index, Taken(record.topic, record.partition, record.offset, record.timestamp, None), letter, now
            )
        answer.extras.sort(key=lambda extra: extra.index)
        return bool(too_large)

    def check(self) -> None:
        """Make sure that polls can be answered.

        Raises:
            ModelProcessError: the model is gone.
        """
        self._model.check()

    def count(self, poll: Poll, receipt: Receipt) -> None:
        """Count a poll that is committed."""
        metrics, answer, now = self.metrics, poll.answer, time.time()
        alerts = answer.alerts
        metrics.poll_records.observe(poll.n_records)
        metrics.decode_seconds.observe(answer.decode_seconds)
        metrics.score_seconds.observe(answer.score_seconds)
        metrics.encode_seconds.observe(answer.encode_seconds)
        metrics.publish_seconds.observe(receipt.publish_seconds)
        metrics.commit_seconds.observe(receipt.commit_seconds)
        metrics.delivery_seconds.observe(receipt.publish_seconds + receipt.commit_seconds)
        metrics.consumed.inc(poll.n_records)
        metrics.predictions.inc(len(answer.fraud_probabilities))
        metrics.alerts.inc(len(alerts))
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
        self._board.note(poll.n_records, latencies_seconds, alerts)
        poll.trace.end(Steps(answer.decode_seconds, answer.score_seconds, answer.encode_seconds, *receipt))

    def close(self) -> None:
        """Wait for the batches that are being made."""
        self._thread.shutdown(wait=True, cancel_futures=True)
