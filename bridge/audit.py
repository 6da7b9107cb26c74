"""The ledger of an audit: each transaction beside what was answered to it, in bounded memory.

Knows no broker: it takes inputs and outputs one by one, in the order of their offsets within each partition, and in any
order between partitions. An output belongs to the input that its source names. The ledger holds inputs whose answers
have not come yet, and outputs whose inputs have not come yet; an input that is answered in full is judged and
forgotten, and what comes for it afterwards is a double. So memory depends on how far the topics are read apart, and on
the number of defects, and not on the number of transactions.
"""

import bisect
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

import msgspec

from app.scoring.prediction import Prediction
from bridge.codec import DeadLetter, Source
from bridge.offset_range import OffsetRange

_OPEN_INPUTS = 60_000  # over all partitions; about 300 bytes each
_LEAST_OPEN_INPUTS = 1_000
_MOST_OPEN_INPUTS = 300_000  # of one partition, most of them lost; then the oldest are judged as they are
_EARLY_OUTPUTS = 5_000  # of one partition of an output topic; about 600 bytes each
_GAPS = 10_000
_EXAMPLES = 10


class Defect(StrEnum):
    """What an audit can find."""

    LOST = "lost"
    DOUBLED = "doubled"
    WITHOUT_INPUT = "without_input"
    OUT_OF_ORDER = "out_of_order"
    WRONG_KEY = "wrong_key"
    MISSING_ALERT = "missing_alert"
    ALERT_TOO_MANY = "alert_too_many"
    DOUBLED_ALERT = "doubled_alert"
    ALERT_DIFFERS = "alert_differs"
    WRONG_FLAG = "wrong_flag"
    WRONG_PROBABILITY = "wrong_probability"
    WRONG_READING = "wrong_reading"
    OTHER_MODEL = "other_model"
    UNREADABLE_OUTPUT = "unreadable_output"


