"""`python -m bridge produce`: streams the rows of a CSV file to the transactions topic, cleaned and at a rate."""

import argparse
import asyncio
import contextlib
import csv
import gzip
import math
import re
import sys
import time
import uuid
import zlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, NamedTuple, TypeVar

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from app.scoring.manifest import Manifest
from app.source import artifact_files
from bridge.connection import producing
from bridge.errors import DeliveryError, TransactionsFileError
from bridge.settings import Settings
from bridge.signals import stop_on_signal
from bridge.topics import prepare_topics

LINE_HEADER = "csv-line"
"""Header of a produced record: the line of the file it came from, to find its label again."""

_TEXT_COLUMNS = frozenset({"transaction_id", "card_id", "timestamp_received"})
_SCENARIO_COLUMN = "scenario"  # where made-up transactions say how a fraud was made: a label by another name
_UNCONFIRMED_LIMIT = 2_000
_TICK_SECONDS = 0.01
_JSON_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,14})([.][0-9]{1,17})?")  # what comes out of a double as it went in
_EXIT_CODE_INTERRUPTED = 130

_Word = TypeVar("_Word")


@dataclass(frozen=True)
class Plan:
    """What to stream, and how: rate_per_second 0 is as fast as the broker takes it, limit 0 is every row."""

    file: Path
    rate_per_second: float = 0.0
    limit: int = 0
    repeats: bool = False
    is_strict: bool = False
    label: str = "Class"


class Row(NamedTuple):
    """A row that can be streamed: its line, counted from 1 with the header, and its cleaned fields."""

    line: int
    fields: dict[str, float | str | msgspec.Raw]


class BadRow(NamedTuple):
    """A row that cannot: its line and why."""

    line: int
    reason: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("csv", type=Path, metavar="CSV", help="the file to stream, .csv or .csv.gz, with a header")
    parser.add_argument("--rate", type=positive, default=0.0, metavar="N", help="rows a second (as fast as possible)")
    parser.add_argument("--limit", type=count, default=0, metavar="N", help="stop after N rows (all)")
    parser.add_argument("--loop", action="store_true", help="start again at the end of the file, until Ctrl+C")
    parser.add_argument("--strict", action="store_true", help="stop at the first bad row instead of skipping it")
    parser.add_argument("--label", default="Class", metavar="COLUMN", help="label column, never sent (Class)")


def positive(text: str) -> float:
    """A number of the command line that has to be above 0."""
    number = float(text)
    if not (math.isfinite(number) and number > 0):
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return number


def count(text: str) -> int:
    """A whole number of the command line that has to be above 0."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return number


async def run(settings: Settings, plan: Plan) -> int:
    """Stream the file.

    Returns:
        0 when every row was sent or reported; 1 when a row was bad and the plan is strict; 130 when interrupted.

    Raises:
        TransactionsFileError: the file cannot be read or lacks a feature of the model.
        BridgeError: the broker cannot be used, or did not confirm a row.
    """
    features = (await asyncio.to_thread(_manifest, settings)).feature_names
    n_rows = await asyncio.to_thread(count_rows, plan.file, plan.limit)
    await prepare_topics(settings, [settings.transactions_topic])
    async with producing(settings) as producer:
        sender = _Sender(producer, settings.transactions_topic, settings.broker_timeout_seconds)
        stream = _Stream(plan, features, sender)
        with stop_on_signal(stream.request_stop), _progress(None if plan.repeats else n_rows) as progress:
            await stream.send_all(progress)
    print(  # noqa: T201 - the command's answer
        f"{stream.n_sent:,} transactions sent to {settings.transactions_topic}, {stream.n_bad:,} bad rows.", flush=True
    )
    return stream.exit_code


def _manifest(settings: Settings) -> Manifest:
    with artifact_files(settings.artifact) as files:
        return files.manifest()


def read_rows(path: Path, features: Sequence[str], label: str) -> Iterator[Row | BadRow]:
    """The rows of a CSV file with a header, cleaned: features become finite numbers, the label is left out.

    Columns that are no features travel on untouched: as a number where the cell is one in JSON, as text otherwise, so
    that a code with leading zeros keeps them.

    Raises:
        TransactionsFileError: the file cannot be read or lacks a feature.
    """
    with open_csv(path) as file:
        reader = csv.reader(file)
        header = next(reader, [])
        missing = [name for name in features if name not in header]
        if missing:
            raise TransactionsFileError(f"{path} has no column {', '.join(missing)}, which the model needs.")
        clean = _Cleaner(header, features, label)
        try:
            for cells in reader:
                if cells:
                    yield clean(reader.line_num, cells)
        except csv.Error as error:
            raise TransactionsFileError(f"{path}, line {reader.line_num}: {error}.") from error


class _Cleaner:
    def __init__(self, header: Sequence[str], features: Sequence[str], label: str) -> None:
        self._header = header
        self._features = frozenset(features)
        self._never_sent = {label, _SCENARIO_COLUMN} - self._features

    def __call__(self, line: int, cells: Sequence[str]) -> Row | BadRow:
        if len(cells) != len(self._header):
            return BadRow(line, f"{len(cells)} cells, the header has {len(self._header)}")
        fields: dict[str, float | str | msgspec.Raw] = {}
        for name, cell in zip(self._header, cells, strict=True):
            if name in self._never_sent:
                continue
            if name in self._features:
                number = _finite(cell)
                if number is None:
                    return BadRow(line, f"{name} is not a finite number")
                fields[name] = number
            elif name not in _TEXT_COLUMNS and _JSON_NUMBER.fullmatch(cell):
                fields[name] = msgspec.Raw(cell.encode())
            elif cell:
                fields[name] = cell
        return Row(line, fields)


class _Stream:
    """Sends the rows at the plan's rate until they end, the limit is reached, or a stop is requested."""

    def __init__(self, plan: Plan, features: Sequence[str], sender: "_Sender") -> None:
        self._plan = plan
        self._features = features
        self._sender = sender
        self._stop = asyncio.Event()
        self.n_sent = 0
        self.n_bad = 0
        self.exit_code = 0

    def request_stop(self) -> None:
        self.exit_code = _EXIT_CODE_INTERRUPTED
        self._stop.set()

    async def send_all(self, progress: Callable[[int], None]) -> None:
        started = time.monotonic()
        for row in self._rows():
            if isinstance(row, BadRow):
                self.n_bad += 1
                _console().print(
                    f"{self._plan.file}, line {row.line}: {row.reason}", highlight=False, markup=False, soft_wrap=True
                )
                if self._plan.is_strict:
                    self.exit_code = 1
                    break
                continue
            await self._wait_until_due(started)
            if self._stop.is_set():
                break
            await self._sender.send(row)
            self.n_sent += 1
            progress(self.n_sent)
            if self.n_sent == self._plan.limit:
                break
        await self._sender.confirmed()

    def _rows(self) -> Iterator[Row | BadRow]:
        n_sent_before = -1
        while self.n_sent > n_sent_before:  # a file without a good row ends even a loop
            n_sent_before = self.n_sent
            yield from read_rows(self._plan.file, self._features, self._plan.label)
            if not self._plan.repeats:
                return

    async def _wait_until_due(self, started: float) -> None:
        rate = self._plan.rate_per_second
        ahead = started + self.n_sent / rate - time.monotonic() if rate else 0.0
        if ahead > _TICK_SECONDS:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), ahead)


