import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.scoring.artifact import load_artifact
from app.scoring.manifest import Manifest
from app.scoring.prediction import Alert, Evidence, Method, Neighbor, Prediction, Severity
from app.scoring.transaction import Transaction
from bridge.codec import (
    REASONS_OF_ALERTS,
    Codec,
    DeadLetter,
    Headers,
    Reason,
    Source,
    decode_source,
    encode_dead_letter_headers,
)
from tests.artifacts import FEATURE_NAMES, LEGITIMATE

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MAX_RECORD_BYTES = 10_000

# Offsets and not places: Python calls no two times equal of which one is in the hour that a place has twice.
_ZONES = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@dataclass
class Record:
    """What the codec reads of a consumed record."""

    value: bytes | None
    key: bytes | None = None
    topic: str = "transactions"
    partition: int = 2
    offset: int = 17
    timestamp: int = 1_767_323_045_000
    headers: Headers = ()


@pytest.fixture(scope="session")
def codec(artifact: Any) -> Codec:
    manifest: Manifest = load_artifact(artifact).manifest
    return Codec(manifest, MAX_RECORD_BYTES)


def _json(**changes: Any) -> bytes:
    return json.dumps({"transaction_id": "t-1", **LEGITIMATE, **changes}).encode()


def _literal(name: str, text: bytes) -> bytes:
    return _json(**{name: "@"}).replace(b'"@"', text)


def _prediction(transaction: Transaction) -> Prediction:
    return Prediction(
        transaction.transaction_id, 0.75, is_fraud=False, threshold=0.8, model_version="v1", method=Method.SEARCHED
    )


def _answer(codec: Codec, record: Record) -> dict[str, Any]:
    """The prediction's message for a record that can be read."""
    transaction = codec.decode(record)
    assert isinstance(transaction, Transaction)
    message: dict[str, Any] = json.loads(codec.encode_prediction(record, transaction, _prediction(transaction), NOW))
    return message


_MISSING = json.dumps({name: value for name, value in LEGITIMATE.items() if name != "V2"}).encode()
_NESTED = b"[" * 2_000 + b"]" * 2_000
UNREADABLE: Sequence[tuple[bytes | None, Reason]] = [
    (None, Reason.EMPTY_VALUE),
    (b"", Reason.EMPTY_VALUE),
    (_json(note="x" * MAX_RECORD_BYTES), Reason.RECORD_TOO_LARGE),
    (b'{"V1": "\xff"}', Reason.INVALID_UTF8),
    (b"\xff\xfe", Reason.INVALID_UTF8),
    (b"no JSON", Reason.INVALID_JSON),
    (_json()[:-1], Reason.INVALID_JSON),
    (_json() + b"}", Reason.INVALID_JSON),
    (b"\xef\xbb\xbf" + _json(), Reason.INVALID_JSON),
    (_literal("note", rb'"\ud800"'), Reason.INVALID_JSON),
    (_literal("V1", _NESTED), Reason.NESTED_TOO_DEEPLY),
    (b"[]", Reason.NOT_AN_OBJECT),
    (b"null", Reason.NOT_AN_OBJECT),
    (b"7", Reason.NOT_AN_OBJECT),
    (_MISSING, Reason.MISSING_FEATURE),
    (b"{}", Reason.MISSING_FEATURE),
    (_json(V1="1"), Reason.WRONG_TYPE),
    (_json(V1=None), Reason.WRONG_TYPE),
    (_json(V1=[1]), Reason.WRONG_TYPE),
    (_json(V1={}), Reason.WRONG_TYPE),
    (_json(V1=False), Reason.WRONG_TYPE),
    (_literal("V1", b"NaN"), Reason.NOT_FINITE),
    (_literal("V1", b"Infinity"), Reason.NOT_FINITE),
    (_json(V1="NaN"), Reason.NOT_FINITE),
    (_json(V1="-inf"), Reason.NOT_FINITE),
    (_literal("V1", b"1e309"), Reason.NUMBER_OUT_OF_RANGE),
    (_literal("V1", b"-" + b"9" * 5_000), Reason.NUMBER_OUT_OF_RANGE),
    (_json(transaction_id=""), Reason.INVALID_TRANSACTION_ID),
    (_json(transaction_id=7), Reason.INVALID_TRANSACTION_ID),
    (_json(transaction_id="x" * 257), Reason.INVALID_TRANSACTION_ID),
    (_json(timestamp_received="yesterday"), Reason.INVALID_TIMESTAMP),
    (_json(timestamp_received="2026-01-01T00:00:00"), Reason.INVALID_TIMESTAMP),
    (_json(timestamp_received=1_767_323_045), Reason.INVALID_TIMESTAMP),
    (_json(card_id=""), Reason.INVALID_CARD_ID),
    (_json(card_id=1.5), Reason.INVALID_CARD_ID),
]


