"""Exactly-once on Apache Kafka: killed, frozen and rebalanced bridges, and what a reader of committed records sees."""

import asyncio
import contextlib
import itertools
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from tests.integration.broker import EmbeddedBroker
from tests.integration.conftest import StartProcess
from tests.integration.deployment import READY, Deployment, ids, transaction
from tests.integration.process import Process
from tests.integration.topics import Message, Topics

needs_transactions = pytest.mark.real_kafka(reason="the embedded broker has no transactions")

_WAIT_SECONDS = 90.0
_SHORT_SESSION = {"BRIDGE_SESSION_TIMEOUT_MS": "3000"}


@pytest.fixture
async def deployment(topics: Topics, artifact: Path) -> Deployment:
    deployment = Deployment(topics, artifact)
    await deployment.create_topics()
    return deployment


async def _fill(deployment: Deployment, count: int) -> None:
    await deployment.topics.produce(deployment.transactions, *[_transaction(number) for number in range(count)])


@asynccontextmanager
async def _traffic(deployment: Deployment) -> AsyncIterator[None]:
    """About 1,000 transactions a second, while the context lasts."""

    async def send() -> None:
        async with AIOKafkaProducer(**deployment.topics.connection, acks="all") as producer:
            for number in itertools.count():
                message = _transaction(number)
                await producer.send(deployment.transactions, message.value, message.key)
                if number % 10 == 0:
                    await asyncio.sleep(0.01)

    sending = asyncio.create_task(send())
    yield
    sending.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await sending


def _transaction(number: int) -> Message:
    return transaction(key=f"card-{number % 97}".encode())


async def _wait_until_all_are_committed(deployment: Deployment) -> None:
    async def are_committed() -> bool:
        ends = await deployment.topics.end_offsets(deployment.transactions)
        committed = await deployment.topics.committed(deployment.group, deployment.transactions)
        return all((committed[partition] or 0) == end for partition, end in ends.items())

    await _until(are_committed)


async def _until(is_so: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(_WAIT_SECONDS):
        while not await is_so():  # noqa: ASYNC110 # it is the broker's state, which rings no bell
            await asyncio.sleep(0.1)


async def _answers_and_inputs(deployment: Deployment) -> tuple[list[str], list[str]]:
    """The ids of both, partition by partition in the order of their offsets."""
    topics = deployment.topics
    return ids(await topics.read(deployment.predictions)), ids(await topics.read(deployment.transactions))


@needs_transactions
async def test_kills_at_random_moments_lose_double_and_reorder_nothing(
    deployment: Deployment, start_process: StartProcess
) -> None:
    environment = deployment.environment | {"BRIDGE_GROUP_INSTANCE_ID": "one", "BRIDGE_MAX_POLL_RECORDS": "50"}
    async with _traffic(deployment):
        for _ in range(3):
            victim = start_process("bridge", "run", **environment)
            await victim.wait_for_log(READY)
            await asyncio.sleep(random.uniform(0.1, 0.5))  # noqa: S311 # when it dies is no secret
            victim.kill()

    start_process("bridge", "run", **deployment.environment, BRIDGE_GROUP_INSTANCE_ID="one")
    await _wait_until_all_are_committed(deployment)

    answers, inputs = await _answers_and_inputs(deployment)
    assert answers == inputs


@needs_transactions
async def test_a_frozen_bridge_that_wakes_with_an_open_transaction_doubles_nothing(
    deployment: Deployment, start_process: StartProcess
) -> None:
    await _freeze_replace_and_wake(deployment, start_process)

    answers, inputs = await _answers_and_inputs(deployment)
    assert answers == inputs


@needs_transactions
async def test_the_same_with_an_id_for_each_instance_doubles_answers(
    deployment: Deployment, start_process: StartProcess
) -> None:
    """Shows what the transactional.id of a partition is for, and that the test above is able to fail."""
    await _freeze_replace_and_wake(deployment, start_process, BRIDGE_TRANSACTIONAL_ID_SCOPE="instance")

    answers, inputs = await _answers_and_inputs(deployment)
    assert set(answers) == set(inputs)
    assert max(Counter(answers).values()) == 2


async def _freeze_replace_and_wake(deployment: Deployment, start_process: StartProcess, **settings: str) -> None:
    environment = deployment.environment | _SHORT_SESSION | settings | {"BRIDGE_TRANSACTION_TIMEOUT_SECONDS": "60"}
    await _fill(deployment, 5_000)
    first = start_process("bridge", "run", **(environment | {"BRIDGE_MAX_POLL_RECORDS": "10"}))
    await first.wait_for_log(READY)
    await _freeze_in_a_transaction(deployment, first)

    second = start_process("bridge", "run", **environment)
    await second.wait_for_log(rf"{deployment.transactions}\[0\].*{deployment.transactions}\[2\].*{READY}")
    await _wait_until_all_are_committed(deployment)
    first.send(signal.SIGCONT)
    await first.wait_for_log("partitions given back")
    await _wait_until_nothing_is_open(deployment)


async def _freeze_in_a_transaction(deployment: Deployment, process: Process) -> None:
    while True:
        process.send(signal.SIGSTOP)
        if await _has_open_transaction(deployment):
            return
        process.send(signal.SIGCONT)
        await asyncio.sleep(0.02)


async def _wait_until_nothing_is_open(deployment: Deployment) -> None:
    async def is_nothing_open() -> bool:
        return not await _has_open_transaction(deployment)

    await _until(is_nothing_open)


async def _has_open_transaction(deployment: Deployment) -> bool:
    """Whether predictions are written that a reader of committed ones does not see yet."""
    partitions = [TopicPartition(deployment.predictions, number) for number in range(3)]
    ends = []
    for isolation_level in ("read_committed", "read_uncommitted"):
        async with AIOKafkaConsumer(**deployment.topics.connection, isolation_level=isolation_level) as consumer:
            ends.append(await consumer.end_offsets(partitions))
    return bool(ends[0] != ends[1])


@needs_transactions
async def test_bridges_that_come_and_go_double_nothing(deployment: Deployment, start_process: StartProcess) -> None:
    async with _traffic(deployment):
        first = start_process("bridge", "run", **deployment.environment)
        await first.wait_for_log(READY)
        second = start_process("bridge", "run", **deployment.environment)
        await second.wait_for_log(READY)
        first.send(signal.SIGTERM)
        assert await first.wait_for_end() == 0

    await _wait_until_all_are_committed(deployment)
    answers, inputs = await _answers_and_inputs(deployment)
    assert answers == inputs


@needs_transactions
async def test_a_killed_member_with_a_name_is_replaced_before_its_session_ends(
    deployment: Deployment, start_process: StartProcess
) -> None:
    environment = deployment.environment | {
        "BRIDGE_GROUP_INSTANCE_ID": "one",
        "BRIDGE_SESSION_TIMEOUT_MS": "120000",
    }
    first = start_process("bridge", "run", **environment)
    await first.wait_for_log(READY)
    first.kill()

    second = start_process("bridge", "run", **environment)

    await second.wait_for_log(READY, timeout_seconds=60)


async def test_a_broker_without_transactions_is_named_at_start(artifact: Path, start_process: StartProcess) -> None:
    with EmbeddedBroker() as broker:
        topics = Topics(broker.connection)
        deployment = Deployment(topics, artifact)
        await deployment.create_topics()
        process = start_process("bridge", "run", **deployment.environment)

        assert await process.wait_for_end() == 1

    assert "set BRIDGE_PROCESSING_GUARANTEE=at-least-once" in process.log.splitlines()[-1]
