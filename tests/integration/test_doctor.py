"""The doctor finds what is wrong, says what to do, and leaves everything as it was."""

import time
from pathlib import Path

import pytest

from bridge.embedded import free_port
from tests.integration.broker import Broker
from tests.integration.conftest import StartProcess
from tests.integration.deployment import Deployment, transaction
from tests.integration.topics import Message, Topics


@pytest.fixture
async def deployment(broker: Broker, topics: Topics, artifact: Path) -> Deployment:
    deployment = Deployment(topics, artifact, is_embedded=not broker.supports_transactions)
    await deployment.create_topics()
    return deployment


def _findings(output: str) -> dict[str, str]:
    """The verdict of each line, by what was examined."""
    lines = [line.split() for line in output.splitlines()]
    return {words[1]: words[0] for words in lines if words[0] in ("well", "wrong", "skipped")}


async def test_where_everything_works_it_says_so_and_changes_nothing(
    deployment: Deployment, start_process: StartProcess
) -> None:
    await deployment.topics.produce(deployment.transactions, transaction())

    process = start_process("bridge", "doctor", **deployment.environment)

    assert await process.wait_for_end() == 0
    names = ("settings", "artifact", "broker", "topics", "reading", "group", "writing", "clock")
    assert _findings(process.output) == dict.fromkeys(names, "well")
    assert process.output.endswith("Everything works.\n")
    assert await deployment.topics.read(deployment.predictions, uncommitted=True) == []
    assert set((await deployment.topics.committed(deployment.group, deployment.transactions)).values()) == {None}
    assert await deployment.topics.held_back(deployment.predictions) == {}


async def test_without_a_broker_the_rest_is_skipped(artifact: Path, start_process: StartProcess) -> None:
    address = f"127.0.0.1:{free_port()}"
    process = start_process(
        "bridge",
        "doctor",
        BRIDGE_BOOTSTRAP_SERVERS=address,
        BRIDGE_ARTIFACT=str(artifact),
        BRIDGE_BROKER_TIMEOUT_SECONDS="1",
    )

    assert await process.wait_for_end() == 1
    assert _findings(process.output)["broker"] == "wrong"
    assert f"No Kafka broker answered at {address} within 1 s; start it, or set BRIDGE_BOOTSTRAP" in process.output
    assert {_findings(process.output)[name] for name in ("topics", "reading", "group", "writing", "clock")} == {
        "skipped"
    }


async def test_several_things_that_are_wrong_are_told_at_once(
    topics: Topics, broker: Broker, start_process: StartProcess
) -> None:
    deployment = Deployment(topics, Path("nowhere"), is_embedded=not broker.supports_transactions)
    settings = deployment.environment | {"BRIDGE_TRANSACTIONAL_ID_SCOPE": "instance"}

    process = start_process("bridge", "doctor", **settings)

    assert await process.wait_for_end() == 1
    findings = _findings(process.output)
    assert [name for name, verdict in findings.items() if verdict == "wrong"] == ["settings", "artifact", "topics"]
    assert "set BRIDGE_CREATE_TOPICS=true" in process.output


async def test_a_clock_that_is_ahead_is_found(deployment: Deployment, start_process: StartProcess) -> None:
    in_ten_minutes_ms = round(1000 * (time.time() + 600))
    await deployment.topics.produce(
        deployment.transactions, Message(transaction().value, timestamp_ms=in_ten_minutes_ms)
    )

    process = start_process("bridge", "doctor", **deployment.environment)

    assert await process.wait_for_end() == 1
    assert [name for name, verdict in _findings(process.output).items() if verdict == "wrong"] == ["clock"]
