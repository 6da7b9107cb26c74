"""`python -m bridge dead-letters list | replay`: what could not be read, and another try for it.

A dead letter's value is a card's data and is never shown. A record that is sent again carries the header
`neighborwatch-replayed-from` with the place where it failed; should it fail once more, its new dead letter has that
header too, takes the place of the one before, and says so in the list. Replaying leaves dead letters where they are: a
record that was scored meanwhile is scored again by another replay of it.
"""

import argparse
import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord
from aiokafka.errors import KafkaError

from bridge.codec import (
    MESSAGE_HEADER,
    REASON_HEADER,
    REPLAYED_FROM_HEADER,
    SOURCE_HEADER,
    TIME_HEADER,
    VERSION_HEADER,
    Headers,
    decode_source,
)
from bridge.connection import producing
from bridge.errors import DeliveryError
from bridge.produce import count
from bridge.settings import Settings
from bridge.stream import consuming_alone, records_until_end
from bridge.topics import prepare_topics

_OURS = frozenset(
    {REASON_HEADER, MESSAGE_HEADER, SOURCE_HEADER, TIME_HEADER, VERSION_HEADER, REPLAYED_FROM_HEADER},
)
_UNCONFIRMED_LIMIT = 100  # each may be as large as a record can be


class Letter(msgspec.Struct, frozen=True):
    """What may be told of a dead letter: everything but its key, its value and its sender's headers."""

    time: str
    reason: str
    source: str
    message: str
    replayed_from: str | None = None


@dataclass(frozen=True)
class Selection:
    """Which dead letters: those with one of these reasons and one of these sources; an empty set is all of them.

    Attributes:
        reasons: as in the header, for example `missing_feature`.
        sources: places as the list shows them, for example `transactions-0-17`.
        of_alerts: the alerts that the webhook did not take, not the transactions that the bridge could not read.
    """

    reasons: frozenset[str] = frozenset()
    sources: frozenset[str] = frozenset()
    of_alerts: bool = False

    def has(self, letter: Letter) -> bool:
        has_reason = not self.reasons or letter.reason in self.reasons
        return has_reason and (not self.sources or letter.source in self.sources)


class View(NamedTuple):
    """How they are shown: the newest `limit` (0: all), as sentences or as one JSON object a line."""

    limit: int = 0
    as_json: bool = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    lister = actions.add_parser("list", help="one line for each, and how many there are of each reason")
    replayer = actions.add_parser("replay", help="send the original records again; without --yes only say how many")
    for action in (lister, replayer):
        action.add_argument("--reason", action="append", default=[], help="only those with this reason (repeatable)")
        action.add_argument(
            "--source", action="append", default=[], help="only the one read from this place (repeatable)"
        )
        action.add_argument("--alerts", action="store_true", help="the alerts that the webhook did not take")
    lister.add_argument("--limit", type=count, default=0, metavar="N", help="show the newest N (all)")
    lister.add_argument("--json", action="store_true", help="one JSON object a line")
    answers = replayer.add_mutually_exclusive_group()
    answers.add_argument("--yes", action="store_true", help="send them")
    answers.add_argument("--dry-run", dest="yes", action="store_false", help="say how many, send nothing (the default)")


async def show(settings: Settings, selection: Selection, view: View) -> int:
    """Print the dead letters of a selection, oldest first.

    Raises:
        BridgeError: the broker or the topic cannot be used.
    """
    topic, _ = _topics(settings, selection)
    async with consuming_alone(settings, [topic]) as consumer:
        found = [(record.timestamp, letter) async for record, letter in _letters(consumer, selection)]
    # Records of one millisecond are read in any order, and are shown in one.
    letters = [letter for _, letter in sorted(found, key=lambda pair: (pair[0], pair[1].time, pair[1].source))]
    for letter in letters[-view.limit :]:
        print(msgspec.json.encode(letter).decode() if view.as_json else _line(letter))  # noqa: T201 - the answer
    if not view.as_json:
        reasons = Counter(letter.reason for letter in letters)
        counts = ", ".join(f"{reason} {n:,}" for reason, n in sorted(reasons.items()))
        print(f"{len(letters):,} dead letters in {topic}" + (f": {counts}." if counts else "."))  # noqa: T201 - the same
    return 0


