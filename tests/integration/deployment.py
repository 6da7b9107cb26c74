"""A bridge's topics and settings, for one test or for several that look at the same stream."""

import json
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from aiokafka import ConsumerRecord

from tests.artifacts import LEGITIMATE
from tests.integration.process import Process
from tests.integration.topics import Message, Topics

READY = "partitions assigned"


class Deployment:
    """Topics that are there, and the settings of the processes that work on them."""

    def __init__(self, topics: Topics, artifact: Path, *, is_embedded: bool = False) -> None:
        self.topics = topics
        self.transactions = topics.name("transactions")
        self.predictions = topics.name("predictions")
        self.alerts = topics.name("alerts")
        self.dead_letters = topics.name("dead-letters")
        self.processed = topics.name("processed")
        self.alerts_dead_letters = topics.name("alerts-dead-letters")
        self.group = topics.name("bridge")
        self.alerts_group = topics.name("alerts-group")
        self.environment = {
            "BRIDGE_BOOTSTRAP_SERVERS": str(topics.connection["bootstrap_servers"]),
            "BRIDGE_ARTIFACT": str(artifact),
            "BRIDGE_TRANSACTIONS_TOPIC": self.transactions,
            "BRIDGE_PREDICTIONS_TOPIC": self.predictions,
            "BRIDGE_ALERTS_TOPIC": self.alerts,
            "BRIDGE_DEAD_LETTER_TOPIC": self.dead_letters,
            "BRIDGE_ALERTS_DEAD_LETTER_TOPIC": self.alerts_dead_letters,
            "BRIDGE_GROUP_ID": self.group,
            "BRIDGE_ALERTS_GROUP_ID": self.alerts_group,
            "BRIDGE_PROCESSING_GUARANTEE": "at-least-once" if is_embedded else "exactly-once",
            "BRIDGE_PRODUCER_IDEMPOTENCE": str(not is_embedded),
            "BRIDGE_FETCH_MAX_WAIT_MS": "50",
            "BRIDGE_HTTP_PORT": "0",
            "BRIDGE_ALERTS_HTTP_PORT": "0",
        }

    async def create_topics(self) -> None:
        nouns = ("transactions", "predictions", "alerts", "dead-letters", "processed", "alerts-dead-letters")
        await self.topics.create(*nouns)

    async def wait_for_answers(self, count: int) -> list[ConsumerRecord]:
        """The predictions, once there are this many."""
        return await self.topics.wait_for(self.predictions, count)


async def ready_address(process: Process) -> str:
    """Where a bridge can be asked, once it owns partitions."""
    address = await process.wait_for_log('"http": "([^"]+)"')
    await process.wait_for_log(READY)
    return address[1]


def transaction(fields: Mapping[str, Any] | None = None, key: bytes | None = None, **more: Any) -> Message:
    """A transaction of the tests' model; without an id it gets one."""
    value = {"transaction_id": str(uuid.uuid4()), **(fields or LEGITIMATE), **more}
    return Message(json.dumps(value).encode(), key)


def values(records: Iterable[ConsumerRecord]) -> list[dict[str, Any]]:
    return [json.loads(record.value) for record in records]


def ids(records: Iterable[ConsumerRecord]) -> list[str]:
    return [value["transaction_id"] for value in values(records)]