@pytest.mark.parametrize(("value", "reason"), UNREADABLE)
def test_a_record_that_cannot_be_scored_says_why(codec: Codec, value: bytes | None, reason: Reason) -> None:
    letter = codec.decode(Record(value))

    assert isinstance(letter, DeadLetter)
    assert letter.reason is reason


def test_every_reason_has_a_record() -> None:
    assert {reason for _, reason in UNREADABLE} == set(Reason) - REASONS_OF_ALERTS - {Reason.OUTPUT_TOO_LARGE}


@pytest.mark.parametrize("word", ["4711-0815", "secret-name"])
@pytest.mark.parametrize("name", [*FEATURE_NAMES, "transaction_id", "timestamp_received", "card_id"])
def test_a_message_names_the_field_and_never_its_value(codec: Codec, name: str, word: str) -> None:
    letter = codec.decode(Record(_json(**{name: [word]})))

    assert isinstance(letter, DeadLetter)
    assert name in letter.message
    assert word not in letter.message


@given(
    value=st.one_of(st.binary(), st.recursive(st.none() | st.floats() | st.text(), st.lists).map(repr).map(str.encode))
)
def test_no_bytes_break_it(codec: Codec, value: bytes) -> None:
    assert isinstance(codec.decode(Record(value)), (Transaction, DeadLetter))


_JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_KNOWN = st.sampled_from([*FEATURE_NAMES, "transaction_id", "timestamp_received", "card_id", "source", "carried"])


@given(
    changes=st.dictionaries(_KNOWN | st.text(), _JSON_VALUES, max_size=4), timestamp=st.integers(-(2**63), 2**63 - 1)
)
def test_whatever_is_read_can_be_answered(codec: Codec, changes: dict[str, Any], timestamp: int) -> None:
    record = Record(json.dumps({**LEGITIMATE, **changes}).encode(), timestamp=timestamp)
    if isinstance(transaction := codec.decode(record), Transaction):
        json.loads(codec.encode_prediction(record, transaction, _prediction(transaction), NOW))


_FINITE = st.floats(allow_nan=False, allow_infinity=False)


@given(features=st.tuples(*[_FINITE] * len(FEATURE_NAMES)))
def test_every_finite_number_comes_through_to_the_last_bit(codec: Codec, features: tuple[float, ...]) -> None:
    value = json.dumps(dict(zip(FEATURE_NAMES, features, strict=True))).encode()

    transaction = codec.decode(Record(value))

    assert isinstance(transaction, Transaction)
    assert [number.hex() for number in transaction.features] == [number.hex() for number in features]


@given(
    transaction_id=st.text(min_size=1, max_size=256),
    card_id=st.text(min_size=1, max_size=256),
    instant=st.datetimes(min_value=datetime(1970, 1, 2), timezones=_ZONES),  # noqa: DTZ001 - given above
)
def test_ids_and_times_come_through(codec: Codec, transaction_id: str, card_id: str, instant: datetime) -> None:
    value = _json(
        transaction_id=transaction_id, card_id=card_id, timestamp_received=instant.astimezone(UTC).isoformat()
    )

    message = _answer(codec, Record(value))

    assert (message["transaction_id"], message["card_id"]) == (transaction_id, card_id)
    assert datetime.fromisoformat(message["timestamp_received"]) == instant


