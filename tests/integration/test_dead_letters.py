"""`python -m bridge dead-letters`: what is shown of them, and what comes of sending them again."""

import asyncio
import json
import signal
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiokafka import ConsumerRecord

from tests.artifacts import LEGITIMATE
from tests.integration.broker import Broker
from tests.integration.deployment import Deployment, ids
from tests.integration.process import Process
from tests.integration.topics import Message, Topics

_HEADERS = [("origin", b"till-7"), ("origin", b"\xff")]
_MISSING = Message(b'{"transaction_id": "hopeless", "Time": 4711.0815}', b"card-1", _HEADERS, partition=1)
_LARGE = Message(
    json.dumps({"transaction_id": "large", **LEGITIMATE, "note": "x" * 2_000}).encode(),
    b"card-2",
    _HEADERS,
    partition=2,
)
_NOTHING = Message(None, b"card-3", (), partition=0)


@dataclass
class Outcome:
    """What the commands printed in turn, and what stood in the topics in the end."""

    printed: dict[str, str] = field(default_factory=dict)
    transactions: list[ConsumerRecord] = field(default_factory=list)
    predictions: list[ConsumerRecord] = field(default_factory=list)
    dead_letters: list[ConsumerRecord] = field(default_factory=list)
    n_transactions_before: int = 0

    def lines(self, command: str) -> list[str]:
        return self.printed[command].splitlines()


