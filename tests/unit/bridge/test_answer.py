"""What becomes of an answer when one of its records cannot be published."""

from datetime import UTC, datetime

from bridge.answer import Answer, Extra, Kind, Taken
from bridge.codec import DeadLetter, Reason

_LETTER = DeadLetter(Reason.OUTPUT_TOO_LARGE, "It is too large.")


def _answer() -> Answer:
    """Of four records: the second cannot be read, the third is an alert."""
    return Answer(
        predictions=[b"0", None, b"2", b"3"],
        extras=[Extra(Kind.DEAD_LETTER, 1, None), Extra(Kind.ALERT, 2, b"alert")],
        fraud_probabilities=[0.0, 0.9, 0.1],
    )


def test_the_outputs_are_of_the_scored_records_and_then_of_the_extras() -> None:
    assert _answer().output_indices() == [0, 2, 3, 1, 2]


def test_what_is_withdrawn_is_neither_published_nor_counted() -> None:
    answer = _answer()
    answer.withdraw(2)

    assert answer.predictions == [b"0", None, None, b"3"]
    assert [(extra.kind, extra.index) for extra in answer.extras] == [(Kind.DEAD_LETTER, 1)]
    assert answer.fraud_probabilities == [0.0, 0.1]
    assert answer.alerts == []


def test_what_is_buried_says_why_and_where_it_stood() -> None:
    answer = _answer()
    answer.bury(3, Taken("transactions", 1, 13, 0, None), _LETTER, datetime(2026, 1, 1, tzinfo=UTC))

    letter = answer.extras[-1]
    assert (letter.kind, letter.index, letter.value) == (Kind.DEAD_LETTER, 3, None)
    assert [value for _, value in letter.headers][:3] == [
        b"output_too_large",
        b"It is too large.",
        b"transactions-1-13",
    ]
    assert answer.dead_letters == {Reason.OUTPUT_TOO_LARGE: 1}
    assert answer.first_dead_letters == {Reason.OUTPUT_TOO_LARGE: "transactions[1] 13"}
