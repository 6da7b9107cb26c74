"""From produce to a read prediction, in an open loop: when each transaction is due is fixed before the first is sent.

A transaction's time runs from when it was due, not from when it was sent, so that a stall anywhere, in the sender too,
counts for every transaction that it holds up (no coordinated omission).
"""

import asyncio
import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import msgspec
import numpy as np
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from benchmarks import kafka
from benchmarks.bridge_throughput import AT_LEAST, COPY, EXACTLY, FASTSTREAM
from benchmarks.figures import Ratio, Recorder, Result
from benchmarks.kafka import PARTITIONS, BenchmarkBroker, Contestant, Lane, Stage, StreamError
from benchmarks.progress import rounds, tell
from benchmarks.workload import Workload, prepare

PERCENTILES = {"p50": 50.0, "p95": 95.0, "p99": 99.0, "max": 100.0}

_WARM_UP_SECONDS = 2.0
_BROKER_WARM_UP_SECONDS, _BROKER_WARM_UP_RATE = 10.0, 3_000
_LAST_ANSWER_SECONDS = 10.0
_JOIN_SECONDS = 60.0
_NUMBER = slice(31, 38)  # where the digits of the transaction's id stand in a body


@dataclass(frozen=True)
class Plan:
    """Rounds, those that warm the broker up first, seconds that are measured, and the rates of each contestant."""

    rounds: int
    warm_up_rounds: int
    seconds: float
    rates: dict[str, tuple[int, ...]]


_FULL = Plan(
    rounds=3,
    warm_up_rounds=3,
    seconds=8.0,
    rates={
        EXACTLY: (100, 1_000, 5_000),
        AT_LEAST: (100, 1_000, 5_000),
        COPY: (100, 1_000, 5_000),
        FASTSTREAM: (100, 1_000),  # 5,000 is more than it carries
    },
)
_QUICK = Plan(rounds=3, warm_up_rounds=1, seconds=3.0, rates={EXACTLY: (1_000,), COPY: (1_000,)})


class _Answer(msgspec.Struct):
    transaction_id: str


def run(work: Path, *, is_quick: bool) -> Result:
    plan = _QUICK if is_quick else _FULL
    tell("latency: preparing the model and the transactions")
    workload = prepare(work)
    recorder = Recorder()
    contestants = [
        kafka.ours(workload, EXACTLY, "exactly-once"),
        kafka.ours(workload, AT_LEAST, "at-least-once"),
        kafka.passthrough(COPY, "batches"),
        *kafka.peers(workload, [("faststream", True)] if FASTSTREAM in plan.rates else [], recorder.notes),
    ]
    contestants = [each for each in contestants if each.name in plan.rates]
    with BenchmarkBroker() as broker, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_measure(Stage(broker), workload, contestants, plan, recorder))
    return kafka.result("latency", workload, contestants, recorder, _ratios(recorder), is_quick=is_quick)


async def _measure(
    stage: Stage, workload: Workload, contestants: list[Contestant], plan: Plan, recorder: Recorder
) -> None:
    bodies = workload.bodies(10_000)
    await _warm_up(stage, contestants[0], bodies, plan.warm_up_rounds)
    for number in rounds(plan.rounds, "latency"):
        for contestant in contestants:
            lane = await stage.lane()
            try:
                with kafka.running(contestant, lane) as check:
                    async with _Loop(lane, bodies) as loop:
                        await loop.wait_until_it_answers(check)
                        for rate in plan.rates[contestant.name]:
                            latencies = await loop.latencies_ms(rate, plan.seconds, check)
                            _record(recorder, contestant.name, rate, latencies)
            except StreamError as error:
                recorder.notes.append(f"Round {number + 1}, not measured: {error}")


async def _warm_up(stage: Stage, contestant: Contestant, bodies: Sequence[bytes], n_rounds: int) -> None:
    """Let the broker make its machine code, which it does while it runs: one in production has run for long."""
    tell("latency: warming the broker up")
    for _ in range(n_rounds):
        lane = await stage.lane()
        with kafka.running(contestant, lane) as check:
            async with _Loop(lane, bodies) as loop:
                await loop.wait_until_it_answers(check)
                await loop.latencies_ms(_BROKER_WARM_UP_RATE, _BROKER_WARM_UP_SECONDS, check)