@given(carried=st.dictionaries(st.text().filter(lambda name: name not in LEGITIMATE), _JSON_VALUES, min_size=1))
def test_unknown_fields_are_carried_along_untouched(codec: Codec, carried: dict[str, Any]) -> None:
    known = {"transaction_id", "timestamp_received", "card_id"}
    fields = {name: value for name, value in carried.items() if name not in known}
    try:
        value = json.dumps({"transaction_id": "t-1", **LEGITIMATE, **fields}, allow_nan=False).encode()
    except ValueError:
        return  # JSON knows no NaN, and neither does the contract
    assert _answer(codec, Record(value)).get("carried", {}) == fields


def test_a_number_as_card_id_becomes_text(codec: Codec) -> None:
    assert _answer(codec, Record(_json(card_id=14_080)))["card_id"] == "14080"


def test_a_missing_id_is_the_records_place(codec: Codec) -> None:
    assert _answer(codec, Record(json.dumps(LEGITIMATE).encode()))["transaction_id"] == "transactions-2-17"


def test_a_missing_time_is_the_records_own(codec: Codec) -> None:
    assert _answer(codec, Record(_json()))["timestamp_received"] == "2026-01-02T03:04:05Z"


@pytest.mark.parametrize("timestamp", [10**18, -(10**18)])
def test_a_record_time_that_is_no_time_is_replaced(codec: Codec, timestamp: int) -> None:
    message = _answer(codec, Record(_json(), timestamp=timestamp))

    assert message["timestamp_received"] == message["scored_at"]


def test_an_alert_is_its_prediction_with_severity_and_evidence(codec: Codec) -> None:
    record = Record(_json())
    transaction = codec.decode(record)
    assert isinstance(transaction, Transaction)
    neighbor = Neighbor(401, 0.25, is_fraud=True, context={"Amount": 9.5})
    alert = Alert(_prediction(transaction), Severity.HIGH, Evidence((neighbor,), ()))

    message = json.loads(codec.encode_alert(record, transaction, alert, NOW))

    assert message.pop("severity") == "high"
    assert message.pop("evidence") == {
        "neighbors": [{"reference_id": 401, "distance": 0.25, "is_fraud": True, "context": {"Amount": 9.5}}],
        "nearest_frauds": [],
        "influences": [],
        "not_available": None,
    }
    assert message == _answer(codec, record)


def test_scaled_features_are_named(codec: Codec) -> None:
    transaction = codec.decode(Record(_json()))
    assert isinstance(transaction, Transaction)

    message = json.loads(codec.encode_processed(transaction, "v1", {"V1": 0.5}))

    assert message == {"transaction_id": "t-1", "model_version": "v1", "scaled_features": {"V1": 0.5}}


def test_a_dead_letter_keeps_the_senders_headers_in_front() -> None:
    record = Record(b"", headers=[("a", b"1"), ("a", b"\xff")])

    headers = encode_dead_letter_headers(record, DeadLetter(Reason.EMPTY_VALUE, "No value."), NOW, "1.0")

    assert list(headers) == [
        ("a", b"1"),
        ("a", b"\xff"),
        ("neighborwatch-reason", b"empty_value"),
        ("neighborwatch-message", b"No value."),
        ("neighborwatch-source", b"transactions-2-17"),
        ("neighborwatch-time", b"2026-01-02T03:04:05+00:00"),
        ("neighborwatch-version", b"1.0"),
    ]


@pytest.mark.parametrize("topic", ["transactions", "card-2026-transactions", "a.b_c"])
def test_a_source_is_read_back(topic: str) -> None:
    assert decode_source(f"{topic}-2-17") == Source(topic, 2, 17)


@pytest.mark.parametrize("text", ["", "transactions", "transactions-2", "transactions-2-x", "a--2"])
def test_what_names_no_place_has_none(text: str) -> None:
    assert decode_source(text) is None


def test_negative_zero_stays_negative(codec: Codec) -> None:
    transaction = codec.decode(Record(_literal("V1", b"-0.0")))

    assert isinstance(transaction, Transaction)
    assert math.copysign(1, transaction.features[1]) == -1
