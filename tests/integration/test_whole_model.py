"""A bridge whose model has no neighbours: the same topics, the same audit, alerts with what raised them."""

import json
from pathlib import Path

from tests.integration.broker import Broker
from tests.integration.conftest import StartProcess
from tests.integration.deployment import READY, Deployment, values
from tests.integration.forgery import traffic
from tests.integration.topics import Topics


async def test_the_answers_of_a_model_without_neighbours_are_proved_and_its_alerts_understood(
    broker: Broker, topics: Topics, boosted_artifact: Path, start_process: StartProcess
) -> None:
    deployment = Deployment(topics, boosted_artifact, is_embedded=not broker.supports_transactions)
    await deployment.create_topics()
    # Answered in polls of many and in polls of few: prove then scores all of it in batches of its own.
    await topics.produce(deployment.transactions, *traffic(300))
    bridge = start_process("bridge", "run", **deployment.environment, BRIDGE_PROCESSED_TOPIC=deployment.processed)
    await bridge.wait_for_log(READY)
    for _ in range(5):
        await topics.produce(deployment.transactions, *traffic(20))
    predictions = values(await deployment.wait_for_answers(380))
    alerts = values(await topics.wait_for(deployment.alerts, 40))
    await topics.wait_for(deployment.dead_letters, 20)
    consumer = start_process("bridge", "alerts", **deployment.environment)
    fact = json.loads((await consumer.wait_for_log(r'\{.*"event": ?"fraud alert".*\}')).group())
    proof = start_process("bridge", "prove", "--rescore", "all", "--json", **deployment.environment)

    assert await proof.wait_for_end() == 0, proof.report()
    verdict = json.loads(proof.output)
    assert verdict["is_proved"] is True
    assert (verdict["rescored"], verdict["largest_difference"]) == (400, 0)
    assert {prediction["method"] for prediction in predictions} == {"model"}
    for alert in alerts:
        assert alert["evidence"]["neighbors"] == []
        assert "not available for this model" in alert["evidence"]["not_available"]
    assert set(fact["raised_by"]) == {"V1", "V2", "Amount"}
    assert "frauds_among_neighbors" not in fact