def _record(recorder: Recorder, contestant: str, rate: int, latencies_ms: Sequence[float]) -> None:
    values = dict(zip(PERCENTILES, np.percentile(latencies_ms, list(PERCENTILES.values())), strict=True))
    tell(f"    {contestant}, {rate:,}/s: " + ", ".join(f"{name} {value:.1f} ms" for name, value in values.items()))
    for name, value in values.items():
        recorder.add(f"{name} at {rate:,} transactions/s", contestant, float(value), "ms")


class _Loop:
    """Sends transactions when they are due and notes when their answers can be read; a context manager."""

    def __init__(self, lane: Lane, bodies: Sequence[bytes]) -> None:
        self._lane = lane
        self._bodies = bodies
        self._producer = AIOKafkaProducer(bootstrap_servers=lane.bootstrap, acks="all")
        self._consumer = AIOKafkaConsumer(
            lane.target,
            bootstrap_servers=lane.bootstrap,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
        )
        self._n_sent = 0
        self._read: list[tuple[float, bytes]] = []
        self._reader: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._producer.start()
        await self._consumer.start()
        self._reader = asyncio.create_task(self._read_on())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._reader is not None:
            self._reader.cancel()
        await self._consumer.stop()
        await self._producer.stop()

    async def wait_until_it_answers(self, check: Callable[[], None]) -> None:
        deadline = time.monotonic() + _JOIN_SECONDS
        while not self._read:
            check()
            if time.monotonic() > deadline:
                raise StreamError(f"No answer came in {_JOIN_SECONDS:g} s.")
            await self._send()
            await asyncio.sleep(0.2)

    async def latencies_ms(self, rate: int, seconds: float, check: Callable[[], None]) -> list[float]:
        """Milliseconds from due to read, of all transactions that were due after the warm-up."""
        n_warm, n_all = int(rate * _WARM_UP_SECONDS), int(rate * (seconds + _WARM_UP_SECONDS))
        first, self._read = self._n_sent, []
        gc.collect()
        gc.disable()  # a collection in here would be measured as theirs
        start = time.perf_counter()
        due = [start + number / rate for number in range(n_all)]
        for moment in due:
            wait = moment - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            await self._send()
        await self._wait_for(n_all, check)
        gc.enable()
        read_at = {_number(value) - first: moment for moment, value in self._read}
        missing = sum(number not in read_at for number in range(n_all))
        if missing:
            raise StreamError(f"{missing:,} of {n_all:,} transactions at {rate:,}/s had no answer in time.")
        return [(read_at[number] - due[number]) * 1e3 for number in range(n_warm, n_all)]

    async def _send(self) -> None:
        number = self._n_sent
        self._n_sent += 1
        body = self._bodies[number % len(self._bodies)]
        value = body[: _NUMBER.start] + b"%07d" % number + body[_NUMBER.stop :]
        key = b"card-%d" % (number % 9973)
        await self._producer.send(self._lane.source, value, key, partition=number % PARTITIONS)

    async def _wait_for(self, n_answers: int, check: Callable[[], None]) -> None:
        deadline = time.monotonic() + _LAST_ANSWER_SECONDS
        while len(self._read) < n_answers and time.monotonic() < deadline:
            check()
            await asyncio.sleep(0.1)

    async def _read_on(self) -> None:
        while True:
            polled = await self._consumer.getmany(timeout_ms=1_000)
            moment = time.perf_counter()
            for records in polled.values():
                self._read.extend((moment, record.value) for record in records)


def _number(value: bytes) -> int:
    return int(msgspec.json.decode(value, type=_Answer).transaction_id.rpartition("-")[2])


def _ratios(recorder: Recorder) -> list[Ratio]:
    name = "p99 at 1,000 transactions/s"
    if not recorder.has((name, EXACTLY)):
        return []
    return [
        Ratio(
            name="ms from produce to a read prediction, p99 at 1,000 transactions/s",
            spread=recorder.spread((name, EXACTLY)),
            must=30,
            aim=15,
            better="less",
            compared=f"{EXACTLY}, open loop",
        )
    ]