class _Sender:
    """Sends rows as transactions, with a bound on those that the broker has not confirmed yet."""

    def __init__(self, producer: AIOKafkaProducer, topic: str, timeout_seconds: float) -> None:
        self._producer = producer
        self._topic = topic
        self._timeout_seconds = timeout_seconds
        self._encoder = msgspec.json.Encoder()
        self._unconfirmed: list[asyncio.Future[object]] = []

    async def send(self, row: Row) -> None:
        transaction_id = str(row.fields.get("transaction_id") or uuid.uuid4())
        message = row.fields | {
            "transaction_id": transaction_id,
            "timestamp_received": datetime.now(UTC).isoformat(),
        }
        future = await self._in_time(
            self._producer.send(
                self._topic,
                self._encoder.encode(message),
                key=str(row.fields.get("card_id") or transaction_id).encode(),
                headers=[(LINE_HEADER, str(row.line).encode())],
            )
        )
        self._unconfirmed.append(future)
        if len(self._unconfirmed) >= _UNCONFIRMED_LIMIT:
            await self.confirmed()

    async def confirmed(self) -> None:
        """Wait for the broker's word on every transaction so far.

        Raises:
            DeliveryError: it did not come, or it was no.
        """
        await self._in_time(asyncio.gather(*self._unconfirmed))
        self._unconfirmed.clear()

    async def _in_time(self, word: Awaitable[_Word]) -> _Word:
        try:
            return await asyncio.wait_for(word, self._timeout_seconds)
        except (TimeoutError, KafkaError) as error:
            raise DeliveryError(
                f"The broker did not confirm up to {len(self._unconfirmed) + 1} transactions ({type(error).__name__})."
            ) from error


@contextlib.contextmanager
def _progress(n_rows: int | None) -> Iterator[Callable[[int], None]]:
    columns = (TextColumn("streaming"), BarColumn(), MofNCompleteColumn(), _RateColumn(), TimeRemainingColumn())
    with Progress(*columns, console=_console(), disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("streaming", total=n_rows)
        yield lambda n_sent: progress.update(task, completed=n_sent)


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f} transactions/s" if task.speed else "")


def _console() -> Console:
    return Console(stderr=True)


def count_rows(file: Path, limit: int = 0) -> int:
    """Rows of the file, without its header; at most limit if there is one."""
    with open_csv(file) as lines:
        n_rows = max(sum(1 for _ in lines) - 1, 0)
    return min(n_rows, limit) if limit else n_rows


@contextlib.contextmanager
def open_csv(path: Path) -> Iterator[IO[str]]:
    """Open a CSV or CSV.gz file.

    Raises:
        TransactionsFileError: it cannot be read as text; also while it is read.
    """
    try:
        # Spreadsheets put a mark before the first column's name, which utf-8-sig leaves out.
        opening = gzip.open if path.suffix == ".gz" else open
        with opening(path, "rt", newline="", encoding="utf-8-sig") as file:
            yield file
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise TransactionsFileError(f"{path} cannot be read as text: {error}.") from error


def _finite(cell: str) -> float | None:
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
