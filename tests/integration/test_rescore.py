"""`python -m bridge rescore`: a range is scored again, with the difference to what was published."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bridge import rescore
from bridge.errors import SettingsError
from bridge.offset_range import parse_bound
from bridge.rescore import Plan
from tests.artifacts import FRAUD, make_artifact
from tests.integration.broker import Broker
from tests.integration.conftest import StartProcess
from tests.integration.deployment import Deployment, transaction, values
from tests.integration.forgery import Forgery, changed, source, traffic
from tests.integration.topics import Topics


@pytest.fixture
async def deployment(broker: Broker, topics: Topics, artifact: Path) -> Deployment:
    deployment = Deployment(topics, artifact, is_embedded=not broker.supports_transactions)
    await topics.create("transactions", "predictions", "rescored")
    return deployment


async def test_what_was_published_rightly_does_not_change(deployment: Deployment, artifact: Path) -> None:
    forgery = await Forgery.of(deployment, artifact, *traffic(200))
    await deployment.topics.produce(deployment.predictions, *forgery.predictions)
    differences = await rescore.rescore(forgery.settings, Plan(deployment.topics.name("rescored")))

    assert (differences.rescored, differences.unreadable, differences.changed) == (190, 10, 0)
    rescored = await deployment.topics.read(deployment.topics.name("rescored"))
    published = await deployment.topics.read(deployment.predictions)
    assert [(record.partition, record.key) for record in rescored] == [
        (record.partition, record.key) for record in published
    ]
    assert [value | {"scored_at": ""} for value in values(rescored)] == [
        value | {"scored_at": ""} for value in values(published)
    ]


async def test_changes_are_counted_and_the_largest_is_named(deployment: Deployment, artifact: Path) -> None:
    forgery = await Forgery.of(deployment, artifact, *traffic(100, partition=2))
    predictions = forgery.predictions
    fraud, legitimate = predictions[3], predictions[4]
    predictions[3] = changed(fraud, fraud_probability=0.25, is_fraud=False)
    predictions[4] = changed(legitimate, fraud_probability=0.875, is_fraud=True)
    predictions[5] = changed(predictions[5], fraud_probability=0.0625)
    del predictions[6]
    await deployment.topics.produce(deployment.predictions, *predictions)
    differences = await rescore.rescore(forgery.settings, Plan(deployment.topics.name("rescored")))

    assert (differences.changed, differences.alerts_gained, differences.alerts_lost) == (3, 1, 1)
    assert differences.unpublished == 1
    assert differences.largest_difference == 0.875
    assert [change.offset for change in differences.examples] == [
        source(legitimate)["offset"],
        source(fraud)["offset"],
        source(predictions[5])["offset"],
    ]


async def test_another_model_answers_a_range_by_command(
    deployment: Deployment, artifact: Path, start_process: StartProcess, tmp_path: Path
) -> None:
    forgery = await Forgery.of(deployment, artifact, *[replace(transaction(FRAUD), partition=0) for _ in range(20)])
    await deployment.topics.produce(deployment.predictions, *forgery.predictions)
    version = make_artifact(tmp_path / "other", n_neighbors=101).model_version
    topic = deployment.topics.name("rescored")
    options = ("--from", "0:5", "--to", "0:15", "--artifact", str(tmp_path / "other"), "--output-topic", topic)
    process = start_process("bridge", "rescore", *options, "--json", **deployment.environment)

    assert await process.wait_for_end() == 0
    differences = json.loads(process.output)
    assert (differences["rescored"], differences["changed"], differences["model_version"]) == (10, 10, version)
    rescored = values(await deployment.topics.read(topic))
    assert [value["source"]["offset"] for value in rescored] == list(range(5, 15))
    assert {value["model_version"] for value in rescored} == {version}
    assert "10 probabilities changed" in process.log


async def test_a_topic_of_the_bridge_is_not_written_to(deployment: Deployment, artifact: Path) -> None:
    forgery = await Forgery.of(deployment, artifact)

    with pytest.raises(SettingsError, match="name another --output-topic"):
        await rescore.rescore(forgery.settings, Plan(deployment.predictions, first=parse_bound("0")))
