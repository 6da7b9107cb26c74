"""The bridge when the broker's disk is full. Apache Kafka then gives its only log directory up, and ends."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.integration.conftest import StartProcess
from tests.integration.deployment import Deployment, transaction
from tests.integration.small_disk import SmallDiskBroker, can_be_mounted
from tests.integration.topics import Topics

_N_TRANSACTIONS = 8_000
_REASONS = ("waits for the broker to confirm a poll", "the broker does not answer", "lost its producer")


@pytest.fixture
def small_disk_broker() -> Iterator[SmallDiskBroker]:
    with SmallDiskBroker() as running:
        yield running


async def _until_all_is_committed(deployment: Deployment) -> None:
    n_committed = 0
    while n_committed < _N_TRANSACTIONS:  # pytest's timeout ends a loss
        await asyncio.sleep(0.2)
        committed = await deployment.topics.committed(deployment.group, deployment.transactions)
        n_committed = sum(offset or 0 for offset in committed.values())


@pytest.mark.real_kafka(reason="the embedded broker keeps its records in memory")
@pytest.mark.skipif(not can_be_mounted(), reason="a small disk to fill is mounted by root only")
async def test_a_full_disk_turns_it_red_and_costs_nothing_once_there_is_space(
    small_disk_broker: SmallDiskBroker, artifact: Path, start_process: StartProcess
) -> None:
    topics = Topics(small_disk_broker.connection)
    deployment = Deployment(topics, artifact)
    await deployment.create_topics()
    await topics.produce(deployment.transactions, *[transaction() for _ in range(_N_TRANSACTIONS)])
    # Small polls, so that the disk fills up in the middle of the stream.
    process = start_process("bridge", "run", **deployment.environment, BRIDGE_MAX_POLL_RECORDS="50")
    address = (await process.wait_for_log('"http": "([^"]+)"'))[1]
    await deployment.wait_for_answers(100)

    await asyncio.to_thread(small_disk_broker.fill)
    async with httpx.AsyncClient() as client:
        while (red := (await client.get(f"{address}/health/ready"))).is_success:  # noqa: ASYNC110 # pytest ends a vain wait
            await asyncio.sleep(0.05)
        await asyncio.to_thread(small_disk_broker.wait_for_end)
        small_disk_broker.empty()
        await asyncio.to_thread(small_disk_broker.start)
        while not (await client.get(f"{address}/health/ready")).is_success:  # noqa: ASYNC110 # the same
            await asyncio.sleep(0.05)
    await _until_all_is_committed(deployment)
    audit = start_process("bridge", "prove", "--json", "-", **deployment.environment)
    assert await audit.wait_for_end() == 0

    assert any(reason in red.json()["reason"] for reason in _REASONS), red.json()
    verdict = json.loads(audit.output)
    facts = ("transactions", "lost", "doubled", "out_of_order", "waiting")
    assert [verdict[fact] for fact in facts] == [_N_TRANSACTIONS, 0, 0, 0, 0]
    assert process.is_running