class Place(NamedTuple):
    """Where a record stands."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}] offset {self.offset}"


class Example(NamedTuple):
    """One defect: the transaction, the output where there is one, and what is wrong in a few words."""

    source: Place
    output: Place | None
    detail: str

    def __str__(self) -> str:
        answer = f", answered at {self.output}" if self.output else ""
        return f"{self.source}{answer}{': ' if self.detail else ''}{self.detail}"


class Findings:
    """Defects, counted by kind, with the first of each kind by the transaction's offset."""

    def __init__(self) -> None:
        self.counts: Counter[Defect] = Counter()
        self.examples: dict[Defect, list[Example]] = defaultdict(list)

    def add(self, defect: Defect, source: Place, output: Place | None = None, detail: str = "") -> None:
        self.counts[defect] += 1
        examples = self.examples[defect]
        bisect.insort(examples, Example(source, output, detail), key=lambda example: example.source)
        del examples[_EXAMPLES:]


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What an audit reads of a prediction or an alert."""

    transaction_id: str
    fraud_probability: float
    is_fraud: bool
    threshold: float
    model_version: str
    source: Source

    @property
    def reaches_threshold(self) -> bool:
        return self.fraud_probability >= self.threshold


class Kind(StrEnum):
    """The topics that answers go to."""

    PREDICTION = "prediction"
    ALERT = "alert"
    DEAD_LETTER = "dead letter"


class Output(NamedTuple):
    """A record that the bridge published.

    Attributes:
        kind: what it is.
        place: where it stands.
        key: of the record.
        source: the transaction that it answers.
        answer: None in a dead letter.
        is_readable: whether it is a dead letter for another reason than that its transaction cannot be read.
    """

    kind: Kind
    place: Place
    key: bytes | None
    source: Source
    answer: Answer | None = None
    is_readable: bool = False


class Entry:
    """An input and what was answered to it until now."""

    __slots__ = ("alert", "dead_letter", "expected", "key", "place", "prediction")

    def __init__(self, place: Place, key: bytes | None, expected: Prediction | DeadLetter | None) -> None:
        self.place = place
        self.key = key
        self.expected = expected
        self.prediction: Output | None = None
        self.alert: Output | None = None
        self.dead_letter: Output | None = None

    @property
    def is_answered(self) -> bool:
        return self.prediction is not None or self.dead_letter is not None

    @property
    def awaits_alert(self) -> bool:
        answer = self.prediction.answer if self.prediction else None
        return answer is not None and answer.reaches_threshold and self.alert is None

    def first_of(self, kind: Kind) -> Output | None:
        return {Kind.PREDICTION: self.prediction, Kind.ALERT: self.alert, Kind.DEAD_LETTER: self.dead_letter}[kind]

    def take(self, output: Output) -> None:
        if output.kind is Kind.PREDICTION:
            self.prediction = output
        elif output.kind is Kind.ALERT:
            self.alert = output
        else:
            self.dead_letter = output


class Ledger:
    """Inputs and outputs of the audited ranges of one topic; each input goes to `judge` once, when it is complete.

    Args:
        topic: the inputs' topic.
        ranges: by partition, the offsets that are audited.
        ends: by partition, the end of the topic when its outputs were last looked at: nothing stands there or behind.
        judge: takes each input with its answers.
        findings: takes doubles, outputs without an input, and outputs that are out of order.
        reads_alerts: whether alerts are taken too; without them none is awaited.
    """

    def __init__(  # noqa: PLR0913 - what is audited, and who takes what is found
        self,
        topic: str,
        ranges: Mapping[int, OffsetRange],
        ends: Mapping[int, int],
        judge: Callable[[Entry], None],
        findings: Findings,
        *,
        reads_alerts: bool = True,
    ) -> None:
        self._topic = topic
        self._ends = ends
        self._judge = judge
        self._findings = findings
        self._reads_alerts = reads_alerts
        limit = max(_LEAST_OPEN_INPUTS, _OPEN_INPUTS // max(len(ranges), 1))
        self._lanes = {number: _Lane(offsets, limit) for number, offsets in ranges.items()}
        self._n_early: Counter[tuple[str, int]] = Counter()
        self.n_inputs = 0
        self.n_outputs: Counter[Kind] = Counter()

    def take_input(self, place: Place, key: bytes | None, expected: Prediction | DeadLetter | None = None) -> None:
        lane = self._lanes[place.partition]
        if place.offset > lane.read_to:
            lane.gaps.append(OffsetRange(lane.read_to, place.offset))
            del lane.gaps[:-_GAPS]
        lane.read_to = place.offset + 1
        self.n_inputs += 1
        entry = lane.open[place.offset] = Entry(place, key, expected)
        for output in lane.early.pop(place.offset, ()):
            self._n_early[output.place[:2]] -= 1
            self._take(entry, output)
        self._close_if_complete(lane, entry)

    def take_output(self, output: Output) -> None:
        source = output.source
        if source.topic != self._topic:
            return
        lane = self._lanes.get(source.partition)
        if source.offset >= self._ends.get(source.partition, 0):
            self._without_input(output)
        elif lane is None or not lane.offsets.start <= source.offset < lane.offsets.stop:
            return
        else:
            self.n_outputs[output.kind] += 1
            self._take_in_range(lane, output)

    def is_full(self, partition: int) -> bool:
        """Whether this partition's inputs are read too far ahead of their answers."""
        lane = self._lanes[partition]
        return len(lane.open) >= lane.limit

    def is_ahead(self, topic: str, partition: int) -> bool:
        """Whether this partition's outputs are read too far ahead of their inputs."""
        return self._n_early[topic, partition] >= _EARLY_OUTPUTS

    def inputs_are_read(self, partition: int) -> None:
        """Every input of this partition has been taken."""
        lane = self._lanes[partition]
        lane.read_to = lane.offsets.stop
        self._drop_early_without_input(lane)

    def alerts_are_read(self) -> None:
        """Every alert has been taken: none comes any more for an input that has none."""
        for lane in self._lanes.values():
            lane.alerts_read_to = math.inf

    def settle(self) -> None:
        """Judge what is complete; to be called now and then, because an alert tells also which inputs have none."""
        for lane in self._lanes.values():
            if lane.alerts_read_to > lane.settled_to:
                lane.settled_to = lane.alerts_read_to
                for entry in [entry for entry in lane.open.values() if self._is_complete(lane, entry)]:
                    self._close(lane, entry)

    def relieve(self) -> None:
        """Make room when everything is full or ahead, by judging now what could have waited for more."""
        for lane in self._lanes.values():
            self._drop_early_without_input(lane)
            if len(lane.open) < lane.limit:
                continue
            for entry in [entry for entry in lane.open.values() if entry.is_answered and not entry.awaits_alert]:
                self._close(lane, entry)
            if len(lane.open) < lane.limit // 2:
                continue
            if lane.limit < _MOST_OPEN_INPUTS:
                lane.limit *= 2
            else:
                for entry in list(lane.open.values())[: lane.limit // 2]:
                    self._close(lane, entry)

    def finish(self) -> None:
        """Everything has been read: what is open now stays as it is."""
        for partition, lane in self._lanes.items():
            self.inputs_are_read(partition)
            for entry in list(lane.open.values()):
                self._close(lane, entry)

    def _take_in_range(self, lane: "_Lane", output: Output) -> None:
        offset = output.source.offset
        entry = lane.open.get(offset)
        if entry is not None:
            if entry.first_of(output.kind) is None:
                self._check_order(lane, output)
            self._take(entry, output)
            self._close_if_complete(lane, entry)
        elif offset >= lane.read_to:
            early = lane.early[offset]
            if all(other.kind is not output.kind for other in early):
                self._check_order(lane, output)
            early.append(output)
            self._n_early[output.place[:2]] += 1
        elif lane.is_gap(offset):
            self._without_input(output)
        else:
            self._doubled(output, "")

    def _take(self, entry: Entry, output: Output) -> None:
        first = entry.first_of(output.kind)
        if first is not None:
            self._doubled(output, f"the first stands at {first.place}")
            return
        entry.take(output)
        if output.key != entry.key:
            self._findings.add(Defect.WRONG_KEY, entry.place, output.place, "its key is not the transaction's")

    def _close_if_complete(self, lane: "_Lane", entry: Entry) -> None:
        if self._is_complete(lane, entry):
            self._close(lane, entry)

    def _is_complete(self, lane: "_Lane", entry: Entry) -> bool:
        if not entry.is_answered:
            return False
        if not self._reads_alerts or entry.alert is not None:
            return True
        return lane.alerts_read_to > entry.place.offset and not entry.awaits_alert

    def _close(self, lane: "_Lane", entry: Entry) -> None:
        del lane.open[entry.place.offset]
        self._judge(entry)

    def _check_order(self, lane: "_Lane", output: Output) -> None:
        offset = output.source.offset
        reached = lane.reached.get(output.place[:2], -1)
        if offset < reached:
            detail = f"offset {reached} of the same partition was answered before it"
            self._findings.add(Defect.OUT_OF_ORDER, _place(output.source), output.place, detail)
            return
        lane.reached[output.place[:2]] = offset
        if output.kind is Kind.ALERT:
            lane.alerts_read_to = max(lane.alerts_read_to, offset)

    def _doubled(self, output: Output, detail: str) -> None:
        defect = Defect.DOUBLED_ALERT if output.kind is Kind.ALERT else Defect.DOUBLED
        if output.answer is not None and output.kind is Kind.ALERT and not output.answer.reaches_threshold:
            defect = Defect.ALERT_TOO_MANY
        self._findings.add(defect, _place(output.source), output.place, detail)

    def _without_input(self, output: Output) -> None:
        detail = f"there is no such transaction for this {output.kind}"
        self._findings.add(Defect.WITHOUT_INPUT, _place(output.source), output.place, detail)

    def _drop_early_without_input(self, lane: "_Lane") -> None:
        for offset in [offset for offset in lane.early if offset < lane.read_to]:
            for output in lane.early.pop(offset):
                self._n_early[output.place[:2]] -= 1
                self._without_input(output)


class _Lane:
    """One partition of the inputs' topic."""

    def __init__(self, offsets: OffsetRange, limit: int) -> None:
        self.offsets = offsets
        self.limit = limit
        self.read_to = offsets.start
        self.open: dict[int, Entry] = {}
        self.early: dict[int, list[Output]] = defaultdict(list)
        self.gaps: list[OffsetRange] = []
        self.reached: dict[tuple[str, int], int] = {}
        self.alerts_read_to: float = -1
        self.settled_to: float = -1

    def is_gap(self, offset: int) -> bool:
        """Whether no record stands at this offset, which has been passed: a marker, or one that was compacted away."""
        index = bisect.bisect_right(self.gaps, offset, key=lambda gap: gap.start) - 1
        return index >= 0 and offset < self.gaps[index].stop


class Judge:
    """Checks an input with its answers against the contract, and against the model where it was scored again."""

    def __init__(self, findings: Findings, model_version: str | None = None, tolerance: float = 1e-9) -> None:
        self._findings = findings
        self.model_version = model_version
        self._tolerance = tolerance
        self.n_rescored = 0
        self.largest_difference = 0.0

    def __call__(self, entry: Entry) -> None:
        if not entry.is_answered:
            self._findings.add(Defect.LOST, entry.place, None, "")
        if entry.prediction is not None and entry.dead_letter is not None:
            detail = f"a dead letter too, at {entry.dead_letter.place}"
            self._findings.add(Defect.DOUBLED, entry.place, entry.prediction.place, detail)
        self._check_alert(entry)
        if entry.expected is not None and entry.is_answered:
            self._check_against_model(entry, entry.expected)

    def _check_alert(self, entry: Entry) -> None:
        prediction = entry.prediction.answer if entry.prediction else None
        alert = entry.alert.answer if entry.alert else None
        if prediction is not None and prediction.is_fraud != prediction.reaches_threshold:
            self._add(Defect.WRONG_FLAG, entry, entry.prediction, "is_fraud contradicts the threshold")
        if prediction is None or not prediction.reaches_threshold:
            if alert is not None:
                self._add(Defect.ALERT_TOO_MANY, entry, entry.alert, "no prediction asks for it")
        elif alert is None:
            self._add(Defect.MISSING_ALERT, entry, entry.prediction, f"probability {prediction.fraud_probability:g}")
        elif alert != prediction:
            names = [name for name in prediction.__struct_fields__ if getattr(alert, name) != getattr(prediction, name)]
            self._add(Defect.ALERT_DIFFERS, entry, entry.alert, f"in {', '.join(names)} from its prediction")

    def _check_against_model(self, entry: Entry, expected: Prediction | DeadLetter) -> None:
        self.n_rescored += 1
        answer = entry.prediction.answer if entry.prediction else None
        if isinstance(expected, DeadLetter):
            if answer is not None:
                self._add(Defect.WRONG_READING, entry, entry.prediction, f"it cannot be read ({expected.reason})")
        elif answer is None:
            if entry.dead_letter is None or not entry.dead_letter.is_readable:
                self._add(Defect.WRONG_READING, entry, entry.dead_letter, "a dead letter that can be read")
        elif answer.transaction_id != expected.transaction_id:
            self._add(Defect.WRONG_READING, entry, entry.prediction, "it has another transaction_id")
        elif answer.model_version != self.model_version:
            self._add(Defect.OTHER_MODEL, entry, entry.prediction, f"scored by the model {answer.model_version}")
        else:
            self._compare(entry, answer.fraud_probability, expected.fraud_probability)

    def _compare(self, entry: Entry, published: float, expected: float) -> None:
        difference = abs(published - expected)
        self.largest_difference = max(self.largest_difference, difference)
        if not difference <= self._tolerance:
            detail = f"{published!r} was published, the model says {expected!r}"
            self._add(Defect.WRONG_PROBABILITY, entry, entry.prediction, detail)

    def _add(self, defect: Defect, entry: Entry, output: Output | None, detail: str) -> None:
        self._findings.add(defect, entry.place, output.place if output else None, detail)


class Sample:
    """Which transactions of the ranges are scored again: all, none, or about so many, evenly spread."""

    def __init__(self, ranges: Sequence[OffsetRange], size: int | None) -> None:
        """Take size None as all."""
        n_offsets = sum(offsets.stop - offsets.start for offsets in ranges)
        self._every = 1.0 if size is None or size >= n_offsets else n_offsets / size if size else math.inf

    def has(self, offset: int) -> bool:
        if self._every == 1.0:
            return True
        # The offsets at which the sample's running number grows by one.
        return int((offset + 1) / self._every) > int(offset / self._every)


def _place(source: Source) -> Place:
    return Place(source.topic, source.partition, source.offset)
