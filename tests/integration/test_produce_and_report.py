"""A CSV file on its way: `produce` sends it, the bridge answers, `report` tells what came of it. All real processes."""

import asyncio
import csv
import gzip
import io
import json
import signal
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import matplotlib.image
import numpy as np
import pytest
from aiokafka import ConsumerRecord

from tests.artifacts import FRAUD, LEGITIMATE
from tests.integration.broker import Broker
from tests.integration.conftest import StartProcess
from tests.integration.deployment import READY, Deployment, transaction, values
from tests.integration.process import Process
from tests.integration.topics import Topics

_N_ROWS = 40
_N_FRAUD = 8
_BAD_LINES = (5, 9)


def _rows() -> list[dict[str, Any]]:
    """Every fifth row is a fraud, and one fraud looks legitimate; some have a card."""
    rows = []
    for number in range(_N_ROWS):
        is_fraud = number % 5 == 4
        fields = FRAUD if is_fraud and number != 4 else LEGITIMATE
        card = f"card-{number % 3}" if number % 2 else ""
        rows.append({**fields, "Class": int(is_fraud), "card_id": card, "shop": f"00{number}"})
    return rows


def _csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    lines = text.getvalue().splitlines()
    lines.insert(_BAD_LINES[0] - 1, "1,NaN,0,0,0,,")
    lines.insert(_BAD_LINES[1] - 1, "1,2")
    return "\n".join([*lines, ""])


@dataclass(frozen=True)
class Outcome:
    """What the processes printed, and what stands in the transactions topic."""

    produced: Process
    before: Process
    after: Process
    transactions: list[ConsumerRecord]
    started_at: datetime
    pictures: Path

    def sent(self) -> list[dict[str, Any]]:
        """In the order of the file."""
        records = sorted(self.transactions, key=lambda record: int(dict(record.headers)["csv-line"]))
        return values(records)


def _deployment(broker: Broker, artifact: Path) -> Deployment:
    return Deployment(Topics(broker.connection), artifact, is_embedded=not broker.supports_transactions)


