"""`python -m benchmarks.overload`: what the service does with twice as many requests as it can answer.

First its capacity, asked by connections that never wait for anything but their answer. Then requests that come when
they are due, whether others have been answered or not, at half, nine tenths and twice the capacity. A latency counts
from the moment that a request was due.
"""

import argparse
import asyncio
import csv
import json
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import cast

import httpx
import numpy as np
import psutil
import uvloop

from app.scoring.manifest import read_manifest
from app.settings import Settings
from benchmarks.machine import ROOT, clean_environment
from bridge.embedded import HOST, end_tied, free_port, start_tied

_ARTIFACT = ROOT / "model_artifacts" / "default"
_CONNECTIONS = 32
_MOST_CONNECTIONS = 1_000
_START_SECONDS = 60.0
_OK, _REFUSED = 200, 503


@dataclass
class _Answers:
    """What came back: milliseconds by status, and how many found no connection."""

    milliseconds: dict[int, list[float]] = field(default_factory=lambda: {_OK: [], _REFUSED: []})
    statuses: Counter[int] = field(default_factory=Counter)
    n_without_retry_after: int = 0
    n_not_sent: int = 0
    seconds: float = 0.0

    @property
    def n(self) -> int:
        return self.statuses.total()

    def percentile(self, status: int, percent: float) -> float:
        return float(np.percentile(self.milliseconds[status] or [np.nan], percent))


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
        answers = await self._during(seconds, asyncio.create_task(asyncio.sleep(seconds)))
        self._never_waits = False
        return answers

    async def ask_when_due(self, rate_per_second: float, seconds: float) -> _Answers:
        """At this rate, whatever becomes of it."""
        await self._connect(_MOST_CONNECTIONS)
        return await self._during(seconds, asyncio.create_task(self._send_when_due(rate_per_second, seconds)))

    async def _during(self, seconds: float, sending: "asyncio.Task[None]") -> _Answers:
        answers = self._answers = _Answers(seconds=seconds)
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
        self._answers.milliseconds.setdefault(status, []).append(1e3 * (now - due_at))
        self._answers.n_without_retry_after += status == _REFUSED and not has_retry_after
        if self._never_waits:
            connection.send(next(self._requests), now)
        else:
            self._idle.append(connection)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overload", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="how long each part lasts (20)")
    parser.add_argument("--max-concurrency", type=int, default=Settings.model_fields["max_concurrency"].default)
    parser.add_argument("--capacity", type=float, help="requests/s that it can answer, instead of measuring them")
    parsed = parser.parse_args()
    with _serving(parsed.max_concurrency) as (process, port):
        uvloop.run(_measure(process, port, parsed.seconds, parsed.capacity))
    return 0


async def _measure(process: psutil.Process, port: int, seconds: float, given_capacity: float | None) -> None:
    client = _Client(port, _requests())
    await client.ask_without_pause(seconds / 4)  # until everything is warm
    capacity = given_capacity or (await client.ask_without_pause(seconds)).statuses[_OK] / seconds
    print(f"capacity: {capacity:,.0f} requests/s on {_CONNECTIONS} connections")
    for name, factor in (("half", 0.5), ("nine tenths of", 0.9), ("twice", 2.0), ("half again", 0.5)):
        before = process.memory_info().rss
        answers = await client.ask_when_due(factor * capacity, seconds)
        after = process.memory_info().rss
        print(_line(f"{name} the capacity" if factor != 0.5 or name == "half" else name, answers, before, after))


def _line(name: str, answers: _Answers, before: int, after: int) -> str:
    others = {status: count for status, count in answers.statuses.items() if status not in (_OK, _REFUSED)}
    return (
        f"{name}: {(answers.n + answers.n_not_sent) / answers.seconds:,.0f} requests/s asked, "
        f"{answers.statuses[_OK] / answers.seconds:,.0f} answered: p50 {answers.percentile(_OK, 50):.1f} ms, "
        f"p99 {answers.percentile(_OK, 99):.1f} ms; {answers.statuses[_REFUSED] / answers.seconds:,.0f} refused: "
        f"p99 {answers.percentile(_REFUSED, 99):.1f} ms, {answers.n_without_retry_after} without Retry-After; "
        f"{answers.n_not_sent} not sent; other answers: {others or 'none'}; "
        f"memory {before / 1e6:.0f} MB, then {after / 1e6:.0f} MB"
    )


def _requests() -> list[bytes]:
    features = read_manifest(_ARTIFACT).feature_names
    with (ROOT / "data" / "sample_transactions.csv").open(encoding="utf-8", newline="") as file:
        bodies = [json.dumps({name: float(row[name]) for name in features}).encode() for row in csv.DictReader(file)]
    return [
        b"POST /score HTTP/1.1\r\nhost: service\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
        % (len(body), body)
        for body in bodies
    ]


@contextmanager
def _serving(max_concurrency: int) -> Iterator[tuple[psutil.Process, int]]:
    port = free_port()
    settings = {"APP_PORT": str(port), "APP_ARTIFACT": str(_ARTIFACT), "APP_MAX_CONCURRENCY": str(max_concurrency)}
    with tempfile.TemporaryDirectory(prefix="neighborwatch-overload-") as work, (Path(work) / "log").open("wb") as log:
        command = [sys.executable, "-m", "app", "serve"]
        process = start_tied(command, log.fileno(), {**clean_environment(), **settings}, directory=ROOT)
        try:
            _wait_until_ready(port)
            yield psutil.Process(process.pid), port
        finally:
            end_tied(process, 5)


def _wait_until_ready(port: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"http://{HOST}:{port}/health/ready").is_success:
                return
        except httpx.HTTPError:
            time.sleep(0.1)
    raise TimeoutError("The service did not become ready.")


if __name__ == "__main__":
    sys.exit(main())
