"""A service that is asked more than it may answer at once, by real clients; and the rule by which it refuses."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter
from starlette.types import Message, Receive, Scope, Send

from app.api import overload
from app.api.overload import ConcurrencyLimit
from tests.artifacts import LEGITIMATE
from tests.integration.process import Process

_BATCH = {"transactions": [LEGITIMATE] * 1_000}


@pytest.fixture(scope="module")
def address(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    environment = {"APP_ARTIFACT": str(artifact), "APP_PORT": "0", "APP_MAX_CONCURRENCY": "2"}
    with Process("app", "serve", environment=environment, directory=tmp_path_factory.mktemp("service")) as service:
        yield asyncio.run(service.wait_for_log('"address": "([^"]+)"'))[1]


async def _crowd(address: str) -> list[httpx.Response]:
    limits = httpx.Limits(max_connections=40)
    async with httpx.AsyncClient(base_url=address, limits=limits, timeout=60) as client:
        return await asyncio.gather(*[client.post("/score/batch", json=_BATCH) for _ in range(40)])


async def test_who_comes_when_too_many_are_in_hand_is_told_when_to_come_again(address: str) -> None:
    answers = await _crowd(address)

    refused = [answer for answer in answers if answer.status_code == 503]
    assert len(refused) + sum(answer.status_code == 200 for answer in answers) == 40
    assert refused
    assert {answer.headers["retry-after"] for answer in refused} == {"1"}
    assert {answer.headers["content-type"] for answer in refused} == {"application/problem+json"}
    assert refused[0].json() == {
        "type": "about:blank",
        "title": "Service Unavailable",
        "status": 503,
        "detail": "As many requests as may be are being answered; try again after the time in Retry-After.",
        "instance": "/score/batch",
    }


async def test_what_is_accepted_is_answered_whole(address: str) -> None:
    accepted = [answer for answer in await _crowd(address) if answer.status_code == 200]

    assert {len(answer.json()["predictions"]) for answer in accepted} == {1_000}


async def test_after_the_crowd_everybody_is_answered_again(address: str) -> None:
    await _crowd(address)

    async with httpx.AsyncClient(base_url=address) as client:
        statuses = [(await client.post("/score", json=LEGITIMATE)).status_code for _ in range(10)]

    assert statuses == [200] * 10


async def test_health_and_metrics_are_answered_in_a_crowd(address: str) -> None:
    async def ask() -> set[int]:
        async with httpx.AsyncClient(base_url=address, timeout=60) as client:
            return {(await client.get(path)).status_code for path in ("/health/live", "/health/ready", "/metrics") * 3}

    statuses, _ = await asyncio.gather(ask(), _crowd(address))

    assert statuses == {200}


class _Crowd:
    """Requests that the limit has let in and that stay in hand until they are let go."""

    def __init__(self, max_concurrency: int) -> None:
        self.refused = Counter("refused", "Refused", registry=CollectorRegistry())
        self.statuses: list[int] = []
        self._limit = ConcurrencyLimit(self._answer, max_concurrency, self.refused)
        self._go = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def come(self, count: int) -> None:
        self._tasks += [asyncio.create_task(self._ask()) for _ in range(count)]
        await asyncio.sleep(0.01)

    def answer_at_once(self) -> None:
        self._go.set()

    async def leave(self) -> None:
        self._go.set()
        await asyncio.gather(*self._tasks)
        self._go.clear()
        self._tasks.clear()

    async def _ask(self) -> None:
        scope = {"type": "http", "method": "POST", "path": '/a"b'}
        await self._limit(scope, self._receive, self._send)

    async def _answer(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await self._go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def _receive(self) -> Message:
        raise AssertionError("A request was read before it was let in.")

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.statuses.append(message["status"])
        else:
            assert json.loads(message["body"])["instance"] == '/a"b'


async def test_a_burst_that_fits_is_let_in_whole() -> None:
    crowd = _Crowd(16)
    await crowd.come(16)
    await crowd.leave()

    assert crowd.statuses == [200] * 16


async def _rush_then_burst(pause_seconds: float) -> list[int]:
    """The statuses of 17 that come for 16 places, and after a pause of 16 more."""
    crowd = _Crowd(16)
    await crowd.come(17)
    await crowd.leave()
    await asyncio.sleep(pause_seconds)
    await crowd.come(16)
    await crowd.leave()
    return crowd.statuses


async def test_after_a_refusal_one_place_in_eight_is_given_away() -> None:
    statuses = await _rush_then_burst(pause_seconds=0)

    assert (statuses.count(200), statuses.count(503)) == (16 + 2, 1 + 14)


async def test_when_the_rush_is_over_all_places_are_given_away_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overload, "_RUSH_SECONDS", 0.02)

    assert (await _rush_then_burst(pause_seconds=0.5)).count(200) == 32


async def test_a_rush_goes_on_while_the_process_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overload, "_RUSH_SECONDS", 0.02)
    monkeypatch.setattr(overload, "_BUSY_SHARE", 0.0)  # the test's process is as busy as the machine lets it be

    assert (await _rush_then_burst(pause_seconds=0.03)).count(200) == 16 + 2


async def test_those_who_come_together_are_counted_together_however_quick_the_answers() -> None:
    crowd = _Crowd(4)
    crowd.answer_at_once()
    await crowd.come(6)

    assert (crowd.statuses.count(200), crowd.statuses.count(503)) == (4, 2)


async def test_each_refusal_is_counted() -> None:
    crowd = _Crowd(1)
    await crowd.come(4)
    await crowd.leave()

    assert [metric.samples[0].value for metric in crowd.refused.collect()] == [3]
