"""What must not stand in a log is fed to every process, at the level that logs the most, and looked for."""

import asyncio
import json
from pathlib import Path

import httpx
import pytest

from tests.artifacts import FRAUD
from tests.integration.broker import Broker
from tests.integration.conftest import StartProcess
from tests.integration.deployment import Deployment, transaction
from tests.integration.topics import Message, Topics

_CARD = "4111111111111111"
_NAME = "Erika Mustermann"
_FEATURE = 6.123456789
_SECRETS = (_CARD, _NAME, str(_FEATURE), "webhook-secret", "header-secret", "cvv-987")


@pytest.fixture
async def deployment(broker: Broker, topics: Topics, artifact: Path) -> Deployment:
    deployment = Deployment(topics, artifact, is_embedded=not broker.supports_transactions)
    await deployment.create_topics()
    return deployment


def _found(log: str) -> list[str]:
    return [secret for secret in _SECRETS if secret in log]


async def test_the_bridge_and_the_alert_consumer_log_places_and_ids_and_no_card(
    deployment: Deployment, start_process: StartProcess
) -> None:
    headers = [("authorization", b"header-secret")]
    fields = FRAUD | {"V1": _FEATURE}
    good = transaction(fields, transaction_id="t-1", card_id=_CARD, name=_NAME, security="cvv-987")
    messages = [
        Message(good.value, _CARD.encode(), headers, partition=0),
        Message(f"{_NAME} {_CARD} cvv-987".encode(), _CARD.encode(), headers, partition=0),
        Message(json.dumps(fields | {"card_id": [_CARD, _NAME]}).encode(), None, headers, partition=0),
        Message(json.dumps(fields | {"Amount": f"{_CARD}"}).encode(), None, headers, partition=0),
    ]
    settings = deployment.environment | {"BRIDGE_LOG_LEVEL": "debug"}
    webhook = {"BRIDGE_WEBHOOK_URL": "http://127.0.0.1:9/", "BRIDGE_WEBHOOK_AUTHORIZATION": "webhook-secret"}
    bridge = start_process("bridge", "run", **settings)
    alerts = start_process("bridge", "alerts", **settings, **webhook, BRIDGE_WEBHOOK_ATTEMPTS="1")
    await deployment.topics.produce(deployment.transactions, *messages)

    await bridge.wait_for_log(rf'"reason": "invalid_json".*"first": "{deployment.transactions}\[0\] 1"')
    await alerts.wait_for_log('"transaction_id": "t-1"')
    await alerts.wait_for_log("alert not taken")

    assert _found(bridge.log) == []
    assert _found(alerts.log) == []


async def test_the_service_logs_no_card(artifact: Path, start_process: StartProcess) -> None:
    service = start_process(
        "app", "serve", APP_ARTIFACT=str(artifact), APP_PORT="0", APP_LOG_LEVEL="debug", APP_MAX_BATCH="1"
    )
    address = (await service.wait_for_log('"address": "([^"]+)"'))[1]
    fields = FRAUD | {"V1": _FEATURE, "card_id": _CARD, "name": _NAME}
    bodies = [fields, fields | {"Amount": _CARD}, {"transactions": [fields, fields]}, [_CARD, "cvv-987"]]

    async with httpx.AsyncClient(base_url=address, headers={"Authorization": "header-secret"}) as client:
        answers = await asyncio.gather(*[client.post("/score", json=body) for body in bodies])

    assert [answer.status_code for answer in answers] == [200, 422, 422, 422]
    assert [_found(answer.text) for answer in answers] == [[], [], [], []]
    assert _found(service.log) == []
