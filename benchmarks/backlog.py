"""Memory that must not depend on how much there is: of a bridge with few or a million waiting, and of the audit."""

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks import kafka
from benchmarks.bridge_throughput import EXACTLY
from benchmarks.figures import Ratio, Recorder, Result
from benchmarks.kafka import BenchmarkBroker, Contestant, Lane, Stage, StreamError
from benchmarks.machine import ROOT, clean_environment
from benchmarks.progress import rounds, tell
from benchmarks.workload import Workload, prepare

BRIDGE, AUDIT, AUDIT_SECONDS = "most memory of a bridge", "most memory of an audit", "an audit"

_LIMIT_SECONDS = 180.0
_SAMPLE_SECONDS = 0.05


@dataclass(frozen=True)
class Plan:
    """Rounds, and how many transactions wait: few, and many."""

    rounds: int
    few: int
    many: int


_FULL = Plan(rounds=3, few=10_000, many=1_000_000)
_QUICK = Plan(rounds=1, few=10_000, many=100_000)


def run(work: Path, *, is_quick: bool) -> Result:
    plan = _QUICK if is_quick else _FULL
    tell("backlog: preparing the model and the transactions")
    workload = prepare(work)
    recorder = Recorder()
    contestant = kafka.ours(workload, EXACTLY, "exactly-once")
    with BenchmarkBroker() as broker:
        asyncio.run(_measure(Stage(broker), workload, contestant, plan, recorder))
    ratios = [_ratio(recorder, name, plan, must) for name, must in ((BRIDGE, 1.1), (AUDIT, 1.25))]
    return kafka.result("backlog", workload, [contestant], recorder, ratios, is_quick=is_quick)


def _ratio(recorder: Recorder, name: str, plan: Plan, must: float) -> Ratio:
    few, many = _transactions(plan.few), _transactions(plan.many)
    return Ratio(
        name=name,
        spread=recorder.ratio((name, many), (name, few)),
        must=must,
        aim=1.05,
        better="less",
        compared=f"{many} / {few}",
    )


def _transactions(count: int) -> str:
    return f"{count:,} transactions"


async def _measure(stage: Stage, workload: Workload, contestant: Contestant, plan: Plan, recorder: Recorder) -> None:
    tell(f"backlog: filling topics with {plan.few:,} and {plan.many:,} transactions")
    bodies = workload.bodies(len(workload.later.labels))
    sources = {count: await stage.filled(bodies, count) for count in (plan.few, plan.many)}
    for _ in rounds(plan.rounds, "backlog"):
        for count, source in sources.items():
            lane = await stage.lane(source)
            with kafka.running(contestant, lane) as check:
                memory = _Memory(check)
                await stage.records_per_second(lane, count, memory.look, _LIMIT_SECONDS)
                await stage.count(lane, count)
            audit_mb, seconds = await asyncio.to_thread(_audit, contestant, lane)
            name = _transactions(count)
            tell(f"    {name}: the bridge {memory.most_mb:,.0f} MB, the audit {audit_mb:,.0f} MB and {seconds:.1f} s")
            recorder.add(BRIDGE, name, memory.most_mb, "MB")
            recorder.add(AUDIT, name, audit_mb, "MB")
            recorder.add(AUDIT_SECONDS, name, seconds, "s")


class _Memory:
    """The most that the bridge's two processes had resident together; looked at while the stream is watched."""

    def __init__(self, check: Callable[[], None]) -> None:
        self.most_mb = 0.0
        self._check = check

    def look(self) -> None:
        self._check()
        bridges = [
            process
            for process in psutil.Process().children(recursive=True)
            if {"bridge", "bridge.model_process"} & set(_words(process))
        ]
        self.most_mb = max(self.most_mb, _resident_mb(bridges))


def _audit(contestant: Contestant, lane: Lane) -> tuple[float, float]:
    """The most memory in MB, and seconds, of an audit with 10,000 transactions scored again."""
    command = [sys.executable, "-m", "bridge", "prove", "--rescore", "10000"]
    environment = clean_environment(**contestant.settings(lane))
    started, most_mb = time.perf_counter(), 0.0
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        while process.poll() is None:
            most_mb = max(most_mb, _resident_mb([psutil.Process(process.pid)]))
            time.sleep(_SAMPLE_SECONDS)
        said = process.stdout.read() if process.stdout else ""
    if process.returncode != 0:
        raise StreamError(f"The audit ended with code {process.returncode}: {said}")
    return most_mb, time.perf_counter() - started


def _words(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []


def _resident_mb(processes: Iterable[psutil.Process]) -> float:
    with contextlib.suppress(psutil.Error):
        return sum(process.memory_info().rss for process in processes) / 1e6
    return 0.0
