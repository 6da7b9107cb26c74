"""Where a scenario plays: a broker, topics, bridges on one group, traffic, a reader with a watch, and the audit."""

import asyncio
import contextlib
import json
import os
import random
import re
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bridge.produce import Row, read_rows
from chaos import outcome as outcomes
from chaos.markers import count_markers
from chaos.member import READY, Member
from chaos.observer import Observer
from chaos.outcome import Latency, Outcome, Resources
from chaos.proxy import ProxiedBroker, Proxies
from chaos.traffic import Traffic
from tests.integration.broker import KafkaBroker
from tests.integration.process import Process
from tests.integration.small_disk import SmallDiskBroker
from tests.integration.topics import Topics

_ROOT = Path(__file__).parents[1]
_SETTLE_SECONDS = 240.0
_SAMPLE_SECONDS = 5.0


@dataclass(frozen=True)
class Script:
    """How a scenario is set up; settings are of the bridges, beside those that every one has."""

    name: str
    claim: str
    n_bridges: int = 3
    n_running: int = 3
    n_partitions: int = 6
    rate_per_second: float = 500
    settings: Mapping[str, str] = field(default_factory=dict)
    guarantee: str = "exactly-once"
    expects_doubles: bool = False
    is_proxied: bool = False
    disk_mib: int | None = None
    module: str = "bridge"
    prediction_configuration: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Model:
    """What the bridges score with, and rows that suit it."""

    artifact: Path
    rows: Sequence[Mapping[str, Any]]


def shipped_model() -> Model:
    """The artifact and the sample that are shipped."""
    artifact = _ROOT / "model_artifacts" / "default"
    features = json.loads((artifact / "manifest.json").read_text(encoding="utf-8"))["feature_names"]
    read = read_rows(_ROOT / "data" / "sample_transactions.csv", features, "Class")
    return Model(artifact, [row.fields for row in read if isinstance(row, Row)])


