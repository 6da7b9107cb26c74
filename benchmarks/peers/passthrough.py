"""The ceiling: aiokafka copies bytes from topic to topic, whole polls at a time, and commits; nothing is decoded.

`python -m benchmarks.peers.passthrough BOOTSTRAP INPUT OUTPUT GROUP batches | records`: what goes out is put into
batches by itself, which is the fastest way and the one that ours takes, or sent record by record, as most programs do.
"""

import asyncio
import sys
from asyncio import Future
from collections.abc import Sequence

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord

_POLL_RECORDS = 6_000
_MAX_BATCH_BYTES = 900_000


async def copy(bootstrap: str, source: str, target: str, group: str, way: str) -> None:
    send = {"batches": _send_batches, "records": _send_records}[way]
    consumer = AIOKafkaConsumer(
        source,
        bootstrap_servers=bootstrap,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=100,
    )
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, acks="all", max_batch_size=_MAX_BATCH_BYTES, max_request_size=2 * _MAX_BATCH_BYTES
    )
    async with consumer, producer:
        while True:
            polled = await consumer.getmany(timeout_ms=200, max_records=_POLL_RECORDS)
            confirmations = []
            for partition, records in polled.items():
                confirmations += await send(producer, records, target, partition.partition)
            if confirmations:
                await asyncio.gather(*confirmations)
                await consumer.commit()


async def _send_batches(
    producer: AIOKafkaProducer, records: Sequence[ConsumerRecord], target: str, partition: int
) -> list[Future[object]]:
    confirmations = []
    batch = producer.create_batch()
    for record in records:
        if batch.append(timestamp=None, key=record.key, value=record.value) is None:
            confirmations.append(await producer.send_batch(batch, target, partition=partition))
            batch = producer.create_batch()
            batch.append(timestamp=None, key=record.key, value=record.value)
    confirmations.append(await producer.send_batch(batch, target, partition=partition))
    return confirmations


async def _send_records(
    producer: AIOKafkaProducer, records: Sequence[ConsumerRecord], target: str, partition: int
) -> list[Future[object]]:
    return [await producer.send(target, record.value, record.key, partition=partition) for record in records]


if __name__ == "__main__":
    asyncio.run(copy(*sys.argv[1:6]))
