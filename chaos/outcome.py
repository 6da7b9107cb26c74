"""What a scenario came to: as JSON, and as the table in docs/delivery.md, which is made of the JSON."""

import importlib.metadata
import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from benchmarks.machine import commit
from tests.integration.broker import kafka_version

RESULTS = Path(__file__).parent / "results"
DOCUMENT = Path(__file__).parents[1] / "docs" / "delivery.md"
_BEGIN, _END = "<!-- chaos: begin -->\n", "<!-- chaos: end -->\n"
_PACKAGES = ("aiokafka", "numpy", "scikit-learn")


class Machine(msgspec.Struct, frozen=True):
    """Where and with what it was measured."""

    processor: str
    n_processors: int
    system: str
    python: str
    kafka: str
    packages: dict[str, str]
    commit: str


class Latency(msgspec.Struct, frozen=True):
    """From timestamp_received to a reader of what is committed, in one half minute."""

    p50_ms: float
    p99_ms: float


class Resources(msgspec.Struct, frozen=True):
    """What one bridge held at one moment."""

    seconds: float
    member: str
    resident_mib: float
    open_files: int


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One run of one scenario.

    Attributes:
        scenario: its name.
        claim: what was done, in a few words.
        guarantee: of the bridges.
        is_as_expected: whether nothing was lost, doubled or out of order; in the demonstration, whether something was.
        seconds: how long traffic ran.
        rate_per_second: of the traffic.
        n_records: transactions that stand in the topic, those that nobody can read among them.
        n_kills: processes ended by SIGKILL, the broker's among them.
        n_unasked_ends: bridges that ended by themselves and were started again.
        n_rebalances: assignments that the bridges logged.
        n_committed: transactions that the broker has committed.
        n_aborted: transactions that the broker has aborted.
        lost: transactions without an answer.
        doubled: answers too many.
        out_of_order: answers before those of an earlier transaction of their partition.
        other_defects: every other kind that the audit found, and how often.
        n_rescored: transactions that the audit scored again.
        longest_gap_seconds: without any prediction, for a reader of what is committed.
        longest_partition_gap_seconds: the same, of the partition with the longest.
        latency: of each half minute.
        resources: of the bridges, as time went on.
        prove_seconds: how long the audit took.
        prove_resident_mib: the most memory that it held.
        last_words: of the bridges that ended by themselves.
        notes: what else is worth knowing.
        load_average: of the machine, just before: what others did there at the time makes everything slower.
        measured_at: when.
        machine: where.
    """

    scenario: str
    claim: str
    guarantee: str
    is_as_expected: bool
    seconds: float
    rate_per_second: float
    n_records: int
    n_kills: int
    n_unasked_ends: int
    n_rebalances: int
    n_committed: int
    n_aborted: int
    lost: int
    doubled: int
    out_of_order: int
    other_defects: dict[str, int]
    n_rescored: int
    longest_gap_seconds: float
    longest_partition_gap_seconds: float
    latency: list[Latency]
    resources: list[Resources]
    prove_seconds: float
    prove_resident_mib: float
    last_words: list[str]
    notes: list[str]
    load_average: float
    measured_at: str
    machine: Machine


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Outcome)


def save(outcome: Outcome, directory: Path = RESULTS) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / f"{outcome.scenario}.json"
    file.write_bytes(msgspec.json.format(_ENCODER.encode(outcome), indent=1) + b"\n")
    return file


def load(directory: Path = RESULTS) -> dict[str, Outcome]:
    """Every saved outcome by its scenario's name."""
    return {file.stem: _DECODER.decode(file.read_bytes()) for file in sorted(directory.glob("*.json"))}


def table(outcomes: Iterable[Outcome]) -> str:
    """A Markdown table."""
    names = (
        *("scenario", "records", "kills", "rebalances", "transactions aborted", "lost", "doubled", "out of order"),
        "longest time without output",
    )
    rows = [_row(outcome) for outcome in outcomes]
    rule = ["---", *["---:"] * (len(names) - 1)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (names, rule, *rows))


def soak_table(outcome: Outcome) -> str:
    """How a long run began and how it ended, as a Markdown table."""
    minutes = len(outcome.latency) / 2
    first, last = outcome.latency[1:5], outcome.latency[-5:-1]
    early = [at for at in outcome.resources if 60 < at.seconds < 210]  # noqa: PLR2004 - after the start
    late = [at for at in outcome.resources if at.seconds > outcome.resources[-1].seconds - 150]
    rows = (
        (f"soak of {minutes:.0f} minutes", "near the beginning", "near the end"),
        ("---", "---:", "---:"),
        ("latency, median", *(f"{_mean(window.p50_ms for window in part):.0f} ms" for part in (first, last))),
        ("latency, p99", *(f"{_mean(window.p99_ms for window in part):.0f} ms" for part in (first, last))),
        ("memory of a bridge", *(f"{_mean(at.resident_mib for at in part):.0f} MiB" for part in (early, late))),
        ("open files of a bridge", *(f"{_mean(at.open_files for at in part):.0f}" for part in (early, late))),
    )
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)


def _mean(numbers: Iterable[float]) -> float:
    return statistics.fmean(numbers)


def _row(outcome: Outcome) -> list[str]:
    counts = (outcome.n_records, outcome.n_kills, outcome.n_rebalances, outcome.n_aborted)
    verdict = (outcome.lost, outcome.doubled, outcome.out_of_order)
    numbers = [f"{count:,}" for count in (*counts, *verdict)]
    return [outcome.claim, *numbers, f"{outcome.longest_gap_seconds:.1f} s"]


def block(outcomes: Sequence[Outcome]) -> str:
    """What stands between the markers in the document."""
    places = sorted({f"{_place(outcome.machine)}" for outcome in outcomes})
    days = sorted({outcome.measured_at[:10] for outcome in outcomes})
    soaks = "".join(f"\n{soak_table(outcome)}" for outcome in outcomes if outcome.scenario == "soak")
    loads = sorted(outcome.load_average for outcome in outcomes)
    load = f"Load average of the machine before the runs: {loads[0]:.1f} to {loads[-1]:.1f}.\n" if loads else ""
    return (
        f"{table(outcomes)}{soaks}\nMeasured on {' to '.join(days[:1] + days[1:][-1:])}: {'; '.join(places)}.\n{load}"
    )


def quoted(document: str) -> str:
    """What the document says between the markers."""
    return document.partition(_BEGIN)[2].partition(_END)[0]


def rewrite(document: str, outcomes: Sequence[Outcome]) -> str:
    """The document with its block made again."""
    before, begin, rest = document.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    return before + begin + block(outcomes) + end + after


def this_machine() -> Machine:
    return Machine(
        processor=_processor(),
        n_processors=os.cpu_count() or 0,
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        kafka=kafka_version(),
        packages={name: importlib.metadata.version(name) for name in _PACKAGES},
        commit=commit(),
    )


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _place(machine: Machine) -> str:
    return (
        f"Apache Kafka {machine.kafka}, Python {machine.python}, aiokafka {machine.packages['aiokafka']}, "
        f"broker, bridges and traffic together on {machine.n_processors} cores ({machine.processor})"
    )


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor()
