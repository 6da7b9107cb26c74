import pytest
from rich.console import Console

from bridge.codec import Source
from bridge.stream import Answered, Stream
from bridge.summary import AlertOutcome, alert_outcome, latency_percentiles_ms, summary


def _source(offset: int) -> Source:
    return Source("transactions", 0, offset)


def _answered(offset: int, *, is_alert: bool = False, latency_seconds: float = 0.1) -> Answered:
    return Answered(
        _source(offset), 0.9 if is_alert else 0.0, is_alert, 100.0 + offset, 100.0 + offset + latency_seconds
    )


def _stream(n_transactions: int, *answers: Answered) -> Stream:
    stream = Stream(transactions={_source(offset) for offset in range(n_transactions)})
    for answered in answers:
        stream.add_answer(answered)
    return stream


def _text(stream: Stream) -> str:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(summary(stream))
    return captured.get()


def test_alerts_are_compared_with_labels() -> None:
    stream = _stream(4, _answered(0, is_alert=True), _answered(1), _answered(2, is_alert=True), _answered(3))
    stream.fraud_sources = frozenset({_source(0), _source(1)})

    assert alert_outcome(stream) == AlertOutcome(caught=1, missed=1, false=1)
    assert "1 caught, 1 missed, 1 false" in _text(stream)


def test_a_doubled_alert_is_one_fraud_caught() -> None:
    stream = _stream(1, _answered(0, is_alert=True), _answered(0, is_alert=True))
    stream.fraud_sources = frozenset({_source(0)})

    assert alert_outcome(stream) == AlertOutcome(caught=1, missed=0, false=0)


def test_without_labels_nothing_is_compared() -> None:
    assert alert_outcome(_stream(1, _answered(0))) is None
    assert "labels" not in _text(_stream(1, _answered(0)))


def test_percentiles_are_in_milliseconds() -> None:
    stream = _stream(101, *[_answered(offset, latency_seconds=offset / 1000) for offset in range(101)])

    assert latency_percentiles_ms(stream) == pytest.approx({50: 50, 95: 95, 99: 99}, abs=1e-6)


def test_an_empty_stream_has_a_summary() -> None:
    assert latency_percentiles_ms(Stream()) == {}
    assert "Complete: 0 in, 0 predictions + 0 dead letters out." in _text(Stream())


def test_answers_and_dead_letters_make_it_complete() -> None:
    stream = _stream(2, _answered(0))
    assert "NOT COMPLETE: 2 in, 1 predictions + 0 dead letters out." in _text(stream)

    stream.add_dead_letter("not_finite", _source(1))
    assert "Complete: 2 in, 1 predictions + 1 dead letters out." in _text(stream)
    assert "(not_finite 1)" in _text(stream)


def test_one_doubled_does_not_make_up_for_one_lost() -> None:
    stream = _stream(2, _answered(0), _answered(0))

    assert "NOT COMPLETE: 2 in, 2 predictions + 0 dead letters out, 1 of them doubled." in _text(stream)


def test_doubles_are_told_and_lose_nothing() -> None:
    stream = _stream(1, _answered(0), _answered(0))

    assert "Complete: 1 in, 2 predictions + 0 dead letters out, 1 of them doubled." in _text(stream)


def test_answers_to_another_topic_do_not_count() -> None:
    stream = _stream(1, Answered(Source("another", 0, 0), 0.0, False, 1.0, 2.0))  # noqa: FBT003 - a tuple of facts

    assert not stream.is_complete


def test_records_that_are_no_predictions_are_told() -> None:
    stream = _stream(0)
    stream.n_foreign = 3

    assert "3 records of the predictions topic" in _text(stream)
