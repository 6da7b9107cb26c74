"""`python -m bridge demo`: everything on one machine, one command, every process a real one.

A broker (the embedded one, or the one that BRIDGE_BOOTSTRAP_SERVERS names), the scoring service, the bridge and the
alert consumer are started; the sample streams through them; then the sums are checked and pictures drawn. On somebody's
own broker the topics get names of their own and are deleted at the end.
"""

import argparse
import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bridge.connection import connection_arguments, producing
from bridge.embedded import embedded_broker, free_port
from bridge.pictures import draw_stream
from bridge.processes import LogTail, ProcessError, Processes
from bridge.produce import count, count_rows, positive
from bridge.settings import Settings
from bridge.signals import stop_on_signal
from bridge.stream import StreamReader, frauds_by_label, reading
from bridge.summary import summary
from bridge.topics import prepare_topics

_LABEL = "Class"
_HOST = "127.0.0.1"
_GIVE_UP_SECONDS = 60.0
_SETTLED_SECONDS = 1.0
_EXIT_CODE_INTERRUPTED = 130
_EMBEDDED_FETCH_WAIT_MS = 10  # the embedded broker lets a record wait for half of it
_TOPIC_SETTINGS = (
    "transactions_topic",
    "predictions_topic",
    "alerts_topic",
    "dead_letter_topic",
    "alerts_dead_letter_topic",
)
_OTHER_SETTINGS = (
    "bootstrap_servers",
    "group_id",
    "alerts_group_id",
    "create_topics",
    "fetch_max_wait_ms",
    "http_host",
    "http_port",
    "alerts_http_port",
    "processed_topic",
    "processing_guarantee",
    "producer_idempotence",
)
# Sent behind the transactions, to show what becomes of records that cannot be read.
_BROKEN_RECORDS = (b"this is not JSON", b'{"Time": 0, "Amount": NaN}', b'{"Time": 0, "Amount": 12.5}')


@dataclass(frozen=True)
class Plan:
    """What to show: rate_per_second transactions of the file, at most limit of them (0: all)."""

    file: Path
    rate_per_second: float
    limit: int
    output: Path
    keeps_running: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--csv", type=Path, default=Path("data/sample_transactions.csv"), help="what to stream")
    parser.add_argument("--rate", type=positive, default=500.0, metavar="N", help="transactions a second (500)")
    parser.add_argument("--limit", type=count, default=0, metavar="N", help="stop after N transactions (all)")
    parser.add_argument("--output", type=Path, default=Path("demo-output"), help="pictures and logs (demo-output)")
    parser.add_argument("--keep", action="store_true", help="leave everything running until Ctrl+C")


async def run(settings: Settings, plan: Plan) -> int:
    """Show it.

    Returns:
        0 when every transaction was answered or is a dead letter, 1 when not, 130 when interrupted.

    Raises:
        BridgeError: something did not start or ended early; its message says which log to read.
    """
    console = Console()
    show = asyncio.create_task(_show(settings, plan, console))

    def interrupt() -> None:
        show.cancel()

    with stop_on_signal(interrupt):
        try:
            return await show
        except asyncio.CancelledError:
            console.print("Interrupted; everything is ended.")
            return _EXIT_CODE_INTERRUPTED


async def _show(given: Settings, plan: Plan, console: Console) -> int:
    n_rows = await asyncio.to_thread(count_rows, plan.file, plan.limit)
    plan.output.mkdir(parents=True, exist_ok=True)
    async with contextlib.AsyncExitStack() as stack:
        console.print(f"[bold]Neighborwatch[/bold] streams {plan.file} (logs and pictures: {plan.output}/)")
        settings = await stack.enter_async_context(_broker(given, plan, console))
        service_port = free_port()
        processes = await stack.enter_async_context(_processes(settings, service_port, plan.output))
        bridge_address, service_address = (f"http://{_HOST}:{port}" for port in (settings.http_port, service_port))
        console.print(f"Live page, once it is ready: {bridge_address}/")
        console.print("Waiting for the scoring service, the bridge and the alert consumer …")
        await processes.wait_until_ready("service", service_address)
        await processes.wait_until_ready("bridge", bridge_address)
        reader = await stack.enter_async_context(reading(settings, arrives_now=True))
        with _screen(console, n_rows, reader, processes) as screen:
            await _stream(settings, plan, processes, screen)
        await _conclude(settings, plan, reader, console)
        if plan.keeps_running:
            console.print(f"Everything keeps running on the broker at {settings.bootstrap_servers}; Ctrl+C ends it.")
            console.print(f"Watch it live: {bridge_address}/")
            console.print(f"Score a transaction yourself: {service_address}/docs")
            console.print(f"Metrics: {bridge_address}/metrics and {service_address}/metrics", soft_wrap=True)
            with contextlib.suppress(asyncio.CancelledError):  # the way to end it, no interruption
                await asyncio.Event().wait()
            return _exit_code(reader)
        console.print(
            f"The live page was at {bridge_address}/, the service at {service_address}/docs, metrics at "
            f"{bridge_address}/metrics and {service_address}/metrics; `make demo KEEP=1` leaves them open.",
            soft_wrap=True,
        )
    return _exit_code(reader)


