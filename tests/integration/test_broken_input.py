"""Records that cannot be read, among transactions that can: each becomes a dead letter, and nothing else suffers."""

import asyncio
import json
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiokafka import ConsumerRecord

from tests.artifacts import LEGITIMATE
from tests.integration.broker import Broker
from tests.integration.deployment import Deployment, ids, transaction
from tests.integration.process import Process
from tests.integration.topics import Message, Topics


def _with(**changes: Any) -> bytes:
    return json.dumps({"transaction_id": "broken", **LEGITIMATE, **changes}).encode()


def _literal(name: str, text: bytes) -> bytes:
    return _with(**{name: "@"}).replace(b'"@"', text)


_MISSING = json.dumps({name: value for name, value in LEGITIMATE.items() if name != "V2"}).encode()
_NESTED = b"[" * 10_000 + b"]" * 10_000

DEAD_LETTERS: dict[str, tuple[bytes | None, str]] = {
    "not JSON": (b"this is not JSON", "invalid_json"),
    "cut off": (_with()[:-5], "invalid_json"),
    "an array": (b"[1, 2, 3]", "not_an_object"),
    "a missing feature": (_MISSING, "missing_feature"),
    "a string for a number": (_with(V1="1.5"), "wrong_type"),
    "a boolean for a number": (_with(V1=True), "wrong_type"),
    "null for a number": (_with(V1=None), "wrong_type"),
    "NaN as a literal": (_literal("V1", b"NaN"), "not_finite"),
    "Infinity as a literal": (_literal("V1", b"-Infinity"), "not_finite"),
    "NaN as a string": (_with(V1="NaN"), "not_finite"),
    "Infinity as a string": (_with(V1="-Infinity"), "not_finite"),
    "a number beyond a double": (_literal("V1", b"1e999"), "number_out_of_range"),
    "an integer of 400 digits": (_literal("V1", b"9" * 400), "number_out_of_range"),
    "a null value": (None, "empty_value"),
    "invalid UTF-8": (b'{"V1": "\xff\xfe"}', "invalid_utf8"),
    "an array of 10,000 levels": (_NESTED, "not_an_object"),
    "an unknown field of 10,000 levels": (_literal("note", _NESTED), "nested_too_deeply"),
    "a feature of 10,000 levels": (_literal("V1", _NESTED), "nested_too_deeply"),
    "a record of 900 kB": (_with(note="x" * 900_000), "record_too_large"),
    "an empty transaction_id": (_with(transaction_id=""), "invalid_transaction_id"),
    "a timestamp without a zone": (_with(timestamp_received="2026-01-01T00:00:00"), "invalid_timestamp"),
}

SCORED: dict[str, Message] = {
    "no transaction_id": Message(json.dumps(LEGITIMATE).encode(), b"anonymous"),
    "an unknown field": transaction(transaction_id="unknown-field", merchant={"name": "Kiosk", "city": "Köln"}),
    "a key that is not UTF-8": transaction(transaction_id="raw-key", key=b"\xff\xfe\x00"),
    "an integer for a number": transaction(transaction_id="integer", Time=3),
    "a label": transaction(transaction_id="label", Class=1),
}

_KEY = b"\x00key"
_HEADERS = [("origin", b"till-7"), ("origin", b"\xff")]


@dataclass(frozen=True)
class Outcome:
    """What a bridge made of the stream."""

    transactions: list[ConsumerRecord]
    predictions: list[ConsumerRecord]
    dead_letters: list[ConsumerRecord]
    committed: dict[int, int | None]

    def source_of(self, is_it: Callable[[ConsumerRecord], bool]) -> ConsumerRecord:
        (record,) = [record for record in self.transactions if is_it(record)]
        return record

    def dead_letter_of(self, source: ConsumerRecord) -> ConsumerRecord:
        place = f"{source.topic}-{source.partition}-{source.offset}".encode()
        (letter,) = [letter for letter in self.dead_letters if dict(letter.headers)["neighborwatch-source"] == place]
        return letter


