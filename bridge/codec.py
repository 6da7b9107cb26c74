"""Bytes to transactions, predictions and alerts to bytes. Bad input becomes a value: a dead letter with its reason.

A record is first read the quick way: straight into a typed struct that has the model's features and the fields of the
contract, and nothing else. A record that does not fit is read once more at leisure, which finds either the unknown
fields that it carries, or the reason why it cannot be scored.
"""

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

import msgspec

from app.scoring.manifest import Manifest
from app.scoring.message import read_transaction, transaction_message
from app.scoring.prediction import Alert, Evidence, Method, Prediction, Severity
from app.scoring.transaction import Transaction

Headers = Sequence[tuple[str, bytes]]

REASON_HEADER = "neighborwatch-reason"
MESSAGE_HEADER = "neighborwatch-message"
SOURCE_HEADER = "neighborwatch-source"
TIME_HEADER = "neighborwatch-time"
VERSION_HEADER = "neighborwatch-version"
REPLAYED_FROM_HEADER = "neighborwatch-replayed-from"
"""Header of a record that was a dead letter before: the place where it stood when it could not be read."""

_NOT_FINITE_WORDS = frozenset({"nan", "inf", "infinity"})


class Reason(StrEnum):
    """Why a record is a dead letter; each is a value of the header `neighborwatch-reason`."""

    EMPTY_VALUE = "empty_value"
    RECORD_TOO_LARGE = "record_too_large"
    INVALID_UTF8 = "invalid_utf8"
    INVALID_JSON = "invalid_json"
    NESTED_TOO_DEEPLY = "nested_too_deeply"
    NOT_AN_OBJECT = "not_an_object"
    MISSING_FEATURE = "missing_feature"
    WRONG_TYPE = "wrong_type"
    NOT_FINITE = "not_finite"
    NUMBER_OUT_OF_RANGE = "number_out_of_range"
    INVALID_TRANSACTION_ID = "invalid_transaction_id"
    INVALID_TIMESTAMP = "invalid_timestamp"
    INVALID_CARD_ID = "invalid_card_id"
    OUTPUT_TOO_LARGE = "output_too_large"
    NOT_AN_ALERT = "not_an_alert"
    WEBHOOK_REFUSED = "webhook_refused"
    WEBHOOK_UNAVAILABLE = "webhook_unavailable"


REASONS_OF_ALERTS = frozenset({Reason.NOT_AN_ALERT, Reason.WEBHOOK_REFUSED, Reason.WEBHOOK_UNAVAILABLE})
"""Those of the alert consumer; the others are of the bridge."""


class Record(Protocol):
    """What the codec reads of a consumed record (aiokafka's `ConsumerRecord` is one)."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class DeadLetter(NamedTuple):
    """A record that cannot be scored; message names the field and never its value."""

    reason: Reason
    message: str


class Source(msgspec.Struct, frozen=True, gc=False):
    """Where a transaction was read: the idempotency key of its prediction."""

    topic: str
    partition: int
    offset: int


class Codec:
    """Reads and writes the messages of one model, whose features are named once, at construction."""

    def __init__(self, manifest: Manifest, max_record_bytes: int) -> None:
        self._feature_names = manifest.feature_names
        self._known_names = frozenset(manifest.feature_names) | {"transaction_id", "timestamp_received", "card_id"}
        self._context_indices = [manifest.feature_names.index(name) for name in manifest.context_names]
        self._max_record_bytes = max_record_bytes
        self._strict = msgspec.json.Decoder(transaction_message(manifest, forbid_unknown_fields=True))
        self._tolerant = msgspec.json.Decoder(transaction_message(manifest, forbid_unknown_fields=False))
        self._fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
        self._prediction_message = _prediction_message(manifest, "PredictionMessage", [])
        self._alert_message = _prediction_message(
            manifest, "AlertMessage", [("severity", Severity), ("evidence", Evidence)]
        )
        self._encoder = msgspec.json.Encoder()

    def decode(self, record: Record) -> Transaction | DeadLetter:
        """The transaction in a record's value, or why there is none."""
        value = record.value
        if not value:
            return DeadLetter(Reason.EMPTY_VALUE, "The record has no value.")
        if len(value) > self._max_record_bytes:
            return DeadLetter(
                Reason.RECORD_TOO_LARGE, f"The record has {len(value)} bytes; {self._max_record_bytes} are allowed."
            )
        try:
            return _transaction(record, self._strict.decode(value), None)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self._decode_at_leisure(record, value)

    def encode_prediction(
        self, record: Record, transaction: Transaction, prediction: Prediction, scored_at: datetime
    ) -> bytes:
        return self._encoder.encode(self._fill(self._prediction_message, record, transaction, prediction, scored_at))

    def encode_alert(self, record: Record, transaction: Transaction, alert: Alert, scored_at: datetime) -> bytes:
        message = self._fill(
            self._alert_message,
            record,
            transaction,
            alert.prediction,
            scored_at,
            alert.severity,
            alert.evidence,
        )
        return self._encoder.encode(message)

    def encode_processed(
        self, transaction: Transaction, model_version: str, scaled_features: Mapping[str, float]
    ) -> bytes:
        return self._encoder.encode(
            {
                "transaction_id": transaction.transaction_id,
                "model_version": model_version,
                "scaled_features": scaled_features,
            }
        )

    def _fill(
        self,
        message: type[msgspec.Struct],
        record: Record,
        transaction: Transaction,
        prediction: Prediction,
        scored_at: datetime,
        *more: Any,
    ) -> msgspec.Struct:
        context = [transaction.features[index] for index in self._context_indices]
        return message(
            prediction.transaction_id,
            prediction.fraud_probability,
            prediction.is_fraud,
            prediction.threshold,
            prediction.model_version,
            prediction.method,
            *context,
            transaction.timestamp_received or _instant(record.timestamp) or scored_at,
            scored_at,
            Source(record.topic, record.partition, record.offset),
            *more,
            transaction.card_id,
            transaction.carried,
        )

    def _decode_at_leisure(self, record: Record, value: bytes) -> Transaction | DeadLetter:
        try:
            value.decode()
            fields = self._fields.decode(value)
            message = self._tolerant.decode(value)
        except UnicodeDecodeError as error:
            return DeadLetter(Reason.INVALID_UTF8, f"The value is not UTF-8 at byte {error.start}.")
        except RecursionError:
            return DeadLetter(Reason.NESTED_TOO_DEEPLY, "The value is nested too deeply.")
        except msgspec.ValidationError as error:
            return self._explain_fields(value, str(error))
        except msgspec.DecodeError as error:
            return _explain_malformed(value, str(error))
        carried = {name: raw for name, raw in fields.items() if name not in self._known_names}
        return _transaction(record, message, carried)

    def _explain_fields(self, value: bytes, complaint: str) -> DeadLetter:
        try:
            fields = self._fields.decode(value)
        except msgspec.DecodeError:
            return DeadLetter(Reason.NOT_AN_OBJECT, "The value is JSON but not an object.")
        for name in self._feature_names:
            if name not in fields:
                return DeadLetter(Reason.MISSING_FEATURE, f"The feature {name} is missing.")
            if problem := _explain_feature(name, fields[name]):
                return problem
        for name, reason in (
            ("transaction_id", Reason.INVALID_TRANSACTION_ID),
            ("timestamp_received", Reason.INVALID_TIMESTAMP),
            ("card_id", Reason.INVALID_CARD_ID),
        ):
            if complaint.endswith(f"`$.{name}`"):
                return DeadLetter(reason, f"{complaint.partition(' - at ')[0]} for {name}.")
        return DeadLetter(Reason.WRONG_TYPE, f"{complaint}.")


