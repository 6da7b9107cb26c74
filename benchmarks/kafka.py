"""One real Apache Kafka for all contestants, topics on it, and streams that are processes."""

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from benchmarks.environments import PeerMissingError, python_of, versions_of
from benchmarks.figures import Ratio, Recorder, Result
from benchmarks.machine import ROOT, clean_environment, commit, machine, now, versions
from benchmarks.workload import Workload
from bridge.embedded import end_tied, start_tied
from tests.integration.broker import KafkaBroker, kafka_version, tail
from tests.integration.topics import Topics

PARTITIONS = 3

_MAX_BATCH_BYTES = 900_000
_BATCH_RECORDS = 500
_SAMPLE_SECONDS = 0.02
_GRACE_SECONDS = 10.0


class StreamError(Exception):
    """A contestant's stream ended or stood still; the message has the end of its log."""


class BenchmarkBroker(KafkaBroker):
    """The broker of the integration tests with what it has in production: its own collector, compiler and a heap."""

    def command(self) -> list[str]:
        slow = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
        java, *rest = [part for part in super().command() if part not in slow]
        return [java, "-Xms1g", "-Xmx1g", *rest]


@dataclass(frozen=True)
class Lane:
    """Where one run of one contestant reads and writes, and as whom."""

    bootstrap: str
    source: str
    target: str
    group: str

    @property
    def arguments(self) -> list[str]:
        return [self.bootstrap, self.source, self.target, self.group]


@dataclass(frozen=True)
class Contestant:
    """A stream processor: its interpreter, its arguments and its settings for a lane."""

    name: str
    python: Path | str
    arguments: Callable[[Lane], list[str]]
    settings: Callable[[Lane], Mapping[str, str]]
    versions: Mapping[str, str]


def ours(workload: Workload, name: str, guarantee: str, **more: str) -> Contestant:
    def settings(lane: Lane) -> dict[str, str]:
        return {
            "BRIDGE_BOOTSTRAP_SERVERS": lane.bootstrap,
            "BRIDGE_TRANSACTIONS_TOPIC": lane.source,
            "BRIDGE_PREDICTIONS_TOPIC": lane.target,
            "BRIDGE_ALERTS_TOPIC": f"{lane.target}-alerts",
            "BRIDGE_DEAD_LETTER_TOPIC": f"{lane.target}-dead-letters",
            "BRIDGE_GROUP_ID": lane.group,
            "BRIDGE_ARTIFACT": str(workload.artifact),
            "BRIDGE_PROCESSING_GUARANTEE": guarantee,
            "BRIDGE_CREATE_TOPICS": "true",
            "BRIDGE_HTTP_PORT": "0",
            **more,
        }

    return Contestant(
        name, sys.executable, lambda _: ["bridge", "run"], settings, versions("aiokafka", "numpy", "scikit-learn")
    )


def passthrough(name: str, way: str) -> Contestant:
    """Bytes are copied, in the `way` that `benchmarks.peers.passthrough` knows."""
    return Contestant(
        name,
        sys.executable,
        lambda lane: ["benchmarks.peers.passthrough", *lane.arguments, way],
        lambda _: {},
        versions("aiokafka"),
    )


def peer(workload: Workload, kind: str, *, with_model: bool) -> Contestant:
    """FastStream or Quix Streams, with scikit-learn's model or without any scoring.

    Raises:
        PeerMissingError: it cannot be installed.
    """
    arrays = str(workload.arrays) if with_model else ""
    names = json.dumps(list(workload.feature_names))
    package = {"faststream": "faststream", "quix": "quixstreams"}[kind]
    title = {"faststream": "FastStream", "quix": "Quix Streams exactly-once"}[kind]
    return Contestant(
        f"{title}, {'scikit-learn model' if with_model else 'no scoring'}",
        python_of(kind),
        lambda lane: [f"benchmarks.peers.{kind}.stream", *lane.arguments, arrays, names],
        lambda _: {},
        versions_of(kind, package, "scikit-learn", "numpy"),
    )


def peers(workload: Workload, wanted: Sequence[tuple[str, bool]], notes: list[str]) -> list[Contestant]:
    """Those that can be had; a note for each that cannot."""
    contestants = []
    for kind, with_model in wanted:
        try:
            contestants.append(peer(workload, kind, with_model=with_model))
        except PeerMissingError as error:
            notes.append(f"Not measured: {error}")
    return contestants