async def replay(settings: Settings, selection: Selection, *, is_confirmed: bool) -> int:
    """Send the original records of a selection to the topic they were read from, or say what would be sent.

    Raises:
        BridgeError: the broker or a topic cannot be used, or did not confirm a record.
    """
    topic, target = _topics(settings, selection)
    partitions = await prepare_topics(settings, [target])
    async with consuming_alone(settings, [topic]) as consumer:
        # A record that failed again stands here twice; only its newest dead letter is sent.
        replaced = {letter.replayed_from async for _, letter in _letters(consumer, Selection())}
        await consumer.seek_to_beginning()
        chosen = (pair async for pair in _letters(consumer, selection) if pair[1].source not in replaced)
        if is_confirmed:
            async with producing(settings) as producer:
                sender = _Sender(producer, target, partitions[target], settings.broker_timeout_seconds)
                sentence = f"{_records(*await _send(chosen, sender))} sent to {target}."
        else:
            again = [letter.replayed_from is not None async for _, letter in chosen]
            counted = _records(len(again), sum(again))
            sentence = f"{counted} would be sent to {target}; nothing was. Add --yes to send."
    print(sentence)  # noqa: T201 - the answer
    return 0


async def _send(chosen: AsyncIterator[tuple[ConsumerRecord, Letter]], sender: "_Sender") -> tuple[int, int]:
    """How many were sent, and how many of them were sent before."""
    n_sent = n_again = 0
    async for record, letter in chosen:
        await sender.send(record, letter)
        n_sent += 1
        n_again += letter.replayed_from is not None
    await sender.confirmed()
    return n_sent, n_again


def _records(n_records: int, n_again: int) -> str:
    failed_again = f", {n_again:,} of them not for the first time," if n_again else ""
    return f"{n_records:,} records{failed_again}"


def _topics(settings: Settings, selection: Selection) -> tuple[str, str]:
    """The dead letter topic, and the topic that its records were read from."""
    if selection.of_alerts:
        return settings.alerts_dead_letter_topic, settings.alerts_topic
    return settings.dead_letter_topic, settings.transactions_topic


async def _letters(consumer: AIOKafkaConsumer, selection: Selection) -> AsyncIterator[tuple[ConsumerRecord, Letter]]:
    """The dead letters of a selection, from where the consumer stands to the end of now."""
    async for record in records_until_end(consumer):
        letter = _letter(record)
        if selection.has(letter):
            yield record, letter


def _letter(record: ConsumerRecord) -> Letter:
    # Ours stand behind the sender's own, so that the last of a name is the one that counts.
    headers = {name: _printable(value) for name, value in record.headers}
    return Letter(
        time=headers.get(TIME_HEADER, "unknown"),
        reason=headers.get(REASON_HEADER, "unknown"),
        source=headers.get(SOURCE_HEADER, f"{record.topic}-{record.partition}-{record.offset}"),
        message=headers.get(MESSAGE_HEADER, ""),
        replayed_from=headers.get(REPLAYED_FROM_HEADER),
    )


def _printable(value: bytes) -> str:
    """Text that does nothing to a terminal, whoever wrote the header."""
    return "".join(letter if letter.isprintable() else "�" for letter in value.decode(errors="replace"))


def _line(letter: Letter) -> str:
    again = f" (replayed from {letter.replayed_from})" if letter.replayed_from else ""
    return f"{letter.time}  {letter.reason}  {letter.source}  {letter.message}{again}"


class _Sender:
    """Sends dead letters as the records they were, to the partition they came from."""

    def __init__(self, producer: AIOKafkaProducer, topic: str, n_partitions: int, timeout_seconds: float) -> None:
        self._producer = producer
        self._topic = topic
        self._n_partitions = n_partitions
        self._timeout_seconds = timeout_seconds
        self._unconfirmed: list[asyncio.Future[object]] = []

    async def send(self, record: ConsumerRecord, letter: Letter) -> None:
        source = decode_source(letter.source)
        # In its old partition a record keeps to its key's order, whatever partitioner its sender has.
        partition = (source.partition if source else record.partition) % self._n_partitions
        batch = self._producer.create_batch()  # unlike `send`, a batch takes a record without key and value
        headers = _original_headers(record, letter)
        batch.append(timestamp=None, key=record.key, value=record.value, headers=headers)
        async with self._in_time():
            self._unconfirmed.append(await self._producer.send_batch(batch, self._topic, partition=partition))
        if len(self._unconfirmed) >= _UNCONFIRMED_LIMIT:
            await self.confirmed()

    async def confirmed(self) -> None:
        """Wait for the broker's word on every record so far.

        Raises:
            DeliveryError: it did not come, or it was no.
        """
        async with self._in_time():
            await asyncio.gather(*self._unconfirmed)
        self._unconfirmed.clear()

    @contextlib.asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                yield
        except (TimeoutError, KafkaError) as error:
            raise DeliveryError(
                f"The broker did not confirm up to {len(self._unconfirmed) + 1} records ({type(error).__name__}); "
                "those before them were sent."
            ) from error


def _original_headers(record: ConsumerRecord, letter: Letter) -> Headers:
    """The sender's headers, and behind them where the record failed."""
    kept = [(name, value) for name, value in record.headers if name not in _OURS]
    return [*kept, (REPLAYED_FROM_HEADER, letter.source.encode())]