def encode_dead_letter_headers(record: Record, letter: DeadLetter, time: datetime, version: str) -> Headers:
    """The record's own headers, untouched, and behind them why it was not scored."""
    source = f"{record.topic}-{record.partition}-{record.offset}"
    return [
        *record.headers,
        (REASON_HEADER, letter.reason.encode()),
        (MESSAGE_HEADER, letter.message.encode()),
        (SOURCE_HEADER, source.encode()),
        (TIME_HEADER, time.isoformat().encode()),
        (VERSION_HEADER, version.encode()),
    ]


def decode_source(text: str) -> Source | None:
    """The place that a source header names, or None."""
    topic, *numbers = text.rsplit("-", 2)
    if not topic or len(numbers) != 2 or not all(number.isdecimal() for number in numbers):  # noqa: PLR2004 - partition and offset
        return None
    return Source(topic, int(numbers[0]), int(numbers[1]))


def _prediction_message(manifest: Manifest, name: str, more: list[tuple[str, Any]]) -> type[msgspec.Struct]:
    context = [(f"context_{index}", float) for index in range(len(manifest.context_names))]
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = [
        ("transaction_id", str),
        ("fraud_probability", float),
        ("is_fraud", bool),
        ("threshold", float),
        ("model_version", str),
        ("method", Method),
        *context,
        ("timestamp_received", datetime),
        ("scored_at", datetime),
        ("source", Source),
        *more,
        ("card_id", str | None, None),
        ("carried", dict[str, msgspec.Raw] | None, None),
    ]
    return msgspec.defstruct(
        name,
        fields,
        rename=dict(zip((name for name, _ in context), manifest.context_names, strict=True)),
        omit_defaults=True,
        gc=False,
    )


def _instant(timestamp_ms: int) -> datetime | None:
    """When a record was written; None for a number that is no time, which a sender is free to write."""
    try:
        return datetime.fromtimestamp(timestamp_ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _transaction(record: Record, message: Any, carried: dict[str, msgspec.Raw] | None) -> Transaction:
    # An id that is derived from the record's place is the same when the record is read again.
    return read_transaction(message, lambda: f"{record.topic}-{record.partition}-{record.offset}", carried or None)


def _explain_malformed(value: bytes, complaint: str) -> DeadLetter:
    constants: list[str] = []
    try:
        # Python's own parser reads the literals NaN and Infinity, which JSON does not have, and tells of them.
        json.loads(value, parse_constant=constants.append)
    except (ValueError, RecursionError):
        return DeadLetter(Reason.INVALID_JSON, f"{complaint}.")
    if constants:
        return DeadLetter(Reason.NOT_FINITE, f"The value has {constants[0]}, which JSON does not know.")
    return DeadLetter(Reason.INVALID_JSON, f"{complaint}.")


def _explain_feature(name: str, raw: msgspec.Raw) -> DeadLetter | None:
    text = bytes(raw).strip()
    if text[:1] == b'"':
        word = str(msgspec.json.decode(text)).strip().lstrip("+-").lower()
        if word in _NOT_FINITE_WORDS:
            return DeadLetter(Reason.NOT_FINITE, f"The feature {name} is not a finite number.")
    if text[:1] not in b"-0123456789":
        return DeadLetter(Reason.WRONG_TYPE, f"The feature {name} is not a number.")
    try:
        is_finite = math.isfinite(float(text))
    except ValueError:
        return DeadLetter(Reason.WRONG_TYPE, f"The feature {name} is not a number.")
    if not is_finite:
        return DeadLetter(Reason.NUMBER_OUT_OF_RANGE, f"The feature {name} is too large for a double.")
    return None
