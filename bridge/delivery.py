"""The whole guarantee in one file: what was answered is published, and only then is what was read committed.

At-least-once. The steps of one delivery, in this order:

1. The outputs of a poll are put into batches, one a topic and partition, in the order of their inputs.
2. The broker is asked to take them, with acks=all, and its word on every one of them is waited for.
3. The offsets behind the inputs are committed.

A process that dies before step 3 leaves the offsets where they were, so its successor answers the same inputs again:
a prediction may come twice (its `source` is the same), and none is lost. An output that the broker does not confirm in
time stops the process at step 2, with nothing of the poll committed.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    IllegalStateError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
)

from bridge.codec import Headers
from bridge.errors import DeliveryError

_log = structlog.get_logger(__name__)


class Output(NamedTuple):
    """A record to publish."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class Delivery(Protocol):
    """Takes the outputs of a poll and the offsets to commit with them, as one unit."""

    async def deliver(self, outputs: Sequence[Output], offsets: Mapping[TopicPartition, int]) -> None:
        """Publish, then commit.

        Raises:
            DeliveryError: the broker did not confirm every output, and nothing was committed.
        """


class AtLeastOnceDelivery:
    """Publishes with one producer, then commits through the consumer's group."""

    def __init__(self, consumer: AIOKafkaConsumer, producer: AIOKafkaProducer, timeout_seconds: float) -> None:
        self._consumer = consumer
        self._producer = producer
        self._timeout_seconds = timeout_seconds

    async def deliver(self, outputs: Sequence[Output], offsets: Mapping[TopicPartition, int]) -> None:
        try:
            await asyncio.wait_for(self._publish(outputs), self._timeout_seconds)
            await asyncio.wait_for(self._commit(offsets), self._timeout_seconds)
        except TimeoutError as error:
            raise DeliveryError(
                f"The broker did not confirm {len(outputs)} outputs within {self._timeout_seconds:g} s; "
                "their transactions stay uncommitted and are read again at the next start."
            ) from error
        except (MessageSizeTooLargeError, RecordListTooLargeError) as error:
            raise DeliveryError(
                "The broker takes no record as large as one of these outputs; raise max.message.bytes of "
                f"{', '.join(sorted({output.topic for output in outputs}))}, or lower BRIDGE_MAX_RECORD_BYTES."
            ) from error
        except KafkaError as error:
            raise DeliveryError(
                f"The broker did not take the outputs of a poll ({type(error).__name__}); "
                "their transactions stay uncommitted and are read again at the next start."
            ) from error

    async def _publish(self, outputs: Sequence[Output]) -> None:
        confirmations = [
            await self._producer.send_batch(batch, target.topic, partition=target.partition)
            for target, batch in self._batches(outputs)
        ]
        await asyncio.gather(*confirmations)

    def _batches(self, outputs: Sequence[Output]) -> list[tuple[TopicPartition, Any]]:
        # A future for a batch costs a small part of one for each record, which is what `send` makes.
        open_batches: dict[TopicPartition, Any] = {}
        full_batches: list[tuple[TopicPartition, Any]] = []
        for output in outputs:
            target = TopicPartition(output.topic, output.partition)
            if target not in open_batches:
                open_batches[target] = self._producer.create_batch()
            if not _append(open_batches[target], output):
                full_batches.append((target, open_batches[target]))
                open_batches[target] = self._producer.create_batch()
                _append(open_batches[target], output)  # the first record of a batch always fits
        return full_batches + list(open_batches.items())

    async def _commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        try:
            await self._consumer.commit(dict(offsets))
        except (CommitFailedError, IllegalStateError):
            # The group gave the partitions to another member while the broker was away: that member reads the same
            # transactions again, so that some predictions come twice and none is lost.
            _log.warning("the partitions of a poll have a new owner; it will answer them again", n_offsets=len(offsets))


def _append(batch: Any, output: Output) -> bool:
    appended = batch.append(timestamp=None, key=output.key, value=output.value, headers=list(output.headers))
    return appended is not None