@pytest.fixture(scope="module")
def outcome(broker: Broker, artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Three records fail; two are sent again to a bridge that takes larger ones: one is scored, one fails again."""
    deployment = Deployment(Topics(broker.connection), artifact, is_embedded=not broker.supports_transactions)
    return asyncio.run(_fail_and_replay(deployment, tmp_path_factory.mktemp("commands")))


async def _fail_and_replay(deployment: Deployment, directory: Path) -> Outcome:
    topics, outcome = deployment.topics, Outcome()

    async def command(line: str) -> None:
        arguments = ["bridge", "dead-letters", *line.split()]
        work = directory / str(len(outcome.printed))
        with Process(*arguments, environment=deployment.environment, directory=work) as process:
            assert await process.wait_for_end() == 0, process.report()
            outcome.printed[line] = process.output

    async def answer(n_dead_letters: int, **settings: str) -> None:
        work = directory / f"bridge-{n_dead_letters}"
        with Process("bridge", "run", environment=deployment.environment | settings, directory=work) as process:
            await topics.wait_for(deployment.dead_letters, n_dead_letters)
            process.send(signal.SIGTERM)
            assert await process.wait_for_end() == 0

    await deployment.create_topics()
    await command("list --reason nothing_yet")
    await topics.produce(deployment.transactions, _MISSING, _LARGE, _NOTHING)
    await answer(3, BRIDGE_MAX_RECORD_BYTES="1000")
    for line in ("list", "list --json", "list --reason missing_feature", "list --limit 1", "replay"):
        await command(line)
    outcome.n_transactions_before = len(await topics.read(deployment.transactions))
    await command("replay --reason record_too_large --yes")
    await command(f"replay --source {deployment.transactions}-1-0 --yes")
    await command(f"replay --reason empty_value --source {deployment.transactions}-1-0")
    await answer(4)
    await command("list --reason missing_feature --json")
    await command("replay --reason missing_feature")
    outcome.transactions = await topics.read(deployment.transactions)
    outcome.predictions = await topics.wait_for(deployment.predictions, 1)
    outcome.dead_letters = await topics.read(deployment.dead_letters)
    return outcome


def _place(outcome: Outcome, transaction_id: str) -> str:
    first = next(record for record in outcome.transactions if transaction_id.encode() in (record.value or b""))
    return f"{first.topic}-{first.partition}-{first.offset}"


def test_the_list_has_a_line_for_each_and_counts_the_reasons(outcome: Outcome) -> None:
    *letters, counts = outcome.lines("list")

    assert len(letters) == 3
    (missing,) = [line for line in letters if "  missing_feature  " in line]
    assert missing.endswith(f"  {_place(outcome, 'hopeless')}  The feature V1 is missing.")
    assert counts.startswith("3 dead letters in ")
    assert counts.endswith(": empty_value 1, missing_feature 1, record_too_large 1.")


def test_a_card_is_never_shown(outcome: Outcome) -> None:
    everything = "".join(outcome.printed.values())

    assert [secret for secret in ("card-1", "card-2", "4711", "till-7", "xxx") if secret in everything] == []


def test_for_programs_it_is_an_object_a_line(outcome: Outcome) -> None:
    letters = [json.loads(line) for line in outcome.lines("list --json")]

    assert {letter["reason"] for letter in letters} == {"empty_value", "missing_feature", "record_too_large"}
    assert all(set(letter) == {"time", "reason", "source", "message", "replayed_from"} for letter in letters)


def test_a_reason_selects(outcome: Outcome) -> None:
    (line, counts) = outcome.lines("list --reason missing_feature")

    assert "missing_feature" in line
    assert counts.endswith(": missing_feature 1.")


def test_a_limit_shows_the_newest_and_counts_all(outcome: Outcome) -> None:
    (line, counts) = outcome.lines("list --limit 1")

    assert line == outcome.lines("list")[2]
    assert counts.startswith("3 dead letters")


def test_an_empty_list_says_so(outcome: Outcome) -> None:
    (line,) = outcome.lines("list --reason nothing_yet")

    assert line.startswith("0 dead letters in ")


def test_without_yes_nothing_is_sent(outcome: Outcome) -> None:
    (line,) = outcome.lines("replay")

    assert line.startswith("3 records would be sent to ")
    assert line.endswith("nothing was. Add --yes to send.")
    assert outcome.n_transactions_before == 3


def test_a_selection_needs_both_its_reason_and_its_source(outcome: Outcome) -> None:
    (printed,) = [text for line, text in outcome.printed.items() if line.startswith("replay --reason empty_value")]

    assert printed.startswith("0 records would be sent")


def test_only_what_is_selected_is_sent(outcome: Outcome) -> None:
    assert outcome.printed["replay --reason record_too_large --yes"].startswith("1 records sent to ")
    assert len(outcome.transactions) == 5


@pytest.mark.parametrize("message", [_MISSING, _LARGE], ids=["missing feature", "too large"])
def test_a_record_is_sent_as_it_was_to_where_it_was(message: Message, outcome: Outcome) -> None:
    original, again = [record for record in outcome.transactions if record.value == message.value]

    assert (again.partition, again.key) == (original.partition, original.key)
    place = f"{original.topic}-{original.partition}-{original.offset}".encode()
    assert list(again.headers) == [*_HEADERS, ("neighborwatch-replayed-from", place)]


def test_a_record_that_can_be_read_now_is_scored(outcome: Outcome) -> None:
    assert ids(outcome.predictions) == ["large"]


def test_a_second_failure_is_recognisable(outcome: Outcome) -> None:
    letters = [json.loads(line) for line in outcome.lines("list --reason missing_feature --json")]

    assert [letter["replayed_from"] for letter in letters] == [None, _place(outcome, "hopeless")]


def test_a_record_that_failed_twice_is_sent_once(outcome: Outcome) -> None:
    assert outcome.printed["replay --reason missing_feature"].startswith("1 records, 1 of them not for the first time,")


def test_a_second_failure_has_its_headers_once(outcome: Outcome) -> None:
    names = [name for name, _ in outcome.dead_letters[-1].headers]
    again = [letter for letter in outcome.dead_letters if "neighborwatch-replayed-from" in dict(letter.headers)]

    assert len(again) == 1
    assert len(names) - len(_HEADERS) == len({name for name in names if name.startswith("neighborwatch-")}) or not names
