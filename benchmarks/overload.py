"""What the service does with more requests than it can answer.

First its capacity, asked by connections that never wait for anything but their answer. Then requests that come when
they are due, whether others have been answered or not: half of the capacity, nine tenths, twice, four times, and half
again. A latency counts from the moment that a request was due.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import cast

import numpy as np
import psutil
import uvloop

from benchmarks import rest
from benchmarks.figures import Ratio, Recorder, Result
from benchmarks.machine import commit, machine, now
from benchmarks.progress import rounds, tell
from benchmarks.workload import prepare
from bridge.embedded import HOST

CAPACITY = "the capacity"
HALF, TWICE = "half of it", "twice as many"
LOADS = {HALF: 0.5, "nine tenths of it": 0.9, TWICE: 2.0, "four times as many": 4.0, "then half of it again": 0.5}
ANSWERED, REFUSED, P50, P99, MEMORY = "answered", "refused", "p50 of answers", "p99 of answers", "memory"

_CONNECTIONS = 32
_MOST_CONNECTIONS = 1_000
_OK, _REFUSED = 200, 503


class OverloadError(Exception):
    """The service gave an answer that it must not give."""


@dataclass(frozen=True)
class Plan:
    """Rounds, and how long each load lasts."""

    rounds: int
    seconds: float


_FULL = Plan(rounds=3, seconds=20)
_QUICK = Plan(rounds=1, seconds=6)  # of less, the moment in which a rush begins is more than one in a hundred


@dataclass
class _Answers:
    """What came back: milliseconds of the answers, how many had which status, and how many found no connection."""

    milliseconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    n_without_retry_after: int = 0
    n_not_sent: int = 0


class _Connection(asyncio.Protocol):
    """One request at a time; tells when its answer is whole."""

    def __init__(self, client: "_Client") -> None:
        self._client = client
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._due_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own

    def send(self, request: bytes, due_at: float) -> None:
        self._due_at = due_at
        self._received = b""
        assert self._transport is not None  # noqa: S101 - create_connection has returned
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator:
            return
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        if len(body) >= length:
            self._client.answered(self, int(head[9:12]), self._due_at, has_retry_after=b"retry-after" in head.lower())

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class _Client:
    """Asks the service, in one of two ways."""

    def __init__(self, port: int, requests: Sequence[bytes]) -> None:
        self._port = port
        self._requests = cycle(requests)
        self._idle: deque[_Connection] = deque()
        self._all: list[_Connection] = []
        self._answers = _Answers()
        self._never_waits = False

    async def ask_without_pause(self, seconds: float) -> _Answers:
        """As fast as answers come."""
        self._never_waits = True
        await self._connect(_CONNECTIONS)
        answers = await self._during(asyncio.create_task(asyncio.sleep(seconds)))
        self._never_waits = False
        return answers

    async def ask_when_due(self, rate_per_second: float, seconds: float) -> _Answers:
        """At this rate, whatever becomes of it."""
        await self._connect(_MOST_CONNECTIONS)
        return await self._during(asyncio.create_task(self._send_when_due(rate_per_second, seconds)))

    async def _during(self, sending: "asyncio.Task[None]") -> _Answers:
        answers = self._answers = _Answers()
        if self._never_waits:
            while self._idle:
                self._idle.popleft().send(next(self._requests), time.perf_counter())
        await sending
        self._never_waits = False
        await asyncio.sleep(1)  # for what is on its way
        for connection in self._all:
            connection.close()
        self._all.clear()
        self._idle.clear()
        return answers

    async def _send_when_due(self, rate_per_second: float, seconds: float) -> None:
        started = time.perf_counter()
        n_sent = 0
        while (now := time.perf_counter()) < started + seconds:
            while (due_at := started + n_sent / rate_per_second) <= now:
                n_sent += 1
                if self._idle:
                    self._idle.popleft().send(next(self._requests), due_at)
                else:
                    self._answers.n_not_sent += 1
            await asyncio.sleep(0.001)

    async def _connect(self, count: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(count):
            _, connection = await loop.create_connection(lambda: _Connection(self), HOST, self._port)
            self._all.append(connection)
            self._idle.append(connection)

    def answered(self, connection: _Connection, status: int, due_at: float, *, has_retry_after: bool) -> None:
        now = time.perf_counter()
        self._answers.statuses[status] += 1
        if status == _OK:
            self._answers.milliseconds.append(1e3 * (now - due_at))
        self._answers.n_without_retry_after += status == _REFUSED and not has_retry_after
        if self._never_waits:
            connection.send(next(self._requests), now)
        else:
            self._idle.append(connection)


def run(work: Path, *, is_quick: bool) -> Result:
    plan = _QUICK if is_quick else _FULL
    tell("overload: preparing the model and the transactions")
    workload = prepare(work)
    service = rest.ours(workload, work)
    requests = [
        b"POST /score HTTP/1.1\r\nhost: service\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
        % (len(body), body)
        for body in service.bodies.read_bytes().splitlines()
    ]
    recorder = Recorder()
    for _ in rounds(plan.rounds, "overload"):
        with rest.serving(service) as process:
            client = _Client(service.port, requests)
            uvloop.run(_measure(client, psutil.Process(process.pid), plan.seconds, recorder))
    return Result(
        benchmark="overload",
        made_at=now(),
        commit=commit(),
        is_quick=is_quick,
        machine=machine() | {"connections": _MOST_CONNECTIONS},
        data_set=workload.data_set,
        contestants={service.name: dict(service.versions)},
        figures=recorder.figures(),
        ratios=[
            _ratio(recorder, "`POST /score`, p99 of what is answered under overload", P99, must=2.0, aim=1.5),
            _ratio(recorder, "`POST /score`, memory under overload", MEMORY, must=1.05, aim=1.02),
        ],
        notes=recorder.notes,
    )


def _ratio(recorder: Recorder, name: str, figure: str, *, must: float, aim: float) -> Ratio:
    return Ratio(
        name=name,
        spread=recorder.ratio((figure, TWICE), (figure, HALF)),
        must=must,
        aim=aim,
        better="less",
        compared="twice the capacity / half of it",
    )


async def _measure(client: "_Client", process: psutil.Process, seconds: float, recorder: Recorder) -> None:
    await client.ask_without_pause(seconds / 4)  # until everything is warm
    capacity = (await client.ask_without_pause(seconds)).statuses[_OK] / seconds
    tell(f"    {CAPACITY}: {capacity:,.0f} {rest.UNIT}")
    recorder.add(ANSWERED, CAPACITY, capacity, rest.UNIT)
    for load, factor in LOADS.items():
        answers = await client.ask_when_due(factor * capacity, seconds)
        _verify(answers)
        answered, refused = (answers.statuses[status] / seconds for status in (_OK, _REFUSED))
        p50, p99 = (float(np.percentile(answers.milliseconds, percent)) for percent in (50, 99))
        tell(f"    {load}: {answered:,.0f} answered, p50 {p50:.1f} ms, p99 {p99:.1f} ms; {refused:,.0f} refused")
        recorder.add(ANSWERED, load, answered, rest.UNIT)
        recorder.add(REFUSED, load, refused, rest.UNIT)
        recorder.add(P50, load, p50, "ms")
        recorder.add(P99, load, p99, "ms")
        recorder.add(MEMORY, load, process.memory_info().rss / 1e6, "MB")
        if answers.n_not_sent:
            recorder.notes.append(f"{load}: {answers.n_not_sent} requests found no connection and were not sent.")


def _verify(answers: _Answers) -> None:
    others = set(answers.statuses) - {_OK, _REFUSED}
    if others:
        raise OverloadError(f"The service answered with {others}.")
    if answers.n_without_retry_after:
        raise OverloadError(f"{answers.n_without_retry_after} refusals say nothing of when to come again.")