def _exit_code(reader: StreamReader) -> int:
    return 0 if reader.stream.is_complete else 1


@contextlib.asynccontextmanager
async def _broker(given: Settings, plan: Plan, console: Console) -> AsyncIterator[Settings]:
    """The settings of the demo's processes, on a broker whose topics are there while the context lasts."""
    ports = {"http_port": free_port(), "alerts_http_port": free_port()}
    ours = {"http_host": _HOST, **ports, "create_topics": True, "processed_topic": ""}
    if "bootstrap_servers" in given.model_fields_set:
        prefix = f"neighborwatch-demo-{secrets.token_hex(3)}-"
        names = {name: prefix + getattr(given, name) for name in (*_TOPIC_SETTINGS, "group_id", "alerts_group_id")}
        settings = given.model_copy(update=ours | names)
        console.print(f"Broker: {settings.bootstrap_servers}; topics {prefix}…, deleted at the end")
        await prepare_topics(settings, _topics(settings))
        try:
            yield settings
        finally:
            await _delete_topics(settings, console)
        return
    with embedded_broker(plan.output / "broker.log") as address:
        # The embedded broker knows neither idempotent producers nor transactions.
        can = {
            "processing_guarantee": "at-least-once",
            "producer_idempotence": False,
            "fetch_max_wait_ms": _EMBEDDED_FETCH_WAIT_MS,
        }
        settings = given.model_copy(update=ours | can | {"bootstrap_servers": address})
        console.print(f"Broker: the embedded one at {address}, in memory, delivery at-least-once")
        await prepare_topics(settings, _topics(settings))
        yield settings


def _topics(settings: Settings) -> list[str]:
    return [getattr(settings, name) for name in _TOPIC_SETTINGS]


async def _delete_topics(settings: Settings, console: Console) -> None:
    admin = AIOKafkaAdminClient(**connection_arguments(settings))
    try:
        await admin.start()
        answer = await admin.delete_topics(_topics(settings))
        remaining = [topic for topic, code in answer.topic_error_codes if code != 0]
    except (KafkaError, OSError):
        remaining = _topics(settings)
    finally:
        await admin.close()
    if remaining:
        console.print(f"The broker did not delete {', '.join(remaining)}; please delete them.", soft_wrap=True)


@contextlib.asynccontextmanager
async def _processes(settings: Settings, service_port: int, directory: Path) -> AsyncIterator[Processes]:
    names = (*_TOPIC_SETTINGS, *_OTHER_SETTINGS)
    environment = {f"BRIDGE_{name.upper()}": str(getattr(settings, name)) for name in names}
    environment |= {
        "APP_HOST": _HOST,
        "APP_PORT": str(service_port),
        "APP_ARTIFACT": str(settings.artifact),
        "APP_THRESHOLD": str(settings.threshold),
        "BRIDGE_SERVICE_URL": f"http://{_HOST}:{service_port}",
    }
    processes = Processes(environment, directory)
    try:
        processes.start("service", "app", "serve")
        processes.start("bridge", "bridge", "run")
        processes.start("alerts", "bridge", "alerts")
        yield processes
    finally:
        await asyncio.to_thread(processes.end_all)  # in a thread, so that a second Ctrl+C is heard


