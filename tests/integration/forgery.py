"""Topics as a bridge would have left them, written by hand, so that a test can leave them wrong."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from aiokafka import AIOKafkaProducer, ConsumerRecord

from app.scoring.artifact import load_artifact
from app.scoring.scorer import Scorer
from bridge.codec import Codec, DeadLetter, encode_dead_letter_headers
from bridge.settings import Settings
from tests.artifacts import FRAUD, LEGITIMATE
from tests.integration.deployment import Deployment, transaction
from tests.integration.topics import Message

POISON = b"{no transaction"


@dataclass
class Forgery:
    """The right answers to a deployment's transactions, to be spoiled and then published.

    Attributes:
        deployment: whose topics they are.
        predictions: in the order of their transactions; so are the other two.
        alerts: one for each prediction that reaches the threshold.
        dead_letters: one for each transaction that cannot be read.
    """

    deployment: Deployment
    predictions: list[Message] = field(default_factory=list)
    alerts: list[Message] = field(default_factory=list)
    dead_letters: list[Message] = field(default_factory=list)

    @classmethod
    async def of(cls, deployment: Deployment, artifact: Path, *transactions: Message) -> Self:
        """Publish these transactions, and answer them rightly."""
        await deployment.topics.produce(deployment.transactions, *transactions)
        forgery = cls(deployment)
        forgery._answer(await deployment.topics.read(deployment.transactions), artifact)
        return forgery

    @property
    def settings(self) -> Settings:
        prefix = "BRIDGE_"
        environment = self.deployment.environment
        return Settings.model_validate({name.removeprefix(prefix).lower(): environment[name] for name in environment})

    async def publish(self) -> None:
        deployment = self.deployment
        await deployment.topics.produce(deployment.predictions, *self.predictions)
        await deployment.topics.produce(deployment.alerts, *self.alerts)
        await deployment.topics.produce(deployment.dead_letters, *self.dead_letters)

    async def publish_and_abort(self, *predictions: Message) -> None:
        """Publish these predictions in a transaction that is aborted."""
        deployment = self.deployment
        connection = deployment.topics.connection
        async with AIOKafkaProducer(**connection, transactional_id=deployment.topics.name("aborted")) as producer:
            await producer.begin_transaction()
            for message in predictions:
                await producer.send_and_wait(
                    deployment.predictions, message.value, message.key, partition=message.partition
                )
            await producer.abort_transaction()

    def _answer(self, records: Sequence[ConsumerRecord], artifact: Path) -> None:
        loaded = load_artifact(artifact)
        codec, scorer = Codec(loaded.manifest, 262_144), Scorer(loaded)
        now = datetime.now(UTC)
        decoded = [codec.decode(record) for record in records]
        transactions = [read for read in decoded if not isinstance(read, DeadLetter)]
        answers = iter(zip(*scorer.score_with_alerts(transactions), strict=True))
        for record, read in zip(records, decoded, strict=True):
            if isinstance(read, DeadLetter):
                headers = encode_dead_letter_headers(record, read, now, "0")
                self.dead_letters.append(Message(record.value, record.key, headers, record.partition))
                continue
            prediction, alert = next(answers)
            value = codec.encode_prediction(record, read, prediction, now)
            self.predictions.append(Message(value, record.key, (), record.partition))
            if alert is not None:
                value = codec.encode_alert(record, read, alert, now)
                self.alerts.append(Message(value, record.key, (), record.partition))


def traffic(count: int, partition: int | None = None) -> list[Message]:
    """Transactions of seven cards: one in ten is a fraud, one in twenty cannot be read."""
    messages = []
    for number in range(count):
        key = f"card-{number % 7}".encode()
        message = transaction(FRAUD if number % 10 == 3 else LEGITIMATE, key)
        messages.append(replace(message, partition=partition, value=POISON if number % 20 == 11 else message.value))
    return messages


def changed(message: Message, **fields: Any) -> Message:
    """The same answer with other values."""
    assert message.value is not None
    return replace(message, value=json.dumps(json.loads(message.value) | fields).encode())


def source(message: Message) -> Mapping[str, Any]:
    """Where an answer's transaction stands."""
    assert message.value is not None
    found: Mapping[str, Any] = json.loads(message.value)["source"]
    return found
