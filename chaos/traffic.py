"""Steady traffic: transactions of few cards, so that keys repeat, with records in between that nobody can read."""

import asyncio
import itertools
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer

_TICK_SECONDS = 0.01
_POISON_EVERY = 50
_POISONS = (b"{no transaction", b"", b"\xff\xfe", b'{"Amount": "NaN"}', b"[1, 2]")
_MOST_UNCONFIRMED = 50_000
_CARDS = 500


class Traffic:
    """Sends at a rate until it is stopped; what the broker confirmed is what counts."""

    def __init__(
        self, connection: Mapping[str, Any], topic: str, rows: Sequence[Mapping[str, Any]], rate_per_second: float
    ) -> None:
        self._connection = connection
        self._topic = topic
        self._rows = itertools.cycle(rows)
        self._rate_per_second = rate_per_second
        self._stopping = False
        self._unconfirmed: set[asyncio.Future[Any]] = set()
        self.n_sent = 0

    def stop(self) -> None:
        self._stopping = True

    async def run(self) -> None:
        """Send until `stop`, then wait for the broker's word on everything."""
        producer = AIOKafkaProducer(
            **self._connection,
            enable_idempotence=True,
            max_batch_size=1_000_000,
            request_timeout_ms=90_000,
            linger_ms=2,
        )
        async with producer:
            started = time.monotonic()
            while not self._stopping:
                due = int((time.monotonic() - started) * self._rate_per_second)
                while self.n_sent < due and len(self._unconfirmed) < _MOST_UNCONFIRMED:
                    await self._send(producer)
                await asyncio.sleep(_TICK_SECONDS)
            await asyncio.gather(*self._unconfirmed)

    async def _send(self, producer: AIOKafkaProducer) -> None:
        number = self.n_sent
        key = f"card-{(number * 7) % _CARDS}".encode()
        future = await producer.send(self._topic, self._value(number), key)
        self._unconfirmed.add(future)
        future.add_done_callback(self._unconfirmed.discard)
        self.n_sent += 1

    def _value(self, number: int) -> bytes:
        if number % _POISON_EVERY == _POISON_EVERY - 1:
            return _POISONS[number // _POISON_EVERY % len(_POISONS)]
        fields = {"transaction_id": f"t-{number}", "timestamp_received": datetime.now(UTC).isoformat()}
        return msgspec.json.encode({**next(self._rows), **fields})