@pytest.fixture
async def deployment(broker: Broker, artifact: Path) -> Deployment:
    deployment = _deployment(broker, artifact)
    await deployment.create_topics()
    return deployment


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "transactions.csv"
    path.write_text(_csv(_rows()), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def outcome(broker: Broker, artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """One file, produced, answered and reported; the tests look at what became of it."""
    return asyncio.run(_go_through(_deployment(broker, artifact), tmp_path_factory.mktemp("file")))


async def _go_through(deployment: Deployment, directory: Path) -> Outcome:
    file = directory / "transactions.csv"
    file.write_text(_csv(_rows()), encoding="utf-8")
    environment = deployment.environment
    await deployment.create_topics()

    async def run(name: str, exit_code: int, *arguments: str) -> Process:
        with Process("bridge", *arguments, environment=environment, directory=directory / name) as process:
            assert await process.wait_for_end() == exit_code, process.report()
            return process

    started_at = datetime.now(UTC)
    produced = await run("produce", 0, "produce", str(file))
    before = await run("before", 1, "report")
    with Process("bridge", "run", environment=environment, directory=directory / "run") as process:
        await deployment.wait_for_answers(_N_ROWS)
        process.send(signal.SIGTERM)
        assert await process.wait_for_end() == 0
    pictures = directory / "pictures"
    after = await run("after", 0, "report", "--labels", str(file), "--output", str(pictures))
    transactions = await deployment.topics.read(deployment.transactions)
    return Outcome(produced, before, after, transactions, started_at, pictures)


def test_every_good_row_is_sent(outcome: Outcome) -> None:
    assert outcome.produced.output.startswith(f"{_N_ROWS} transactions sent to ")
    assert len(outcome.transactions) == _N_ROWS


def test_bad_rows_are_told_with_their_line(outcome: Outcome) -> None:
    told = [line for line in outcome.produced.log.splitlines() if ", line " in line]

    assert [line.partition(", line ")[2] for line in told] == [
        f"{_BAD_LINES[0]}: V1 is not a finite number",
        f"{_BAD_LINES[1]}: 2 cells, the header has 7",
    ]
    assert outcome.produced.output.strip().endswith(", 2 bad rows.")


def test_the_label_never_leaves_the_file(outcome: Outcome) -> None:
    assert [value for value in outcome.sent() if "Class" in value] == []


def test_numbers_are_numbers_and_codes_keep_their_zeros(outcome: Outcome) -> None:
    assert [(value["V1"], value["shop"]) for value in outcome.sent()] == [(row["V1"], row["shop"]) for row in _rows()]


def test_every_transaction_has_a_uuid_of_its_own(outcome: Outcome) -> None:
    identifiers = {uuid.UUID(value["transaction_id"]) for value in outcome.sent()}

    assert len(identifiers) == _N_ROWS


def test_every_transaction_tells_when_it_was_received(outcome: Outcome) -> None:
    received = [datetime.fromisoformat(value["timestamp_received"]) for value in outcome.sent()]

    assert sorted(received) == received
    assert outcome.started_at < received[0]
    assert {instant.utcoffset() for instant in received} == {timedelta(0)}


def test_the_card_is_the_key_and_where_there_is_none_the_id(outcome: Outcome) -> None:
    for record in outcome.transactions:
        value = json.loads(record.value)
        assert record.key.decode() == value.get("card_id", value["transaction_id"])


def test_a_report_before_the_answers_is_not_complete(outcome: Outcome) -> None:
    assert f"NOT COMPLETE: {_N_ROWS} in, 0 predictions + 0 dead letters out." in outcome.before.output


def test_a_report_after_the_answers_is_complete(outcome: Outcome) -> None:
    assert f"\nComplete: {_N_ROWS} in, {_N_ROWS} predictions + 0 dead letters out." in outcome.after.output


def test_a_report_compares_alerts_with_labels(outcome: Outcome) -> None:
    assert f"{_N_FRAUD - 1} caught, 1 missed, 0 false" in outcome.after.output


def test_a_report_has_pictures(outcome: Outcome) -> None:
    names = ("stream.png", "latency.png", "scores.png")

    assert all(str(outcome.pictures / name) in outcome.after.output for name in names)
    assert [matplotlib.image.imread(outcome.pictures / name).shape[:2] for name in names] == [(600, 1000)] * 3


async def test_a_rate_is_not_exceeded(deployment: Deployment, file: Path, start_process: StartProcess) -> None:
    process = start_process("bridge", "produce", str(file), "--rate", "20", "--limit", "15", **deployment.environment)
    assert await process.wait_for_end() == 0

    sent = values(await deployment.topics.read(deployment.transactions))
    received = sorted(datetime.fromisoformat(value["timestamp_received"]) for value in sent)
    assert len(received) == 15
    assert (received[-1] - received[0]).total_seconds() >= 14 / 20 - 0.02


async def test_strict_stops_at_the_first_bad_row(
    deployment: Deployment, file: Path, start_process: StartProcess
) -> None:
    process = start_process("bridge", "produce", str(file), "--strict", **deployment.environment)

    assert await process.wait_for_end() == 1
    assert f"line {_BAD_LINES[0]}: V1 is not a finite number" in process.log
    assert len(await deployment.topics.read(deployment.transactions)) == _BAD_LINES[0] - 2


async def test_a_loop_goes_on_until_sigint(deployment: Deployment, tmp_path: Path, start_process: StartProcess) -> None:
    packed = tmp_path / "transactions.csv.gz"
    packed.write_bytes(gzip.compress(_csv(_rows()).encode()))
    process = start_process("bridge", "produce", str(packed), "--loop", "--rate", "500", **deployment.environment)
    await deployment.topics.wait_for(deployment.transactions, 2 * _N_ROWS + 1)

    process.send(signal.SIGINT)

    assert await process.wait_for_end() == 130
    n_sent = len(await deployment.topics.read(deployment.transactions))
    assert process.output.startswith(f"{n_sent:,} transactions sent")


async def test_a_missing_column_is_one_sentence(
    deployment: Deployment, tmp_path: Path, start_process: StartProcess
) -> None:
    file = tmp_path / "short.csv"
    file.write_text("Time,V1,Amount\n1,2,3\n", encoding="utf-8")
    process = start_process("bridge", "produce", str(file), **deployment.environment)

    assert await process.wait_for_end() == 1
    assert process.log.strip() == f"{file} has no column V2, which the model needs."


async def test_kafka_and_http_give_the_same_probability(
    deployment: Deployment, artifact: Path, start_process: StartProcess
) -> None:
    shares = np.random.default_rng(7).uniform(0.3, 0.7, size=(30, len(FRAUD)))
    fields = [
        {name: round(share * FRAUD[name], 3) for name, share in zip(FRAUD, row, strict=True)} for row in shares.tolist()
    ]
    bridge = start_process("bridge", "run", **deployment.environment)
    service = start_process("app", "serve", APP_ARTIFACT=str(artifact), APP_PORT="0")
    address = (await service.wait_for_log('"address": "([^"]+)"'))[1]
    await bridge.wait_for_log(READY)
    messages = [transaction(one, transaction_id=f"t-{number}") for number, one in enumerate(fields)]
    await deployment.topics.produce(deployment.transactions, *messages)
    answered = values(await deployment.wait_for_answers(len(fields)))

    async with httpx.AsyncClient(base_url=address, timeout=30) as client:
        while (await client.get("/health/ready")).status_code != 200:  # noqa: ASYNC110 - another process gives no event
            await asyncio.sleep(0.05)
        responses = [await client.post("/score", json=json.loads(message.value or b"")) for message in messages]

    scored = [response.json() for response in responses]
    by_http = {answer["transaction_id"]: answer["fraud_probability"] for answer in scored}
    assert {answer["transaction_id"]: answer["fraud_probability"] for answer in answered} == by_http
    assert {0 < probability < 1 for probability in by_http.values()} == {True, False}
