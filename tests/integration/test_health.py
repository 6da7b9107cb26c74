"""Readiness turns red, with its reason, in each way in which a bridge can stop answering transactions.

A consumer that has gone deaf is in `test_delivery`, a broker that does not confirm in `test_outages`, a blocked event
loop in the unit tests of the HTTP port.
"""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaProducer

from bridge.embedded import free_port
from tests.integration.broker import Broker, LocalBroker
from tests.integration.conftest import StartProcess
from tests.integration.deployment import Deployment, ready_address, transaction
from tests.integration.topics import Topics


async def _readiness(address: str) -> dict[str, Any]:
    """What it answers; nothing while the port is not open yet."""
    async with httpx.AsyncClient() as client:
        try:
            answer: dict[str, Any] = (await client.get(f"{address}/health/ready")).json()
        except httpx.ConnectError:
            return {"status": "", "reason": ""}
    return answer


async def _until_red(address: str, reason: str) -> str:
    while reason not in (answer := await _readiness(address))["reason"]:  # noqa: ASYNC110 # a vain wait is ended by pytest
        await asyncio.sleep(0.05)
    assert answer["status"] == "not ready"
    return str(answer["reason"])


async def test_a_bridge_without_a_broker_is_not_ready_from_the_start(
    artifact: Path, start_process: StartProcess
) -> None:
    port = free_port()
    start_process(
        "bridge",
        "run",
        BRIDGE_ARTIFACT=str(artifact),
        BRIDGE_BOOTSTRAP_SERVERS=f"127.0.0.1:{free_port()}",
        BRIDGE_HTTP_PORT=str(port),
    )

    await _until_red(f"http://127.0.0.1:{port}", "waits for the broker and its topics")


async def test_a_broker_that_is_gone_turns_it_red_although_nothing_waits(
    own_broker: LocalBroker, own_topics: Topics, artifact: Path, start_process: StartProcess
) -> None:
    deployment = Deployment(own_topics, artifact, is_embedded=not own_broker.supports_transactions)
    await deployment.create_topics()
    process = start_process("bridge", "run", **deployment.environment)
    address = await ready_address(process)

    own_broker.kill()

    await _until_red(address, "the broker does not answer")


@pytest.mark.real_kafka(reason="the embedded broker has no transactions")
async def test_a_fenced_producer_turns_it_red_until_another_has_begun(
    topics: Topics, artifact: Path, start_process: StartProcess
) -> None:
    deployment = Deployment(topics, artifact)
    await deployment.create_topics()
    process = start_process("bridge", "run", **deployment.environment)
    address = await ready_address(process)
    red = asyncio.create_task(_until_red(address, "lost its producer"))

    while not red.done():
        async with AIOKafkaProducer(
            **topics.connection, transactional_id=f"{deployment.group}-{deployment.transactions}-0"
        ):
            await topics.produce(deployment.transactions, *[transaction() for _ in range(20)])

    assert await red == f"{deployment.transactions}[0] lost its producer"
    while (await _readiness(address))["status"] != "ready":  # noqa: ASYNC110 # a vain wait is ended by pytest
        await asyncio.sleep(0.05)


async def test_a_lag_that_runs_away_turns_it_red(
    broker: Broker, topics: Topics, artifact: Path, start_process: StartProcess
) -> None:
    deployment = Deployment(topics, artifact, is_embedded=not broker.supports_transactions)
    await deployment.create_topics()
    slow = {"BRIDGE_MAX_POLL_RECORDS": "1", "BRIDGE_RUNAWAY_SECONDS": "1"}
    process = start_process("bridge", "run", **deployment.environment, **slow)
    address = await ready_address(process)
    red = asyncio.create_task(_until_red(address, "transactions wait, and for"))

    while not red.done():
        await topics.produce(deployment.transactions, *[transaction() for _ in range(2_000)])

    assert (await red).endswith("they have not become fewer")