async def _stream(settings: Settings, plan: Plan, processes: Processes, screen: "_Screen") -> None:
    """Stream the file and show what comes of it, until every transaction is answered and nothing more comes."""
    limit = ("--limit", str(plan.limit)) if plan.limit else ()
    processes.start("producer", "bridge", "produce", str(plan.file), "--rate", str(plan.rate_per_second), *limit)
    while not processes.has_ended("producer"):
        await screen.follow()
        _check(processes)
    await _send_broken_records(settings)
    screen.expect_dead_letters(len(_BROKEN_RECORDS))
    while not screen.is_settled:
        await screen.follow()
        _check(processes)
        if screen.quiet_seconds > _GIVE_UP_SECONDS:
            raise ProcessError(f"Nothing came for {_GIVE_UP_SECONDS:g} s; the logs are in {plan.output}.")


@contextlib.contextmanager
def _screen(console: Console, n_rows: int, reader: StreamReader, processes: Processes) -> Iterator["_Screen"]:
    columns = (TextColumn("answered"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[alerts]} alerts"))
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        yield _Screen(progress, n_rows, reader, LogTail(processes.log_file("alerts")))


def _check(processes: Processes) -> None:
    for name in ("service", "bridge", "alerts"):
        if processes.has_ended(name):
            raise ProcessError(f"{name} ended before the demo did; its log is {processes.log_file(name)}.")


class _Screen:
    """Shows the answers and alerts as they come."""

    def __init__(self, progress: Progress, n_rows: int, reader: StreamReader, alerts: LogTail) -> None:
        self._progress = progress
        self._task = progress.add_task("answered", total=n_rows, alerts=0)
        self._reader = reader
        self._alerts = alerts
        self._n_alerts = 0
        self._n_dead_letters_expected = 0
        self._seen = (0, 0, 0)
        self._changed_at = time.monotonic()

    async def follow(self) -> None:
        await self._reader.read_some()
        for fact in self._alerts.new_facts():
            if fact.get("event") == "fraud alert":
                self._n_alerts += 1
                self._progress.console.print(_alert_line(fact), highlight=False, soft_wrap=True)
        stream = self._reader.stream
        self._progress.update(self._task, completed=len(stream.answered), alerts=self._n_alerts)
        seen = (len(stream.transactions), stream.n_outputs, self._n_alerts)
        if seen != self._seen:
            self._seen = seen
            self._changed_at = time.monotonic()

    def expect_dead_letters(self, count: int) -> None:
        """Be settled only behind this many more, however long it was quiet before them."""
        self._n_dead_letters_expected = count
        self._changed_at = time.monotonic()

    @property
    def quiet_seconds(self) -> float:
        return time.monotonic() - self._changed_at

    @property
    def is_settled(self) -> bool:
        stream = self._reader.stream
        has_dead_letters = stream.dead_letters.total() >= self._n_dead_letters_expected
        has_alerts = self._n_alerts >= stream.n_alerts
        return stream.is_complete and has_dead_letters and has_alerts and self.quiet_seconds > _SETTLED_SECONDS


def _alert_line(fact: Mapping[str, Any]) -> str:
    style = "bold red" if fact["severity"] == "critical" else "red"
    amount = f"{fact['Amount']:>9,.2f} EUR, " if "Amount" in fact else ""
    if "raised_by" in fact:  # a model without neighbours
        decided = f"raised by {', '.join(fact['raised_by']) or 'no single feature'}"
    else:
        decided = f"{fact['frauds_among_neighbors']} nearest are fraud"
    return (
        f"[{style}]{fact['severity']:>8}[/]  {amount}probability {fact['fraud_probability']:.3f}, "
        f"{decided}, transaction {fact['transaction_id']}"
    )


async def _send_broken_records(settings: Settings) -> None:
    async with producing(settings) as producer:
        for record in _BROKEN_RECORDS:
            await producer.send_and_wait(settings.transactions_topic, record)


async def _conclude(settings: Settings, plan: Plan, reader: StreamReader, console: Console) -> None:
    reader.stream.fraud_sources = frauds_by_label(reader.lines, plan.file, _LABEL)
    pictures = await asyncio.to_thread(draw_stream, reader.stream, settings.threshold, plan.output)
    console.print(summary(reader.stream))
    console.print(f"Pictures: {', '.join(str(picture) for picture in pictures)}", soft_wrap=True)
