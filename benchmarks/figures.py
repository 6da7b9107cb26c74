"""What a benchmark finds: figures of each contestant, ratios between two of them, and the JSON they are kept in."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

RESULTS = Path(__file__).parent / "results"


class Spread(msgspec.Struct, frozen=True):
    """Every run, and what is quoted of them."""

    runs: tuple[float, ...]
    min: float
    median: float
    max: float

    @classmethod
    def of(cls, runs: Sequence[float]) -> "Spread":
        rounded = tuple(float(f"{run:.5g}") for run in runs)
        return cls(rounded, min(rounded), statistics.median(rounded), max(rounded))


class Figure(msgspec.Struct, frozen=True):
    """One quantity of one contestant."""

    name: str
    contestant: str
    unit: str
    spread: Spread


class Ratio(msgspec.Struct, frozen=True):
    """One contestant's figure divided by another's of the same round; or a figure of ours that has a goal itself.

    Attributes:
        name: as it stands in the table.
        spread: over the rounds.
        must: the value that has to be reached.
        aim: the value that is aimed at.
        better: whether more or less is better.
        compared: the two figures, in words.
    """

    name: str
    spread: Spread
    must: float
    aim: float
    better: Literal["more", "less"]
    compared: str

    @property
    def verdict(self) -> Literal["aim", "must", "missed"]:
        reached: Callable[[float], bool] = (
            (lambda goal: self.spread.median >= goal)
            if self.better == "more"
            else (lambda goal: self.spread.median <= goal)
        )
        return "aim" if reached(self.aim) else "must" if reached(self.must) else "missed"


class Result(msgspec.Struct, frozen=True):
    """One run of one benchmark."""

    benchmark: str
    made_at: str
    commit: str
    is_quick: bool
    machine: dict[str, Any]
    data_set: dict[str, Any]
    contestants: dict[str, dict[str, Any]]
    figures: list[Figure]
    ratios: list[Ratio]
    notes: list[str]


@dataclass
class Recorder:
    """Takes measurements round by round, contestants alternating, and gives figures and ratios."""

    runs: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, contestant: str, value: float, unit: str) -> None:
        self.runs.setdefault((name, contestant), []).append(value)
        self.units[name] = unit

    def figures(self) -> list[Figure]:
        return [
            Figure(name, contestant, self.units[name], Spread.of(runs))
            for (name, contestant), runs in sorted(self.runs.items(), key=lambda item: item[0][0])
        ]

    def has(self, *measured: tuple[str, str]) -> bool:
        return all(key in self.runs for key in measured)

    def ratio(self, over: tuple[str, str], under: tuple[str, str]) -> Spread:
        """The first (name, contestant) divided by the second, round by round."""
        return Spread.of([a / b for a, b in zip(self.runs[over], self.runs[under], strict=False)])

    def spread(self, measured: tuple[str, str]) -> Spread:
        return Spread.of(self.runs[measured])


def write(result: Result) -> Path:
    """Keep a result; a quick run goes beside the real one, which the README quotes."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{result.benchmark}{'-quick' if result.is_quick else ''}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")
    return path


def read(benchmark: str) -> Result:
    return msgspec.json.decode((RESULTS / f"{benchmark}.json").read_bytes(), type=Result)
