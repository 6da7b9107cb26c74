"""Reads a trail into a ledger, and answers transactions again on the way."""

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from aiokafka import ConsumerRecord, TopicPartition
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from app.scoring.prediction import Prediction
from app.scoring.scorer import Scorer
from app.scoring.transaction import Transaction
from app.source import artifact_files
from bridge.audit import Defect, Findings, Kind, Ledger, Output, Place, Sample
from bridge.codec import Codec, DeadLetter, Record
from bridge.settings import Settings
from bridge.trail import Extent, Trail


class Rescored(NamedTuple):
    """A transaction and what the model says of it."""

    record: Record
    transaction: Transaction
    prediction: Prediction


Publish = Callable[[Sequence[Rescored]], Awaitable[None]]


class Rescorer:
    """Answers transactions again, with the settings' artifact or with another one."""

    def __init__(self, settings: Settings, artifact: Path | None) -> None:
        with artifact_files(artifact or settings.artifact) as files:
            loaded = files.load(None if artifact else settings.artifact_sha256)
        self.codec = Codec(loaded.manifest, settings.max_record_bytes)
        self.model_version = loaded.manifest.model_version
        self._scorer = Scorer(loaded, settings.threshold)

    def answer(self, records: Sequence[Record]) -> list[Rescored | DeadLetter]:
        """What the model says of each record, or why it cannot be read. It computes: call it in a thread."""
        decoded = [self.codec.decode(record) for record in records]
        transactions = [read for read in decoded if isinstance(read, Transaction)]
        predictions = iter(self._scorer.score(transactions))
        return [
            read if isinstance(read, DeadLetter) else Rescored(record, read, next(predictions))
            for record, read in zip(records, decoded, strict=True)
        ]


class Comparison:
    """One pass over a trail.

    Args:
        trail: what is read.
        extent: how far.
        ledger: takes every input and every output.
        findings: takes the outputs that cannot be read.
        rescorer: answers the sample again; None: nothing is.
        sample: which transactions are answered again.
        publish: takes what was answered again, if somebody wants it.
    """

    def __init__(  # noqa: PLR0913 - what is read, what takes it, and what is done on the way
        self,
        trail: Trail,
        extent: Extent,
        ledger: Ledger,
        findings: Findings,
        *,
        rescorer: Rescorer | None = None,
        sample: Sample | None = None,
        publish: Publish | None = None,
    ) -> None:
        self._trail = trail
        self._extent = extent
        self._ledger = ledger
        self._findings = findings
        self._rescorer = rescorer
        self._sample = sample
        self._publish = publish
        self._unread_alerts = {where for where in extent.outputs if trail.kinds[where.topic] is Kind.ALERT}

    async def run(self) -> None:
        """Read everything.

        Raises:
            BridgeError: the broker is away, or an open transaction holds back what is to be read.
        """
        with _progress(self._extent) as advance:
            async for polled, ended in self._trail.read(self._extent, self._is_blocked, self._ledger.relieve):
                for where, records in polled.items():
                    if where in self._extent.inputs:
                        await self._take_inputs(records)
                    else:
                        self._take_outputs(records)
                self._end(ended)
                advance(sum(len(records) for records in polled.values()))
        self._ledger.finish()

    def _is_blocked(self, where: TopicPartition) -> bool:
        if where in self._extent.inputs:
            return self._ledger.is_full(where.partition)
        return self._ledger.is_ahead(*where)

    async def _take_inputs(self, records: Sequence[ConsumerRecord]) -> None:
        expected: dict[int, Prediction | DeadLetter] = {}
        if self._rescorer is not None and self._sample is not None:
            chosen = [record for record in records if self._sample.has(record.offset)]
            if chosen:
                answers = await asyncio.to_thread(self._rescorer.answer, chosen)
                for record, answer in zip(chosen, answers, strict=True):
                    expected[record.offset] = answer if isinstance(answer, DeadLetter) else answer.prediction
                if self._publish is not None:
                    await self._publish([answer for answer in answers if isinstance(answer, Rescored)])
        for record in records:
            place = Place(record.topic, record.partition, record.offset)
            self._ledger.take_input(place, record.key, expected.get(record.offset))

    def _take_outputs(self, records: Sequence[ConsumerRecord]) -> None:
        for record in records:
            output = self._trail.output(record)
            if isinstance(output, Output):
                self._ledger.take_output(output)
            else:
                self._findings.add(Defect.UNREADABLE_OUTPUT, output.place, None, f"this {output.kind} names no source")

    def _end(self, ended: Sequence[TopicPartition]) -> None:
        for where in ended:
            if where in self._extent.inputs:
                self._ledger.inputs_are_read(where.partition)
        if self._unread_alerts:
            self._unread_alerts.difference_update(ended)
            if not self._unread_alerts:
                self._ledger.alerts_are_read()
        self._ledger.settle()


@contextlib.contextmanager
def _progress(extent: Extent) -> Iterator[Callable[[int], None]]:
    total = sum(offsets.stop - offsets.start for offsets in (*extent.inputs.values(), *extent.outputs.values()))
    columns = (TextColumn("reading"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("reading", total=total)
        yield lambda n_records: progress.advance(task, n_records)
