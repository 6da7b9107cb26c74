"""The ledger, given streams that are read far apart, and streams with many defects."""

import itertools
import tracemalloc
from collections.abc import Callable

import pytest

from bridge import audit
from bridge.audit import Answer, Defect, Entry, Findings, Judge, Kind, Ledger, Output, Place, Sample
from bridge.codec import Source
from bridge.offset_range import OffsetRange


class Books:
    """A ledger of one partition and what it finds."""

    def __init__(self, n_transactions: int, *, reads_alerts: bool = True) -> None:
        self.findings = Findings()
        self.judged: list[int] = []
        judge = Judge(self.findings)

        def keep(entry: Entry) -> None:
            self.judged.append(entry.place.offset)
            judge(entry)

        ranges = {0: OffsetRange(0, n_transactions)}
        self.ledger = Ledger("t", ranges, {0: n_transactions}, keep, self.findings, reads_alerts=reads_alerts)

    def take_input(self, offset: int) -> None:
        self.ledger.take_input(Place("t", 0, offset), b"key")

    def take_output(self, offset: int, kind: Kind = Kind.PREDICTION, probability: float = 0.0) -> None:
        self.ledger.take_output(_output(offset, kind, probability))

    def finish(self) -> dict[Defect, int]:
        self.ledger.alerts_are_read()
        self.ledger.finish()
        return dict(self.findings.counts)


def _output(offset: int, kind: Kind = Kind.PREDICTION, probability: float = 0.0) -> Output:
    source = Source("t", 0, offset)
    answer = Answer("id", probability, probability >= 0.8, 0.8, "v", source)
    return Output(kind, Place(kind, 0, offset), b"key", source, answer)


def _inputs_first(books: Books, count: int) -> None:
    for offset in range(count):
        books.take_input(offset)
    for offset in range(count):
        books.take_output(offset)


def _outputs_first(books: Books, count: int) -> None:
    for offset in range(count):
        books.take_output(offset)
    for offset in range(count):
        books.take_input(offset)


@pytest.mark.parametrize("in_order", [_inputs_first, _outputs_first])
def test_each_transaction_is_judged_once_in_whatever_order_the_topics_are_read(
    in_order: Callable[[Books, int], None],
) -> None:
    books = Books(1_000)
    in_order(books, 1_000)

    assert books.finish() == {}
    assert sorted(books.judged) == list(range(1_000))


def test_an_alert_that_comes_long_after_its_prediction_is_found() -> None:
    books = Books(5_000)
    for offset in range(5_000):
        books.take_input(offset)
        books.take_output(offset, probability=0.9 if offset % 1_000 == 7 else 0.0)
    for offset in range(7, 5_000, 1_000):
        books.take_output(offset, Kind.ALERT, probability=0.9)

    assert books.finish() == {}


def test_an_alert_tells_that_the_transactions_before_it_have_none() -> None:
    books = Books(100)
    for offset in range(100):
        books.take_input(offset)
        books.take_output(offset)
    assert books.judged == []

    books.take_output(60, Kind.ALERT, probability=0.9)
    books.ledger.settle()

    # The alert's own transaction is unlike its prediction, and judged too.
    assert sorted(books.judged) == list(range(61))


def test_a_prediction_of_an_offset_at_which_no_record_stands_has_no_input() -> None:
    books = Books(10)
    for offset in (0, 1, 2, 5, 6):
        books.take_input(offset)
        books.take_output(offset)
    books.take_output(3)
    books.take_output(8)

    assert books.finish() == {Defect.WITHOUT_INPUT: 2}


def test_memory_does_not_grow_with_the_number_of_transactions() -> None:
    def peak_bytes(count: int) -> int:
        findings = Findings()
        ledger = Ledger("t", {0: OffsetRange(0, count)}, {0: count}, Judge(findings), findings)
        ledger.alerts_are_read()
        tracemalloc.start()
        for offset in range(count):
            ledger.take_input(Place("t", 0, offset), b"key")
            if offset >= 500:
                ledger.take_output(_output(offset - 500))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    assert peak_bytes(20_000) < 1.1 * peak_bytes(2_000)


def test_inputs_wait_for_their_answers_and_relief_finds_the_lost_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "_OPEN_INPUTS", 1_000)
    monkeypatch.setattr(audit, "_MOST_OPEN_INPUTS", 4_000)
    books = Books(20_000, reads_alerts=False)
    for offset in range(20_000):
        if books.ledger.is_full(0):
            books.ledger.relieve()
        assert not books.ledger.is_full(0)
        books.take_input(offset)

    assert 0 < books.findings.counts[Defect.LOST] < 20_000
    assert [example.source.offset for example in books.findings.examples[Defect.LOST]] == list(range(10))
    assert books.finish() == {Defect.LOST: 20_000}


def test_outputs_that_are_read_too_far_ahead_wait_for_their_inputs() -> None:
    books = Books(100_000)
    offset = 0
    while not books.ledger.is_ahead(Kind.PREDICTION, 0):
        books.take_output(offset)
        offset += 1
    for number in range(offset):
        books.take_input(number)

    assert not books.ledger.is_ahead(Kind.PREDICTION, 0)


@pytest.mark.parametrize(("size", "count"), [(None, 1_000), (0, 0), (10, 10), (333, 333), (5_000, 1_000)])
def test_a_sample_is_as_large_as_asked_and_evenly_spread(size: int | None, count: int) -> None:
    sample = Sample([OffsetRange(0, 1_000)], size)
    chosen = [offset for offset in range(1_000) if sample.has(offset)]

    assert len(chosen) == count
    if count == 10:
        assert {after - before for before, after in itertools.pairwise(chosen)} == {100}
