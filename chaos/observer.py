"""Watches the predictions as any reader does: how long none came, and how long each took."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
import numpy as np
from aiokafka import AIOKafkaConsumer, TopicPartition

_POLL_WAIT_MS = 20
_WINDOW_SECONDS = 30


class _Prediction(msgspec.Struct):
    timestamp_received: datetime


class Observer:
    """Reads what is committed, at once; from `begin` to `end` it measures."""

    def __init__(self, connection: Mapping[str, Any], topic: str, n_partitions: int) -> None:
        self._connection = connection
        self._partitions = [TopicPartition(topic, number) for number in range(n_partitions)]
        self._decoder = msgspec.json.Decoder(_Prediction)
        self._last_at: dict[TopicPartition, float] = {}
        self._last_of_all = 0.0
        self._began_at: float | None = None
        self._latencies_ms: dict[int, list[float]] = defaultdict(list)
        self.n_seen = 0
        self.longest_gap_seconds = 0.0
        self.longest_partition_gap_seconds = 0.0

    def begin(self) -> None:
        now = time.monotonic()
        self._began_at = self._last_of_all = now
        self._last_at = dict.fromkeys(self._partitions, now)

    def end(self) -> None:
        self._measure_gaps(time.monotonic(), self._partitions)
        self._began_at = None

    @property
    def latency_windows_ms(self) -> list[tuple[float, float]]:
        """The 50th and 99th percentile of each half minute, in order."""
        windows = [self._latencies_ms[window] for window in sorted(self._latencies_ms)]
        return [(float(np.percentile(window, 50)), float(np.percentile(window, 99))) for window in windows]

    async def run(self) -> None:
        """Until it is cancelled."""
        consumer = AIOKafkaConsumer(
            **self._connection, isolation_level="read_committed", auto_offset_reset="earliest", fetch_max_wait_ms=50
        )
        async with consumer:
            consumer.assign(self._partitions)
            while True:
                polled = await consumer.getmany(timeout_ms=_POLL_WAIT_MS)
                if not polled:
                    continue
                self.n_seen += sum(len(records) for records in polled.values())
                if self._began_at is not None:
                    now = time.monotonic()
                    self._measure_gaps(now, list(polled))
                    self._measure_latency(int((now - self._began_at) / _WINDOW_SECONDS), polled)

    async def wait_for(self, count: int) -> None:
        while self.n_seen < count:  # noqa: ASYNC110 - a look at a counter, and no event a record
            await asyncio.sleep(0.05)

    def _measure_gaps(self, now: float, partitions: list[TopicPartition]) -> None:
        self.longest_gap_seconds = max(self.longest_gap_seconds, now - self._last_of_all)
        self._last_of_all = now
        for partition in partitions:
            gap_seconds = now - self._last_at[partition]
            self.longest_partition_gap_seconds = max(self.longest_partition_gap_seconds, gap_seconds)
            self._last_at[partition] = now

    def _measure_latency(self, window: int, polled: Mapping[TopicPartition, list[Any]]) -> None:
        now = time.time()
        latencies_ms = self._latencies_ms[window]
        for records in polled.values():
            for record in records:
                latencies_ms.append(1000 * (now - self._decoder.decode(record.value).timestamp_received.timestamp()))
