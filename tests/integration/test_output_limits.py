"""Topics that take less than the bridge would send: what fits goes on, and what does not is a dead letter."""

import json
from pathlib import Path

import pytest

from tests.artifacts import FRAUD
from tests.integration.conftest import StartProcess
from tests.integration.deployment import READY, Deployment, ids, transaction
from tests.integration.topics import Message, Topics

pytestmark = pytest.mark.real_kafka(reason="the embedded broker does not compare batches with max.message.bytes")

_NOTE = "".join(chr(97 + index * index % 26) for index in range(9_000))


@pytest.fixture
async def deployment(topics: Topics, artifact: Path) -> Deployment:
    deployment = Deployment(topics, artifact)
    await deployment.create_topics()
    return deployment


async def _limit(deployment: Deployment, topic: str, largest_bytes: int) -> None:
    await deployment.topics.configure(topic, {"max.message.bytes": str(largest_bytes)})


def _large() -> Message:
    message = transaction(transaction_id="large", note=_NOTE, key=b"card-1")
    return Message(message.value, message.key, [("origin", b"till-7")], partition=0)


def _usual(count: int) -> list[Message]:
    return [Message(transaction(key=b"card-1").value, b"card-1", partition=0) for _ in range(count)]


@pytest.mark.parametrize("guarantee", ["exactly-once", "at-least-once"])
async def test_a_prediction_that_its_topic_does_not_take_is_a_dead_letter(
    guarantee: str, deployment: Deployment, start_process: StartProcess
) -> None:
    await _limit(deployment, deployment.predictions, 5_000)
    await deployment.topics.produce(deployment.transactions, *_usual(50), _large(), *_usual(50))
    settings = {**deployment.environment, "BRIDGE_PROCESSING_GUARANTEE": guarantee}
    process = start_process("bridge", "run", **settings)

    await deployment.wait_for_answers(100)
    (letter,) = await deployment.topics.wait_for(deployment.dead_letters, 1)
    original = (await deployment.topics.read(deployment.transactions))[50]

    assert (letter.key, letter.value) == (original.key, original.value)
    headers = dict(letter.headers)
    assert (headers["origin"], headers["neighborwatch-reason"]) == (b"till-7", b"output_too_large")
    told = headers["neighborwatch-message"].decode()
    assert told.startswith(f"{deployment.predictions} takes 5000 bytes; this output has ")
    assert process.is_running
    audit = start_process("bridge", "prove", "--rescore", "all", **settings)
    assert await audit.wait_for_end() == 0, audit.output


async def test_a_topic_of_small_batches_gets_small_batches(deployment: Deployment, start_process: StartProcess) -> None:
    await _limit(deployment, deployment.predictions, 5_000)
    await deployment.topics.produce(deployment.transactions, *_usual(2_000))
    start_process("bridge", "run", **deployment.environment)

    predictions = await deployment.wait_for_answers(2_000)

    assert ids(predictions) == ids(await deployment.topics.read(deployment.transactions))
    assert not await deployment.topics.read(deployment.dead_letters)


async def test_what_fits_once_it_is_compressed_is_published(
    deployment: Deployment, start_process: StartProcess
) -> None:
    await _limit(deployment, deployment.predictions, 5_000)
    await deployment.topics.produce(deployment.transactions, transaction(transaction_id="blank", note=" " * 9_000))
    start_process("bridge", "run", **deployment.environment, BRIDGE_COMPRESSION="gzip")

    assert ids(await deployment.wait_for_answers(1)) == ["blank"]


async def test_an_alert_that_its_topic_does_not_take_takes_its_prediction_with_it(
    deployment: Deployment, start_process: StartProcess
) -> None:
    await _limit(deployment, deployment.alerts, 200)
    await deployment.topics.produce(deployment.transactions, transaction(FRAUD))
    start_process("bridge", "run", **deployment.environment)

    (letter,) = await deployment.topics.wait_for(deployment.dead_letters, 1)

    assert dict(letter.headers)["neighborwatch-reason"] == b"output_too_large"
    assert not await deployment.topics.read(deployment.predictions)


async def test_a_limit_lowered_meanwhile_ends_the_bridge_and_the_next_one_knows_it(
    deployment: Deployment, start_process: StartProcess
) -> None:
    first = start_process("bridge", "run", **deployment.environment)
    await first.wait_for_log(READY)
    await _limit(deployment, deployment.predictions, 5_000)
    await deployment.topics.produce(deployment.transactions, _large(), *_usual(5))

    assert await first.wait_for_end() == 1
    assert first.log.splitlines()[-1] == (
        "The broker takes no batch as large as one of these outputs; start again if max.message.bytes of "
        f"{deployment.predictions} was lowered, raise it otherwise."
    )
    assert not await deployment.topics.read(deployment.predictions)

    start_process("bridge", "run", **deployment.environment)
    await deployment.wait_for_answers(5)
    await deployment.topics.wait_for(deployment.dead_letters, 1)


async def test_a_dead_letter_that_its_topic_does_not_take_ends_the_bridge(
    deployment: Deployment, start_process: StartProcess
) -> None:
    await _limit(deployment, deployment.dead_letters, 5_000)
    broken = json.dumps({"note": _NOTE}).encode()
    await deployment.topics.produce(deployment.transactions, Message(broken, partition=0))
    process = start_process("bridge", "run", **deployment.environment)

    assert await process.wait_for_end() == 1
    assert process.log.splitlines()[-1].startswith("The broker takes no batch as large as one of these outputs")
    assert (await deployment.topics.committed(deployment.group, deployment.transactions))[0] in {None, 0}
