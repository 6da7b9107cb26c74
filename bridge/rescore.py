"""`python -m bridge rescore`: answers a range again, into a topic of its own, and tells what is different."""

import argparse
import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from app.scoring.prediction import Prediction
from bridge.audit import Answer, Entry, Findings, Kind, Ledger, Sample
from bridge.codec import Codec
from bridge.comparison import Comparison, Rescored, Rescorer
from bridge.connection import producing
from bridge.errors import DeliveryError, SettingsError
from bridge.offset_range import Bound, add_range_arguments
from bridge.settings import Settings
from bridge.topics import prepare_topics
from bridge.trail import trailing
from bridge.verdict import add_json_argument, announce

_EXAMPLES = 10
_SAME = 1e-9


@dataclass(frozen=True)
class Plan:
    """What to answer again, into which topic, and with which model (None: the one that the settings name)."""

    output_topic: str
    first: Bound | None = None
    last: Bound | None = None
    artifact: Path | None = None
    json: str | None = None


class Change(msgspec.Struct, frozen=True):
    """A transaction of which the model now says something else."""

    partition: int
    offset: int
    published: float
    rescored: float


class Differences(msgspec.Struct, kw_only=True):
    """What was published, against what the model says now; `--json` writes it.

    Attributes:
        topic: the transactions' topic.
        output_topic: where the new predictions stand.
        model_version: of the model that answered again.
        rescored: new predictions.
        unreadable: transactions that cannot be read, and so cannot be scored.
        unpublished: transactions for which no prediction had been published.
        changed: probabilities that differ.
        alerts_gained: transactions that are fraud now and were not.
        alerts_lost: transactions that were fraud and are not now.
        largest_difference: between two probabilities of one transaction.
        examples: the transactions with the largest differences.
    """

    topic: str
    output_topic: str
    model_version: str
    rescored: int = 0
    unreadable: int = 0
    unpublished: int = 0
    changed: int = 0
    alerts_gained: int = 0
    alerts_lost: int = 0
    largest_difference: float = 0.0
    examples: list[Change] = []

    def compare(self, entry: Entry) -> None:
        """Take one transaction, with what was published and what the model says now."""
        published = entry.prediction.answer if entry.prediction else None
        if not isinstance(entry.expected, Prediction):
            self.unreadable += 1
        elif published is None:
            self.unpublished += 1
        else:
            self._compare(entry, published, entry.expected)

    def sentences(self) -> Iterator[str]:
        """The differences in plain words."""
        yield (
            f"{self.rescored:,} transactions of {self.topic} were scored again with the model {self.model_version}, "
            f"into {self.output_topic}."
        )
        if self.unreadable:
            yield f"{self.unreadable:,} cannot be read."
        if self.unpublished:
            yield f"{self.unpublished:,} had no prediction to compare with."
        yield (
            f"{self.changed:,} probabilities changed, the largest by {self.largest_difference:g}; "
            f"{self.alerts_gained:,} alerts gained, {self.alerts_lost:,} lost."
        )
        for change in self.examples[:3]:
            where = f"{self.topic}[{change.partition}] offset {change.offset}"
            yield f"  {where}: {change.published:g} became {change.rescored:g}"

    def _compare(self, entry: Entry, published: Answer, now: Prediction) -> None:
        self.alerts_gained += now.is_fraud and not published.reaches_threshold
        self.alerts_lost += published.reaches_threshold and not now.is_fraud
        difference = abs(now.fraud_probability - published.fraud_probability)
        if difference <= _SAME:
            return
        self.changed += 1
        self.largest_difference = max(self.largest_difference, difference)
        _, partition, offset = entry.place
        self.examples.append(Change(partition, offset, published.fraud_probability, now.fraud_probability))
        self.examples.sort(key=lambda change: -abs(change.published - change.rescored))
        del self.examples[_EXAMPLES:]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_range_arguments(parser)
    parser.add_argument("--output-topic", required=True, metavar="TOPIC", help="where the new predictions go")
    parser.add_argument("--artifact", type=Path, help="the model to score with (the one that the settings name)")
    add_json_argument(parser)


def plan_of(parsed: argparse.Namespace) -> Plan:
    return Plan(parsed.output_topic, parsed.first, parsed.last, parsed.artifact, parsed.json)


async def run(settings: Settings, plan: Plan) -> int:
    """Answer the range again, and say what is different.

    Returns:
        0: a difference is news and no error.

    Raises:
        ArtifactError: the model cannot be used.
        BridgeError: the broker or a topic cannot be used.
    """
    differences = await rescore(settings, plan)
    await announce(differences, differences.sentences(), plan.json)
    return 0


async def rescore(settings: Settings, plan: Plan) -> Differences:
    """Publish a prediction for each transaction of the range, and compare it with the one that was published.

    Raises:
        ArtifactError: the model cannot be used.
        BridgeError: the broker or a topic cannot be used.
    """
    if plan.output_topic in (settings.transactions_topic, *settings.output_topics):
        raise SettingsError(f"{plan.output_topic} is a topic of the bridge; name another --output-topic.")
    rescorer = Rescorer(settings, plan.artifact)
    partitions = await prepare_topics(settings, [plan.output_topic])
    differences = Differences(
        topic=settings.transactions_topic, output_topic=plan.output_topic, model_version=rescorer.model_version
    )
    async with (
        trailing(settings, {settings.predictions_topic: Kind.PREDICTION}) as trail,
        producing(settings) as producer,
    ):
        publisher = _Publisher(
            producer, rescorer.codec, plan.output_topic, partitions[plan.output_topic], settings.broker_timeout_seconds
        )
        extent = await trail.survey(plan.first, plan.last)
        ranges = {where.partition: offsets for where, offsets in extent.inputs.items()}
        ledger = Ledger(
            settings.transactions_topic, ranges, extent.ends, differences.compare, Findings(), reads_alerts=False
        )
        sample = Sample(list(ranges.values()), None)
        await Comparison(
            trail, extent, ledger, Findings(), rescorer=rescorer, sample=sample, publish=publisher.publish
        ).run()
    differences.rescored = publisher.n_published
    return differences


class _Publisher:
    """Publishes new predictions as the bridge publishes its own: same key, same order, same form."""

    def __init__(
        self, producer: AIOKafkaProducer, codec: Codec, topic: str, n_partitions: int, timeout_seconds: float
    ) -> None:
        self._producer = producer
        self._codec = codec
        self._topic = topic
        self._n_partitions = n_partitions
        self._timeout_seconds = timeout_seconds
        self.n_published = 0

    async def publish(self, answers: Sequence[Rescored]) -> None:
        try:
            await asyncio.wait_for(self._publish(answers), self._timeout_seconds)
        except (TimeoutError, KafkaError) as error:
            raise DeliveryError(
                f"The broker did not confirm {len(answers)} predictions ({type(error).__name__}); "
                f"{self.n_published} stand in {self._topic}."
            ) from error
        self.n_published += len(answers)

    async def _publish(self, answers: Sequence[Rescored]) -> None:
        scored_at = datetime.now(UTC)
        futures = [
            await self._producer.send(
                self._topic,
                self._codec.encode_prediction(record, transaction, prediction, scored_at),
                record.key,
                record.partition % self._n_partitions,
                headers=list(record.headers),
            )
            for record, transaction, prediction in answers
        ]
        await asyncio.gather(*futures)
