"""How answers are delivered, apart from exactly once: at least once, a deaf consumer, the lag."""

import asyncio
import json
import random
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.integration.broker import Broker
from tests.integration.conftest import StartProcess
from tests.integration.deployment import READY, Deployment, ids, ready_address, transaction, values
from tests.integration.relay import RelayedBroker
from tests.integration.topics import Topics

needs_kafka = pytest.mark.real_kafka(reason="the embedded broker advertises one address only")


@pytest.fixture(scope="module")
def relayed_broker() -> Iterator[RelayedBroker]:
    with RelayedBroker() as broker:
        yield broker


async def _deploy_behind_relay(broker: RelayedBroker, artifact: Path) -> Deployment:
    deployment = Deployment(Topics(broker.connection), artifact)
    await deployment.create_topics()
    deployment.environment |= {
        "BRIDGE_BOOTSTRAP_SERVERS": broker.relay.address,
        "BRIDGE_DEAF_SECONDS": "2",
    }
    return deployment


@needs_kafka
async def test_a_consumer_that_has_gone_deaf_is_made_anew(
    relayed_broker: RelayedBroker, artifact: Path, start_process: StartProcess
) -> None:
    deployment = await _deploy_behind_relay(relayed_broker, artifact)
    async with relayed_broker.relay.running():
        process = start_process("bridge", "run", **deployment.environment)
        await process.wait_for_log(READY)
        await deployment.topics.produce(deployment.transactions, transaction())
        await deployment.wait_for_answers(1)
        relayed_broker.relay.swallow(new_connections=False)
        await asyncio.sleep(1)  # the request that is under way is answered yet
        await deployment.topics.produce(deployment.transactions, *[transaction() for _ in range(99)])

        await deployment.wait_for_answers(100)

    assert "the consumer is made anew" in process.log


@needs_kafka
async def test_a_consumer_that_stays_deaf_turns_readiness_red_and_ends_the_process(
    relayed_broker: RelayedBroker, artifact: Path, start_process: StartProcess
) -> None:
    deployment = await _deploy_behind_relay(relayed_broker, artifact)
    reasons = []
    async with relayed_broker.relay.running():
        process = start_process("bridge", "run", **deployment.environment)
        address = await ready_address(process)
        relayed_broker.relay.swallow(new_connections=True)
        await deployment.topics.produce(deployment.transactions, *[transaction() for _ in range(100)])
        async with httpx.AsyncClient() as client:
            while process.is_running:
                try:
                    reasons.append((await client.get(f"{address}/health/ready")).json()["reason"])
                except httpx.HTTPError:
                    break
                await asyncio.sleep(0.1)
        exit_code = await process.wait_for_end()

    assert exit_code == 1
    assert "transactions wait and none arrives" in reasons
    assert process.log.splitlines()[-1].startswith("Transactions wait and none arrives, not even over new connections")


async def test_the_lag_of_each_partition_is_a_metric(
    broker: Broker, topics: Topics, artifact: Path, start_process: StartProcess
) -> None:
    deployment = Deployment(topics, artifact, is_embedded=not broker.supports_transactions)
    await deployment.create_topics()
    process = start_process("bridge", "run", **deployment.environment)
    address = (await process.wait_for_log('"http": "([^"]+)"'))[1]

    async with httpx.AsyncClient() as client:
        shown: list[str] = []
        while len(shown) < 3:  # pytest's timeout ends a lag that does not show
            metrics = (await client.get(f"{address}/metrics")).text
            shown = [line for line in metrics.splitlines() if line.startswith("bridge_lag_records{")]
            await asyncio.sleep(0.1)

    assert [line.rpartition(" ")[2] for line in shown] == ["0.0"] * 3
    assert {line.partition('partition="')[2][0] for line in shown} == {"0", "1", "2"}


async def test_at_least_once_loses_nothing_when_killed_and_its_doubles_have_the_same_source(
    broker: Broker, topics: Topics, artifact: Path, start_process: StartProcess
) -> None:
    deployment = Deployment(topics, artifact, is_embedded=not broker.supports_transactions)
    await deployment.create_topics()
    environment = deployment.environment | {
        "BRIDGE_PROCESSING_GUARANTEE": "at-least-once",
        "BRIDGE_GROUP_INSTANCE_ID": "one",
    }
    await topics.produce(deployment.transactions, *[transaction() for _ in range(5_000)])
    victim = start_process("bridge", "run", **environment, BRIDGE_MAX_POLL_RECORDS="20")
    await victim.wait_for_log(READY)
    await asyncio.sleep(random.uniform(0.1, 0.5))  # noqa: S311 # when it dies is no secret
    victim.kill()

    start_process("bridge", "run", **environment)
    expected = set(ids(await topics.read(deployment.transactions)))
    predictions = await deployment.wait_for_answers(5_000)
    while set(ids(predictions)) != expected:  # pytest's timeout ends a loss
        predictions = await topics.read(deployment.predictions)

    by_source = {json.dumps(value["source"]): value["transaction_id"] for value in values(predictions)}
    assert len(by_source) == 5_000