@contextmanager
def running(contestant: Contestant, lane: Lane) -> Iterator[Callable[[], None]]:
    """Run a contestant; the value raises StreamError once it has ended."""
    with tempfile.TemporaryDirectory(prefix="neighborwatch-stream-") as directory:
        log = Path(directory) / "log"
        with log.open("wb") as output:
            process = start_tied(
                [str(contestant.python), "-m", *contestant.arguments(lane)],
                output.fileno(),
                clean_environment(**contestant.settings(lane)),
                directory=ROOT,
            )

        def check() -> None:
            if process.poll() is not None:
                raise StreamError(f"{contestant.name} ended with code {process.returncode}: {tail(log, 5)}")

        try:
            yield check
        finally:
            end_tied(process, _GRACE_SECONDS)


class Stage:
    """Topics on the broker: filled ones to read from, fresh ones to write to."""

    def __init__(self, broker: BenchmarkBroker) -> None:
        self._topics = Topics(broker.connection)
        self._bootstrap = broker.bootstrap
        self._n_lanes = 0

    async def filled(self, bodies: Sequence[bytes], n_records: int) -> str:
        """A topic with so many transactions, spread evenly over its partitions."""
        (topic,) = await self._topics.create(f"transactions-{n_records}", partitions=PARTITIONS)
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap,
            acks="all",
            max_batch_size=_MAX_BATCH_BYTES,
            max_request_size=2 * _MAX_BATCH_BYTES,
        )
        async with producer:
            for first in range(0, n_records, _BATCH_RECORDS):
                batch = producer.create_batch()
                for number in range(first, min(first + _BATCH_RECORDS, n_records)):
                    key = b"card-%d" % (number % 9973)
                    batch.append(timestamp=None, key=key, value=bodies[number % len(bodies)])
                await producer.send_batch(batch, topic, partition=first // _BATCH_RECORDS % PARTITIONS)
            await producer.flush()
        return topic

    async def lane(self, source: str = "") -> Lane:
        """A lane from this topic, or from an empty one, to a fresh one."""
        self._n_lanes += 1
        nouns = [f"{noun}-{self._n_lanes}" for noun in (("predictions",) if source else ("predictions", "source"))]
        target, *sources = await self._topics.create(*nouns, partitions=PARTITIONS)
        return Lane(self._bootstrap, source or sources[0], target, self._topics.name(f"group-{self._n_lanes}"))

    async def records_per_second(self, lane: Lane, n_records: int, check: Callable[[], None], limit: float) -> float:
        """How fast the target fills, from its first tenth to 95 %: starting and stopping are not measured.

        What is written counts at once, whether its transaction is committed or not, so that a contestant that commits
        every few seconds is measured as finely as one that commits every few milliseconds.

        Raises:
            StreamError: the contestant ended, or did not fill the target within the limit in seconds.
        """
        consumer = AIOKafkaConsumer(bootstrap_servers=self._bootstrap)
        partitions = [TopicPartition(lane.target, number) for number in range(PARTITIONS)]
        first: tuple[float, int] | None = None
        written, started = 0, time.monotonic()
        async with consumer:
            while time.monotonic() - started < limit:
                check()
                written = sum(map(int, (await consumer.end_offsets(partitions)).values()))
                now = time.monotonic()
                if first is None and written >= n_records * 0.1:
                    first = now, written
                if first is not None and written >= n_records * 0.95 and now > first[0]:
                    return (written - first[1]) / (now - first[0])
                await asyncio.sleep(_SAMPLE_SECONDS)
        raise StreamError(f"The target had {written:,} of {n_records:,} records after {limit:g} s.")

    async def count(self, lane: Lane, at_least: int) -> int:
        """Committed records of the target, read once all are there or nothing comes any more."""
        consumer = AIOKafkaConsumer(
            lane.target,
            bootstrap_servers=self._bootstrap,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
        )
        n_read, last_news = 0, time.monotonic()
        async with consumer:
            while n_read < at_least and time.monotonic() - last_news < _GRACE_SECONDS:
                polled = await consumer.getmany(timeout_ms=200)
                if polled:
                    n_read += sum(map(len, polled.values()))
                    last_news = time.monotonic()
        return n_read


def result(  # noqa: PLR0913 - what was measured of whom, on what, and what follows
    benchmark: str,
    workload: Workload,
    contestants: Sequence[Contestant],
    recorder: Recorder,
    ratios: list[Ratio],
    *,
    is_quick: bool,
) -> Result:
    """What is kept of a benchmark on this broker."""
    broker = f"Apache Kafka {kafka_version()}, one node on the same machine, {PARTITIONS} partitions"
    return Result(
        benchmark=benchmark,
        made_at=now(),
        commit=commit(),
        is_quick=is_quick,
        machine=machine() | {"broker": broker},
        data_set=workload.data_set,
        contestants={each.name: dict(each.versions) for each in contestants},
        figures=recorder.figures(),
        ratios=ratios,
        notes=recorder.notes,
    )