class Stage:
    """What a scenario acts on."""

    def __init__(self, script: Script, model: Model, broker: KafkaBroker, directory: Path) -> None:
        self.script = script
        self.broker = broker
        self.directory = directory
        self.topics = Topics(broker.connection)
        self.random = random.Random(script.name)  # noqa: S311 # the same storm each time
        self.notes: list[str] = []
        self.n_broker_kills = 0
        self.proxies: Proxies | None = None
        self._model = model
        self._resources: list[Resources] = []
        self._started_at = time.monotonic()
        self._load_average = round(os.getloadavg()[0], 1)
        names = ("transactions", "predictions", "alerts", "dead-letters")
        self.transactions, self.predictions, self.alerts, self.dead_letters = map(self.topics.name, names)
        self.group = self.topics.name("bridges")
        self.members = [self._member(number) for number in range(script.n_bridges)]
        self.observer = Observer(broker.connection, self.predictions, script.n_partitions)
        self.traffic = Traffic(broker.connection, self.transactions, model.rows, script.rate_per_second)

    @property
    def environment(self) -> dict[str, str]:
        """Settings of every process."""
        return {
            "BRIDGE_BOOTSTRAP_SERVERS": self.broker.bootstrap,
            "BRIDGE_ARTIFACT": str(self._model.artifact),
            "BRIDGE_TRANSACTIONS_TOPIC": self.transactions,
            "BRIDGE_PREDICTIONS_TOPIC": self.predictions,
            "BRIDGE_ALERTS_TOPIC": self.alerts,
            "BRIDGE_DEAD_LETTER_TOPIC": self.dead_letters,
            "BRIDGE_GROUP_ID": self.group,
            "BRIDGE_PROCESSING_GUARANTEE": self.script.guarantee,
            "BRIDGE_SESSION_TIMEOUT_MS": "6000",
            "BRIDGE_HTTP_PORT": "0",
            # Three bridges share the processors with the broker and the traffic: one thread each, and none that spins.
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(_ROOT),  # for bridges of this package, which is not installed
            **self.script.settings,
        }

    @property
    def rows(self) -> Sequence[Mapping[str, Any]]:
        """Transactions that suit the model."""
        return self._model.rows

    def _member(self, number: int) -> Member:
        environment = self.environment
        if isinstance(self.broker, ProxiedBroker):
            environment["BRIDGE_BOOTSTRAP_SERVERS"] = self.broker.proxied[number]
        return Member(f"bridge-{number}", environment, self.directory, self.script.module)

    async def open(self) -> None:
        """Make the topics, start the first bridges, and wait until their answers come."""
        partitions = self.script.n_partitions
        await self.topics.create("transactions", "alerts", "dead-letters", partitions=partitions)
        configuration = self.script.prediction_configuration
        await self.topics.create("predictions", partitions=partitions, configuration=configuration)
        running = self.members[: self.script.n_running]
        for member in running:
            member.start()
        for member in running:
            await member.wait_until_ready()

    async def settle(self) -> None:
        """Wait until everything that was sent is committed."""
        deadline = time.monotonic() + _SETTLE_SECONDS
        while True:
            ends = await self.topics.end_offsets(self.transactions)
            committed = await self.topics.committed(self.group, self.transactions)
            behind = sum(end - (committed.get(partition) or 0) for partition, end in ends.items())
            if behind == 0:
                return
            if time.monotonic() > deadline:
                self.notes.append(f"{behind} transactions were not answered {_SETTLE_SECONDS:g} s after the last one.")
                return
            await asyncio.sleep(0.5)

    async def watch_resources(self) -> None:
        """Until it is cancelled."""
        while True:
            await asyncio.sleep(_SAMPLE_SECONDS)
            seconds = round(time.monotonic() - self._started_at, 1)
            for member in self.members:
                for resident, open_files in member.resources():
                    mib = round(resident / 2**20, 1)
                    self._resources.append(Resources(seconds, member.name, mib, open_files))

    async def outcome(self, seconds: float) -> Outcome:
        """Audit, and sum up."""
        verdict, prove_seconds, prove_mib = await self._prove()
        markers = count_markers(self.broker.data_directory)
        known = {"lost", "doubled", "out_of_order"}
        others = {report["defect"]: report["count"] for report in verdict["defects"] if report["defect"] not in known}
        if self.script.expects_doubles:
            is_as_expected = verdict["lost"] == 0 and verdict["doubled"] > 0
        else:
            is_as_expected = verdict["is_proved"]
        return Outcome(
            scenario=self.script.name,
            claim=self.script.claim,
            guarantee=self.script.guarantee,
            is_as_expected=bool(is_as_expected),
            seconds=round(seconds, 1),
            rate_per_second=self.script.rate_per_second,
            n_records=verdict["transactions"],
            n_kills=self.n_broker_kills + sum(member.n_kills for member in self.members),
            n_unasked_ends=sum(len(member.last_words) for member in self.members),
            n_rebalances=sum(member.count_in_logs(READY) for member in self.members),
            n_committed=markers.committed,
            n_aborted=markers.aborted,
            lost=verdict["lost"],
            doubled=verdict["doubled"],
            out_of_order=verdict["out_of_order"],
            other_defects=others,
            n_rescored=verdict["rescored"],
            longest_gap_seconds=round(self.observer.longest_gap_seconds, 2),
            longest_partition_gap_seconds=round(self.observer.longest_partition_gap_seconds, 2),
            latency=[Latency(round(p50, 1), round(p99, 1)) for p50, p99 in self.observer.latency_windows_ms],
            resources=self._resources,
            prove_seconds=round(prove_seconds, 1),
            prove_resident_mib=round(prove_mib, 1),
            last_words=[_without_names(words) for member in self.members for words in member.last_words],
            notes=self.notes,
            load_average=self._load_average,
            measured_at=outcomes.now(),
            machine=outcomes.this_machine(),
        )

    async def _prove(self) -> tuple[Any, float, float]:
        started = time.monotonic()
        allowance = ("--allow-doubles",) if self.script.guarantee == "at-least-once" else ()
        options = ("--json", "--rescore", "5000", *allowance)
        directory = self.directory / "prove"
        with Process("bridge", "prove", *options, environment=self.environment, directory=directory) as process:
            most_mib = 0.0
            while process.is_running:
                most_mib = max(most_mib, _most_resident_mib(process.pid))
                await asyncio.sleep(0.05)
            if not process.output:
                raise RuntimeError(f"The audit came to nothing: {process.log}")
            return json.loads(process.output), time.monotonic() - started, most_mib


@contextlib.asynccontextmanager
async def staged(script: Script, model: Model) -> AsyncIterator[Stage]:
    """A stage with a broker that runs; bridges and broker end with the context."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="neighborwatch-chaos-")))
        broker = stack.enter_context(_broker(script))
        stage = Stage(script, model, broker, directory)
        if isinstance(broker, ProxiedBroker):
            stage.proxies = stack.enter_context(Proxies(broker, directory / "toxiproxy.log"))
        for member in stage.members:
            stack.callback(member.close)
        yield stage


def _broker(script: Script) -> KafkaBroker:
    if script.disk_mib is not None:
        return SmallDiskBroker(script.disk_mib)
    return ProxiedBroker(script.n_bridges) if script.is_proxied else KafkaBroker()


def _most_resident_mib(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return 0.0
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else 0.0


def _without_names(words: str) -> str:
    """A last word without the names of this run's topics."""
    return re.sub(r"\b[0-9a-f]{8}-(?=[a-z])", "", words)
