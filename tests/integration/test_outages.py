"""The bridge when its broker, or the process that holds its model, is away."""

import asyncio
import signal
from pathlib import Path

import httpx
import pytest

from bridge.embedded import free_port
from tests.integration.broker import LocalBroker
from tests.integration.conftest import StartProcess
from tests.integration.deployment import READY, Deployment, ids, ready_address, transaction
from tests.integration.process import model_of
from tests.integration.topics import Topics


async def test_an_absent_broker_is_waited_for_and_then_named(artifact: Path, start_process: StartProcess) -> None:
    address = f"127.0.0.1:{free_port()}"
    process = start_process(
        "bridge",
        "run",
        BRIDGE_ARTIFACT=str(artifact),
        BRIDGE_BOOTSTRAP_SERVERS=address,
        BRIDGE_BROKER_TIMEOUT_SECONDS="2",
    )

    assert await process.wait_for_end() == 1
    assert "no broker answers yet" in process.log
    assert process.log.splitlines()[-1].startswith(f"No Kafka broker answered at {address} within 2 s")


@pytest.mark.real_kafka(reason="the embedded broker keeps its records in memory")
async def test_a_broker_that_goes_and_comes_back_costs_nothing(
    own_broker: LocalBroker, own_topics: Topics, artifact: Path, start_process: StartProcess
) -> None:
    deployment = Deployment(own_topics, artifact)
    await deployment.create_topics()
    await own_topics.produce(deployment.transactions, *[transaction() for _ in range(3_000)])
    process = start_process("bridge", "run", **deployment.environment, BRIDGE_MAX_POLL_RECORDS="50")
    await deployment.wait_for_answers(100)

    own_broker.kill()
    await asyncio.sleep(3)
    own_broker.start()
    await own_topics.produce(deployment.transactions, *[transaction() for _ in range(500)])

    expected = set(ids(await own_topics.read(deployment.transactions)))
    answered: set[str] = set()
    while answered != expected:  # pytest's timeout ends a loss
        answered = set(ids(await own_topics.read(deployment.predictions)))
    assert len(expected) == 3_500
    assert process.is_running


@pytest.mark.real_kafka(reason="the embedded broker keeps its records in memory")
async def test_a_broker_that_stays_away_ends_it_with_nothing_committed(
    own_broker: LocalBroker, own_topics: Topics, artifact: Path, start_process: StartProcess
) -> None:
    deployment = Deployment(own_topics, artifact)
    await deployment.create_topics()
    process = start_process("bridge", "run", **deployment.environment, BRIDGE_BROKER_TIMEOUT_SECONDS="5")
    await process.wait_for_log(READY)
    await own_topics.produce(deployment.transactions, *[transaction() for _ in range(5_000)])

    own_broker.pause()
    exit_code = await process.wait_for_end()
    own_broker.kill()
    own_broker.start()

    assert exit_code == 1
    assert "stay uncommitted" in process.log.splitlines()[-1]
    answered = await own_topics.read(deployment.predictions)
    committed = await own_topics.committed(deployment.group, deployment.transactions)
    assert sum(offset or 0 for offset in committed.values()) <= len(answered)


async def test_readiness_turns_red_while_the_broker_does_not_confirm(
    own_broker: LocalBroker, own_topics: Topics, artifact: Path, start_process: StartProcess
) -> None:
    deployment = Deployment(own_topics, artifact, is_embedded=not own_broker.supports_transactions)
    await deployment.create_topics()
    process = start_process("bridge", "run", **deployment.environment)
    address = await ready_address(process)
    await own_topics.produce(deployment.transactions, *[transaction() for _ in range(20_000)])
    await deployment.wait_for_answers(1)

    async with httpx.AsyncClient() as client:
        assert (await client.get(f"{address}/health/ready")).status_code == 200
        own_broker.pause()
        response = await client.get(f"{address}/health/ready")
        while response.status_code == 200:  # pytest's timeout ends a readiness that stays green
            await asyncio.sleep(0.5)
            response = await client.get(f"{address}/health/ready")
        own_broker.resume()

    assert response.json()["reason"] == "waits for the broker to confirm a poll"


async def test_a_bridge_whose_model_is_killed_ends_and_loses_nothing(
    topics: Topics, artifact: Path, start_process: StartProcess
) -> None:
    deployment = Deployment(topics, artifact)
    await deployment.create_topics()
    process = start_process("bridge", "run", **deployment.environment, BRIDGE_MAX_POLL_RECORDS="50")
    await process.wait_for_log(READY)
    await topics.produce(deployment.transactions, *[transaction() for _ in range(2_000)])
    await deployment.wait_for_answers(100)

    model_of(process).kill()

    assert await process.wait_for_end() == 1
    assert process.log.splitlines()[-1].startswith("The process that holds the model ended with code -9")
    start_process("bridge", "run", **deployment.environment)
    await deployment.wait_for_answers(2_000)


async def test_a_bridge_that_is_killed_leaves_no_model_behind(
    topics: Topics, artifact: Path, start_process: StartProcess
) -> None:
    deployment = Deployment(topics, artifact)
    await deployment.create_topics()
    process = start_process("bridge", "run", **deployment.environment)
    await process.wait_for_log(READY)
    model = model_of(process)

    process.send(signal.SIGKILL)

    assert model.wait(10) is None  # it is not this process's child, so that its code is not known
    assert not model.is_running()
