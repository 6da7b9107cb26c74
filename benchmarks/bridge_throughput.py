"""Transactions a second from a filled topic, through one real Apache Kafka."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from benchmarks import kafka
from benchmarks.figures import Ratio, Recorder, Result
from benchmarks.kafka import BenchmarkBroker, Contestant, Stage, StreamError
from benchmarks.progress import rounds, tell
from benchmarks.workload import Workload, prepare

EXACTLY, AT_LEAST, COPY = "Neighborwatch exactly-once", "Neighborwatch at-least-once", "aiokafka pass-through"
COPY_EACH = "aiokafka pass-through, record by record"
FASTSTREAM, FASTSTREAM_EMPTY = "FastStream, scikit-learn model", "FastStream, no scoring"
QUIX, QUIX_EMPTY = "Quix Streams exactly-once, scikit-learn model", "Quix Streams exactly-once, no scoring"
NAME, UNIT = "throughput", "transactions/s"

_LIMIT_SECONDS = 120.0


@dataclass(frozen=True)
class Plan:
    """Rounds, and how many transactions stand in the topic that each contestant reads."""

    rounds: int
    records: dict[str, int]


_FULL = Plan(
    rounds=5,  # with three, exactly-once of at-least-once was 0.98 once and 0.87 the next time
    records={
        EXACTLY: 300_000,
        COPY: 300_000,
        COPY_EACH: 300_000,
        AT_LEAST: 300_000,
        QUIX_EMPTY: 300_000,
        FASTSTREAM_EMPTY: 100_000,
        FASTSTREAM: 20_000,
        QUIX: 1_000,
    },
)
_QUICK = Plan(rounds=3, records={EXACTLY: 100_000, COPY: 100_000, QUIX_EMPTY: 100_000, FASTSTREAM: 4_000})


def run(work: Path, *, is_quick: bool) -> Result:
    plan = _QUICK if is_quick else _FULL
    tell("bridge: preparing the model and the transactions")
    workload = prepare(work)
    recorder = Recorder()
    contestants = [each for each in _contestants(workload, recorder.notes) if each.name in plan.records]
    with BenchmarkBroker() as broker:
        asyncio.run(_measure(Stage(broker), workload, contestants, plan, recorder))
    return kafka.result("bridge", workload, contestants, recorder, _ratios(recorder), is_quick=is_quick)


def _contestants(workload: Workload, notes: list[str]) -> list[Contestant]:
    wanted = [("quix", False), ("faststream", False), ("faststream", True), ("quix", True)]
    return [
        kafka.ours(workload, EXACTLY, "exactly-once"),
        kafka.passthrough(COPY, "batches"),
        kafka.passthrough(COPY_EACH, "records"),
        kafka.ours(workload, AT_LEAST, "at-least-once"),
        *kafka.peers(workload, wanted, notes),
    ]


async def _measure(
    stage: Stage, workload: Workload, contestants: list[Contestant], plan: Plan, recorder: Recorder
) -> None:
    sizes = sorted({plan.records[each.name] for each in contestants})
    tell(f"bridge: filling topics with {', '.join(f'{size:,}' for size in sizes)} transactions")
    bodies = workload.bodies(len(workload.later.labels))
    sources = {size: await stage.filled(bodies, size) for size in sizes}
    tell("bridge: warming the broker up, whose machine code is made while it runs")
    await _measured(stage, contestants[0], sources[plan.records[EXACTLY]], plan.records[EXACTLY])
    for number in rounds(plan.rounds, "bridge"):
        for contestant in contestants:
            size = plan.records[contestant.name]
            try:
                speed, n_written = await _measured(stage, contestant, sources[size], size)
            except StreamError as error:
                recorder.notes.append(f"Round {number + 1}, not measured: {error}")
                continue
            if number == 0:
                recorder.notes.append(f"{contestant.name}: {n_written:,} answers to {size:,} transactions.")
            tell(f"    {contestant.name}: {speed:,.0f} {UNIT}")
            recorder.add(NAME, contestant.name, speed, UNIT)


async def _measured(stage: Stage, contestant: Contestant, source: str, size: int) -> tuple[float, int]:
    """Transactions a second, and how many answers there were in the end."""
    lane = await stage.lane(source)
    with kafka.running(contestant, lane) as check:
        speed = await stage.records_per_second(lane, size, check, _LIMIT_SECONDS)
        return speed, await stage.count(lane, size)


def _ratios(recorder: Recorder) -> list[Ratio]:
    goals = (
        ("throughput, of a pass-through that only copies bytes", EXACTLY, COPY, 0.5, 0.7),
        ("throughput, of a pass-through that sends record by record", EXACTLY, COPY_EACH, 0.5, 0.7),
        ("throughput, times FastStream with scikit-learn's model", EXACTLY, FASTSTREAM, 15, 25),
        ("throughput with scoring, of Quix Streams without any", EXACTLY, QUIX_EMPTY, 0.9, 1),
        ("throughput exactly-once, of at-least-once", EXACTLY, AT_LEAST, 0.9, 1),
    )
    return [
        Ratio(
            name=name,
            spread=recorder.ratio((NAME, over), (NAME, under)),
            must=must,
            aim=aim,
            better="more",
            compared=f"{over} / {under}",
        )
        for name, over, under, must, aim in goals
        if recorder.has((NAME, over), (NAME, under))
    ]
