"""What an audit came to: the verdict, as JSON for machines and as sentences for people."""

import argparse
import asyncio
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path

import msgspec
from rich.console import Console

from bridge.audit import Defect, Findings, Place

_SENTENCES: Mapping[Defect, tuple[str, str]] = {
    Defect.LOST: (
        "{n} transaction has neither a prediction nor a dead letter",
        "{n} transactions have neither a prediction nor a dead letter",
    ),
    Defect.DOUBLED: ("{n} answer is doubled", "{n} answers are doubled"),
    Defect.WITHOUT_INPUT: ("{n} output has no transaction", "{n} outputs have no transaction"),
    Defect.OUT_OF_ORDER: ("{n} output is out of order", "{n} outputs are out of order"),
    Defect.WRONG_KEY: ("{n} output has a wrong key", "{n} outputs have a wrong key"),
    Defect.MISSING_ALERT: (
        "{n} prediction reached its threshold and has no alert",
        "{n} predictions reached their threshold and have no alert",
    ),
    Defect.ALERT_TOO_MANY: ("{n} alert is there without cause", "{n} alerts are there without cause"),
    Defect.DOUBLED_ALERT: ("{n} alert is doubled", "{n} alerts are doubled"),
    Defect.ALERT_DIFFERS: ("{n} alert differs from its prediction", "{n} alerts differ from their predictions"),
    Defect.WRONG_FLAG: ("{n} prediction has a wrong is_fraud", "{n} predictions have a wrong is_fraud"),
    Defect.WRONG_PROBABILITY: (
        "{n} probability is not what the model says",
        "{n} probabilities are not what the model says",
    ),
    Defect.WRONG_READING: (
        "{n} answer does not fit what stands in its transaction",
        "{n} answers do not fit what stands in their transactions",
    ),
    Defect.OTHER_MODEL: (
        "{n} prediction was made by another model than the one it was checked with",
        "{n} predictions were made by another model than the one they were checked with",
    ),
    Defect.UNREADABLE_OUTPUT: ("{n} output cannot be read", "{n} outputs cannot be read"),
}
_EXAMPLES_SHOWN = 3


class PartitionRange(msgspec.Struct, frozen=True):
    """The offsets of one partition that were audited: from start, and before stop."""

    partition: int
    start: int
    stop: int


class PlaceReport(msgspec.Struct, frozen=True):
    """Where a record stands."""

    topic: str
    partition: int
    offset: int


class ExampleReport(msgspec.Struct, frozen=True):
    """One defect: where its transaction stands, where its output stands, and what is wrong, in words too."""

    source: PlaceReport
    output: PlaceReport | None
    sentence: str


class DefectReport(msgspec.Struct, frozen=True):
    """One kind of defect; each example names the transaction, and the output where there is one."""

    defect: Defect
    count: int
    is_allowed: bool
    examples: tuple[ExampleReport, ...]


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What an audit came to; `--json` writes it."""

    is_proved: bool
    topic: str
    ranges: tuple[PartitionRange, ...]
    transactions: int
    predictions: int
    dead_letters: int
    alerts: int
    waiting: int
    rescored: int
    model_version: str | None
    largest_difference: float
    lost: int
    doubled: int
    out_of_order: int
    defects: tuple[DefectReport, ...]
    audited_at: datetime

    def sentences(self) -> Iterator[str]:
        """The verdict in plain words, the first sentence being yes or no."""
        yield "Proved." if self.is_proved else "NOT PROVED."
        yield (
            f"{self.transactions:,} transactions of {self.topic} in {len(self.ranges)} partitions: "
            f"{self.predictions:,} predictions, {self.dead_letters:,} dead letters, {self.alerts:,} alerts; "
            f"{self.lost:,} lost, {self.doubled:,} doubled, {self.out_of_order:,} out of order."
        )
        if self.rescored:
            yield (
                f"{self.rescored:,} were scored again with the model {self.model_version}; "
                f"the largest difference is {self.largest_difference:g}."
            )
        if self.waiting:
            yield f"{self.waiting:,} transactions are not committed by the bridge's group yet and were not judged."
        for report in self.defects:
            singular, plural = _SENTENCES[report.defect]
            sentence = (singular if report.count == 1 else plural).format(n=f"{report.count:,}")
            yield sentence + (", which is allowed." if report.is_allowed else ":")
            for example in report.examples[: 0 if report.is_allowed else _EXAMPLES_SHOWN]:
                yield f"  {example.sentence}"


def report_defects(findings: Findings, allowed: frozenset[Defect]) -> tuple[DefectReport, ...]:
    """Every kind of defect that was found, in the order in which they matter."""
    return tuple(
        DefectReport(
            defect=defect,
            count=findings.counts[defect],
            is_allowed=defect in allowed,
            examples=tuple(
                ExampleReport(
                    _report(example.source), _report(example.output) if example.output else None, str(example)
                )
                for example in findings.examples[defect]
            ),
        )
        for defect in Defect
        if findings.counts[defect]
    )


def _report(place: Place) -> PlaceReport:
    return PlaceReport(*place)


def add_json_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json", nargs="?", const="-", metavar="FILE", help="write it all as JSON; without FILE to standard output"
    )


async def announce(facts: msgspec.Struct, sentences: Iterable[str], json: str | None) -> None:
    """Say it in sentences; as JSON too, to a file, or for `-` to standard output (sentences: stderr)."""
    if json is not None:
        text = msgspec.json.format(msgspec.json.encode(facts), indent=2).decode()
        if json == "-":
            print(text, flush=True)  # noqa: T201 - the command's answer
        else:
            await asyncio.to_thread(Path(json).write_text, text + "\n", encoding="utf-8")
    console = Console(stderr=json == "-", soft_wrap=True)
    for sentence in sentences:
        console.print(sentence, highlight=False, markup=False)
