"""A service that is asked more than it may answer at once, by real clients."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

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
