"""Topics of one test: names that no other test has, raw records in, raw records out."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

_LARGEST_BYTES = 4_000_000
_WAIT_SECONDS = 60.0


@dataclass(frozen=True)
class Message:
    """What a test publishes; without a partition, the key's hash decides, as in every producer."""

    value: bytes | None
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes]] = ()
    partition: int | None = None
    timestamp_ms: int | None = None


class Topics:
    """Each method makes its own client, and so belongs to the event loop of the test that calls it."""

    def __init__(self, connection: Mapping[str, Any]) -> None:
        """Take what every aiokafka client of the broker takes: `broker.connection`."""
        self.connection = dict(connection)
        self.prefix = secrets.token_hex(4)

    def name(self, noun: str) -> str:
        """A topic or a group that is this test's own."""
        return f"{self.prefix}-{noun}"

    async def create(
        self, *nouns: str, partitions: int = 3, configuration: Mapping[str, str] | None = None
    ) -> list[str]:
        """Make topics and wait until the broker shows them; their names are the value."""
        names = [self.name(noun) for noun in nouns]
        configs = dict(configuration or {})
        async with self._admin() as admin:
            answer = await admin.create_topics([NewTopic(name, partitions, 1, topic_configs=configs) for name in names])
            refused = [error for error in answer.topic_errors if error[1] != 0]
            assert not refused
            await _until(lambda: _are_led(admin, names))
        return names

    async def produce(self, topic: str, *messages: Message) -> list[TopicPartition]:
        """Publish in this order and wait for the broker's word; where each record went is the value."""
        async with AIOKafkaProducer(**self.connection, acks="all", max_request_size=_LARGEST_BYTES) as producer:
            futures = [
                await producer.send(
                    topic,
                    message.value,
                    message.key,
                    message.partition,
                    timestamp_ms=message.timestamp_ms,
                    headers=list(message.headers),
                )
                for message in messages
            ]
            done = await asyncio.gather(*futures)
        return [metadata.topic_partition for metadata in done]

    async def read(self, topic: str, *, uncommitted: bool = False) -> list[ConsumerRecord]:
        """Every record until the end offsets of now, partition by partition, in the order of their offsets.

        What a transaction wrote is read once it is committed, or at once with `uncommitted`.
        """
        isolation = "read_uncommitted" if uncommitted else "read_committed"
        async with self._consumer(isolation_level=isolation) as consumer:
            partitions = await _partitions(consumer, topic)
            consumer.assign(partitions)
            ends = await consumer.end_offsets(partitions)
            records: list[ConsumerRecord] = []
            async with asyncio.timeout(_WAIT_SECONDS):
                while not await _has_reached(consumer, ends):
                    for polled in (await consumer.getmany(timeout_ms=200)).values():
                        records.extend(polled)
        return sorted(records, key=lambda record: (record.partition, record.offset))

    async def wait_for(self, topic: str, count: int, timeout_seconds: float = _WAIT_SECONDS) -> list[ConsumerRecord]:
        """Every committed record, once there are at least this many."""
        records: list[ConsumerRecord] = []
        try:
            async with asyncio.timeout(timeout_seconds):
                while len(records) < count:
                    await asyncio.sleep(0.1)
                    records = await self.read(topic)
        except TimeoutError:
            raise AssertionError(f"{topic} has {len(records)} of {count} records after {timeout_seconds:g} s") from None
        return records

    async def end_offsets(self, topic: str) -> dict[int, int]:
        """By partition; the embedded broker tells too little after a batch of several records."""
        async with self._consumer() as consumer:
            ends = await consumer.end_offsets(await _partitions(consumer, topic))
        return {where.partition: offset for where, offset in ends.items()}

    async def committed(self, group: str, topic: str) -> dict[int, int | None]:
        """The group's committed offset in each partition, None where there is none."""
        async with self._consumer(group_id=group) as consumer:
            partitions = await _partitions(consumer, topic)
            consumer.assign(partitions)
            return {where.partition: await consumer.committed(where) for where in partitions}

    async def held_back(self, topic: str) -> dict[int, int]:
        """By partition with an open transaction: the offset before which everything can be read."""
        async with self._consumer(isolation_level="read_committed") as committed, self._consumer() as written:
            partitions = await _partitions(written, topic)
            readable = await committed.end_offsets(partitions)
            ends = await written.end_offsets(partitions)
        return {where.partition: readable[where] for where in partitions if readable[where] < ends[where]}

    async def add_partitions(self, topic: str, total: int) -> None:
        """Give the topic more partitions, up to this many."""
        async with self._admin() as admin:
            answer = await admin.create_partitions({topic: NewPartitions(total_count=total)})
            assert not [error for error in answer.topic_errors if error[1] != 0]

    async def configure(self, topic: str, configuration: Mapping[str, str]) -> None:
        """Change settings of the topic."""
        async with self._admin() as admin:
            await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, dict(configuration))])

    @asynccontextmanager
    async def _admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        admin = AIOKafkaAdminClient(**self.connection)
        try:
            await admin.start()
            yield admin
        finally:
            await admin.close()

    @asynccontextmanager
    async def _consumer(self, **arguments: Any) -> AsyncIterator[AIOKafkaConsumer]:
        """A consumer that joins no group and commits nothing."""
        consumer = AIOKafkaConsumer(
            **self.connection,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=50,
            max_partition_fetch_bytes=_LARGEST_BYTES,
            **arguments,
        )
        try:
            await consumer.start()
            yield consumer
        finally:
            await consumer.stop()


async def _are_led(admin: AIOKafkaAdminClient, names: list[str]) -> bool:
    described = await admin.describe_topics(names)
    partitions = [partition for topic in described for partition in topic["partitions"]]
    return all(topic["error_code"] == 0 for topic in described) and all(
        partition["error_code"] == 0 for partition in partitions
    )


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> list[TopicPartition]:
    """Ask for all topics: to ask for one by name makes it, on the embedded broker."""
    found: set[int] = set()

    async def is_shown() -> bool:
        cluster = await consumer._client.fetch_all_metadata()
        found.update(cluster.partitions_for_topic(topic) or ())
        return bool(found)

    await _until(is_shown)
    return [TopicPartition(topic, number) for number in sorted(found)]


async def _has_reached(consumer: AIOKafkaConsumer, ends: Mapping[TopicPartition, int]) -> bool:
    return all([await consumer.position(where) >= end for where, end in ends.items()])


async def _until(is_so: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + _WAIT_SECONDS
    while not await is_so():
        assert time.monotonic() < deadline, f"the broker did not show its topics in {_WAIT_SECONDS:g} s"
        await asyncio.sleep(0.05)
