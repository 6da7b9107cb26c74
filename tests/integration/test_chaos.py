"""The chaos runs in their short form: `make chaos` has the long one."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from chaos.markers import Markers, count_markers
from chaos.scenarios import SCENARIOS, Scenario, run, storm, zombies
from chaos.stage import Model, Stage
from tests.artifacts import FRAUD, LEGITIMATE
from tests.integration.broker import KafkaBroker
from tests.integration.topics import Topics

_SETTINGS = {"BRIDGE_SESSION_TIMEOUT_MS": "2000"}


@pytest.fixture
def model(artifact: Path) -> Model:
    return Model(artifact, [LEGITIMATE] * 19 + [FRAUD])


def _short(name: str, **settings: str) -> Scenario:
    scenario = SCENARIOS[name]
    script = replace(scenario.script, n_partitions=3, rate_per_second=300, settings=_SETTINGS | settings)
    return replace(scenario, script=script)


@pytest.mark.real_kafka(reason="the embedded broker has no transactions")
async def test_kills_freezes_and_restarts_lose_double_and_disorder_nothing(model: Model) -> None:
    async def play(stage: Stage) -> None:
        await storm(4, pause_seconds=1.5)(stage)
        await zombies(1, frozen_seconds=4)(stage)
        await stage.members[2].stop()
        stage.members[2].start()

    outcome = await run(replace(_short("kill-storm"), play=play), model)

    assert outcome.n_kills == 4
    assert (outcome.lost, outcome.doubled, outcome.out_of_order, outcome.other_defects) == (0, 0, 0, {})
    assert outcome.notes == ["Round 1: frozen in the middle of a transaction."]
    assert outcome.is_as_expected


@pytest.mark.real_kafka(reason="the embedded broker has no transactions")
async def test_without_one_transactional_id_a_partition_a_zombie_doubles(model: Model) -> None:
    """Shows that the audit of these runs can fail, and what `BRIDGE_TRANSACTIONAL_ID_SCOPE=partition` is for."""
    scenario = _short("zombie-by-instance", **SCENARIOS["zombie-by-instance"].script.settings)

    outcome = await run(replace(scenario, play=zombies(1, frozen_seconds=4)), model)

    assert outcome.doubled > 0
    assert outcome.lost == 0


@pytest.mark.real_kafka(reason="the embedded broker has no transactions")
async def test_the_ends_of_transactions_are_counted(own_broker: KafkaBroker, own_topics: Topics) -> None:
    (topic,) = await own_topics.create("ended", partitions=1)
    async with AIOKafkaProducer(**own_topics.connection, transactional_id="counted") as producer:
        for is_committed in (True, False, True):
            await producer.begin_transaction()
            await producer.send_and_wait(topic, b"value")
            await (producer.commit_transaction() if is_committed else producer.abort_transaction())

    # A commit is answered as soon as it is decided; its marker follows.
    markers = Markers(0, 0)
    for _ in range(200):
        markers = count_markers(own_broker.data_directory, topic)
        if sum(markers) == 3:
            break
        await asyncio.sleep(0.05)
    assert markers == Markers(committed=2, aborted=1)
