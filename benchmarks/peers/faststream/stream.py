"""FastStream in its fastest form, whole batches, committed after they were handled (at-least-once).

`python -m benchmarks.peers.faststream.stream BOOTSTRAP INPUT OUTPUT GROUP ARRAYS FEATURE_NAMES`
"""

import asyncio
import sys
from typing import Any

from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker

from benchmarks.peers.scorer import PeerScorer

_POLL_RECORDS = 2_000
_MAX_BATCH_BYTES = 900_000  # its default of 16 kB takes no batch of answers


def create_app(bootstrap: str, source: str, target: str, group: str, scorer: PeerScorer) -> FastStream:
    broker = KafkaBroker(
        bootstrap, acks="all", max_batch_size=_MAX_BATCH_BYTES, max_request_size=2 * _MAX_BATCH_BYTES, logger=None
    )

    @broker.subscriber(  # type: ignore[untyped-decorator] # FastStream lives in its own environment
        source,
        group_id=group,
        batch=True,
        max_records=_POLL_RECORDS,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=100,
        ack_policy=AckPolicy.ACK,
    )
    async def score(transactions: list[dict[str, Any]]) -> None:
        answers = await asyncio.to_thread(scorer, transactions)
        await broker.publish_batch(*answers, topic=target)

    return FastStream(broker, logger=None)


if __name__ == "__main__":
    bootstrap, source, target, group, arrays, names = sys.argv[1:7]
    asyncio.run(create_app(bootstrap, source, target, group, PeerScorer(arrays, names)).run())
