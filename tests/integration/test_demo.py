"""The demo as a user starts it: it shows everything, says so with its exit code, and leaves nothing behind."""

import asyncio
import os
import re
import signal
from pathlib import Path

import matplotlib.image
import psutil
import pytest

from tests.artifacts import FRAUD, LEGITIMATE
from tests.integration.broker import Broker
from tests.integration.conftest import StartProcess
from tests.integration.process import Process
from tests.integration.topics import Topics

_N_ROWS = 60
_BROKEN = 3  # the demo sends records that cannot be read behind the file's rows


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Sixty transactions, every tenth a fraud."""
    path = tmp_path / "transactions.csv"
    rows = [(FRAUD if number % 10 == 9 else LEGITIMATE, int(number % 10 == 9)) for number in range(_N_ROWS)]
    lines = [",".join([*map(str, fields.values()), str(label), "card-1"]) for fields, label in rows]
    path.write_text("\n".join([",".join([*LEGITIMATE, "Class", "card_id"]), *lines, ""]), encoding="utf-8")
    return path


def _left_behind(process: Process) -> list[str]:
    """Everything that the demo starts works in its directory."""
    directory = str(process.log_file.parent)
    found = []
    for running in psutil.process_iter():
        try:
            is_the_tests_own = os.getpgid(running.pid) == process.pid
            if running.cwd() == directory and running.status() != psutil.STATUS_ZOMBIE and not is_the_tests_own:
                found.append(" ".join(running.cmdline()))
        except (psutil.Error, ProcessLookupError):
            continue
    return found


async def _demo_topics(broker: Broker) -> set[str]:
    async with Topics(broker.connection)._admin() as admin:
        return {name for name in await admin.list_topics() if name.startswith("neighborwatch-demo-")}


async def _until_nothing_is_left(process: Process) -> None:
    while _left_behind(process):  # noqa: ASYNC110 - the system tells no event; pytest's timeout ends a vain wait
        await asyncio.sleep(0.05)


async def test_it_streams_sums_and_draws_on_the_embedded_broker(
    file: Path, artifact: Path, start_process: StartProcess
) -> None:
    process = start_process(
        "bridge", "demo", "--csv", str(file), "--limit", "50", "--rate", "200", BRIDGE_ARTIFACT=str(artifact)
    )

    assert await process.wait_for_end(120) == 0
    assert f"Complete: {50 + _BROKEN} in, 50 predictions + {_BROKEN} dead letters out." in process.output
    assert re.search(r"alerts +5\b", process.output)
    assert "5 caught, 0 missed, 0 false" in process.output
    assert process.output.count("5 of 5 nearest are fraud") == 5
    assert re.search(r"p50 [0-9,.]+ ms, p95 [0-9,.]+ ms, p99 [0-9,.]+ ms", process.output)
    assert re.search(r"http://127\.0\.0\.1:\d+/docs", process.output)
    assert re.search(r"The live page was at http://127\.0\.0\.1:\d+/,", process.output)
    pictures = [process.log_file.parent / "demo-output" / f"{name}.png" for name in ("stream", "latency", "scores")]
    assert [matplotlib.image.imread(picture).shape[:2] for picture in pictures] == [(600, 1000)] * 3
    await _until_nothing_is_left(process)


async def test_a_demo_that_is_kept_ends_with_sigint_and_leaves_nothing(
    file: Path, artifact: Path, start_process: StartProcess
) -> None:
    process = start_process(
        "bridge", "demo", "--csv", str(file), "--limit", "5", "--rate", "200", "--keep", BRIDGE_ARTIFACT=str(artifact)
    )
    while "Everything keeps running" not in process.output:
        assert process.is_running
        await asyncio.sleep(0.1)
    assert len(_left_behind(process)) > 4

    process.send(signal.SIGINT)

    assert await process.wait_for_end() == 0
    await _until_nothing_is_left(process)


async def test_a_demo_that_is_interrupted_on_a_given_broker_deletes_its_topics(
    broker: Broker, file: Path, artifact: Path, start_process: StartProcess
) -> None:
    before = await _demo_topics(broker)
    process = start_process(
        "bridge",
        "demo",
        "--csv",
        str(file),
        "--rate",
        "1",
        BRIDGE_ARTIFACT=str(artifact),
        BRIDGE_BOOTSTRAP_SERVERS=broker.bootstrap,
        BRIDGE_PRODUCER_IDEMPOTENCE=str(broker.supports_transactions),
    )
    producer_log = process.log_file.parent / "demo-output" / "producer.log"
    while not producer_log.exists():
        assert process.is_running
        await asyncio.sleep(0.1)
    assert len(await _demo_topics(broker) - before) == 5

    process.send(signal.SIGINT)

    assert await process.wait_for_end() == 130
    assert "Interrupted; everything is ended." in process.output
    assert await _demo_topics(broker) - before == set()
    await _until_nothing_is_left(process)