@pytest.fixture(scope="module")
def outcome(broker: Broker, artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """One stream with everything in it; the tests look at what became of it."""
    deployment = Deployment(Topics(broker.connection), artifact, is_embedded=not broker.supports_transactions)
    directory = tmp_path_factory.mktemp("bridge")
    return asyncio.run(_answer_everything(deployment, directory))


async def _answer_everything(deployment: Deployment, directory: Path) -> Outcome:
    topics = deployment.topics
    await deployment.create_topics()
    broken = [Message(value, _KEY, _HEADERS) for value, _ in DEAD_LETTERS.values()]
    around = [transaction(key=_KEY) for _ in range(len(broken) + 1)]
    mixed = [message for pair in zip(around, broken, strict=False) for message in pair]
    await topics.produce(deployment.transactions, *mixed, around[-1], *SCORED.values())
    with Process("bridge", "run", environment=deployment.environment, directory=directory) as process:
        predictions = await topics.wait_for(deployment.predictions, len(around) + len(SCORED))
        dead_letters = await topics.wait_for(deployment.dead_letters, len(broken))
        process.send(signal.SIGTERM)
        assert await process.wait_for_end() == 0
    return Outcome(
        await topics.read(deployment.transactions),
        predictions,
        dead_letters,
        await topics.committed(deployment.group, deployment.transactions),
    )


@pytest.mark.parametrize(("value", "reason"), DEAD_LETTERS.values(), ids=DEAD_LETTERS)
def test_it_is_a_dead_letter_with_its_reason(value: bytes | None, reason: str, outcome: Outcome) -> None:
    source = outcome.source_of(lambda record: record.key == _KEY and (record.value or None) == value)

    headers = dict(outcome.dead_letter_of(source).headers)

    assert headers["neighborwatch-reason"] == reason.encode()


@pytest.mark.parametrize(("value", "reason"), DEAD_LETTERS.values(), ids=DEAD_LETTERS)
def test_a_dead_letter_has_the_original_bytes(value: bytes | None, reason: str, outcome: Outcome) -> None:
    source = outcome.source_of(lambda record: record.key == _KEY and (record.value or None) == value)

    letter = outcome.dead_letter_of(source)

    assert (letter.key, letter.value, list(letter.headers)[:2]) == (source.key, source.value, _HEADERS), reason


def test_the_transactions_around_are_scored(outcome: Outcome) -> None:
    broken = [value for value, _ in DEAD_LETTERS.values()]
    around = [record for record in outcome.transactions if record.key == _KEY and (record.value or None) not in broken]

    answered = [record for record in outcome.predictions if record.key == _KEY]

    assert ids(answered) == ids(around)
    assert len(around) == len(DEAD_LETTERS) + 1


@pytest.mark.parametrize("message", SCORED.values(), ids=SCORED)
def test_it_is_scored_all_the_same(message: Message, outcome: Outcome) -> None:
    source = outcome.source_of(lambda record: bool(record.value == message.value))

    places = [json.loads(record.value)["source"] for record in outcome.predictions if record.key == source.key]

    assert {"topic": source.topic, "partition": source.partition, "offset": source.offset} in places


def test_a_missing_id_is_derived_from_the_place(outcome: Outcome) -> None:
    source = outcome.source_of(lambda record: record.key == b"anonymous")
    (prediction,) = [record for record in outcome.predictions if record.key == b"anonymous"]

    assert ids([prediction]) == [f"{source.topic}-{source.partition}-{source.offset}"]


def test_an_unknown_field_is_carried_along(outcome: Outcome) -> None:
    predictions = [json.loads(record.value) for record in outcome.predictions]
    (prediction,) = [value for value in predictions if value["transaction_id"] == "unknown-field"]

    assert prediction["carried"] == {"merchant": {"name": "Kiosk", "city": "Köln"}}


def test_dead_letters_are_committed_with_the_rest(outcome: Outcome) -> None:
    assert sum(offset or 0 for offset in outcome.committed.values()) == len(outcome.transactions)


def test_nothing_is_answered_twice_or_left_out(outcome: Outcome) -> None:
    assert len(outcome.predictions) + len(outcome.dead_letters) == len(outcome.transactions)
