"""Memory of a bridge that starts with few or with a million transactions waiting: it must not depend on them."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks import kafka
from benchmarks.bridge_throughput import EXACTLY
from benchmarks.figures import Ratio, Recorder, Result
from benchmarks.kafka import BenchmarkBroker, Stage
from benchmarks.progress import rounds, tell
from benchmarks.workload import Workload, prepare

NAME, UNIT = "most memory of its processes", "MB"

_LIMIT_SECONDS = 180.0


@dataclass(frozen=True)
class Plan:
    """Rounds, and how many transactions wait: few, and many."""

    rounds: int
    few: int
    many: int


_FULL = Plan(rounds=3, few=10_000, many=1_000_000)
_QUICK = Plan(rounds=1, few=10_000, many=200_000)


def run(work: Path, *, is_quick: bool) -> Result:
    plan = _QUICK if is_quick else _FULL
    tell("backlog: preparing the model and the transactions")
    workload = prepare(work)
    recorder = Recorder()
    with BenchmarkBroker() as broker:
        asyncio.run(_measure(Stage(broker), workload, plan, recorder))
    over, under = ((NAME, _waiting(count)) for count in (plan.many, plan.few))
    ratio = Ratio(
        name="memory with a backlog",
        spread=recorder.ratio(over, under),
        must=1.1,
        aim=1.05,
        better="less",
        compared=f"{over[1]} / {under[1]}",
    )
    contestants = [kafka.ours(workload, EXACTLY, "exactly-once")]
    return kafka.result("backlog", workload, contestants, recorder, [ratio], is_quick=is_quick)


def _waiting(count: int) -> str:
    return f"{EXACTLY}, {count:,} waiting"


async def _measure(stage: Stage, workload: Workload, plan: Plan, recorder: Recorder) -> None:
    tell(f"backlog: filling topics with {plan.few:,} and {plan.many:,} transactions")
    bodies = workload.bodies(len(workload.later.labels))
    sources = {count: await stage.filled(bodies, count) for count in (plan.few, plan.many)}
    for _ in rounds(plan.rounds, "backlog"):
        for count, source in sources.items():
            lane = await stage.lane(source)
            with kafka.running(kafka.ours(workload, EXACTLY, "exactly-once"), lane) as check:
                memory = _Memory(check)
                speed = await stage.records_per_second(lane, count, memory.look, _LIMIT_SECONDS)
            tell(f"    {_waiting(count)}: {memory.most_mb:,.0f} {UNIT} at the most, {speed:,.0f} transactions/s")
            recorder.add(NAME, _waiting(count), memory.most_mb, UNIT)


class _Memory:
    """The most that the bridge's two processes had resident together; looked at while the stream is watched."""

    def __init__(self, check: Callable[[], None]) -> None:
        self.most_mb = 0.0
        self._check = check

    def look(self) -> None:
        self._check()
        with contextlib.suppress(psutil.NoSuchProcess):
            self.most_mb = max(self.most_mb, sum(each.memory_info().rss for each in _bridges()) / 1e6)


def _bridges() -> Iterator[psutil.Process]:
    for process in psutil.Process().children(recursive=True):
        if {"bridge", "bridge.model_process"} & set(process.cmdline()):
            yield process
