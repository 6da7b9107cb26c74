"""The short way of `POST /score` says what the application's own route says, of whatever comes."""

import json
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.artifacts import FEATURE_NAMES, LEGITIMATE

_JSON = {"Content-Type": "application/json"}
_NUMBERS = st.one_of(st.floats(allow_nan=True, allow_infinity=True), st.integers(-(2**70), 2**70))
_ANYTHING = st.one_of(st.none(), st.booleans(), _NUMBERS, st.text(max_size=300), st.lists(st.integers(), max_size=2))
_FIELDS = st.fixed_dictionaries(
    {"transaction_id": st.just("t")},
    optional={
        "card_id": _ANYTHING,
        "timestamp_received": st.one_of(_ANYTHING, st.datetimes(timezones=st.timezones()).map(lambda t: t.isoformat())),
        "more": _ANYTHING,
        **dict.fromkeys(FEATURE_NAMES, st.one_of(_NUMBERS, _ANYTHING)),
    },
)


def _answers(client: httpx.Client, body: bytes) -> list[tuple[int, Any]]:
    """The short way's, and that of the application, which every request with a query takes."""
    answers = [client.post(url, content=body, headers=_JSON) for url in ("/score", "/score?long=1")]
    return [(answer.status_code, answer.json()) for answer in answers]


@settings(deadline=None)
@given(_FIELDS)
def test_both_ways_say_the_same_of_any_fields(client: httpx.Client, fields: dict[str, Any]) -> None:
    short, long = _answers(client, json.dumps(LEGITIMATE | fields).encode())

    assert short == long


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b'{"transaction_id": "\\ud800"}',
        b"\xff",
        b"[" * 10_000,
        json.dumps(LEGITIMATE).encode().replace(b"{", b'{"V1": 5, ', 1),
        json.dumps(LEGITIMATE | {"transaction_id": "x" * 257}).encode(),
        json.dumps(LEGITIMATE | {"transaction_id": "é" * 256}).encode(),
        json.dumps(LEGITIMATE | {"transaction_id": "@"}).encode().replace(b"@", b"\\ud800"),
        json.dumps(LEGITIMATE | {"transaction_id": "@"}).encode().replace(b"@", b"\xff"),
        json.dumps(LEGITIMATE | {"V1": "@"}).encode().replace(b'"@"', b"1e400"),
        json.dumps(LEGITIMATE | {"V1": "@"}).encode().replace(b'"@"', b"1" * 400),
        json.dumps(LEGITIMATE | {"V1": "@"}).encode().replace(b'"@"', b"01"),
        json.dumps(LEGITIMATE | {"timestamp_received": "2026-01-01T00:00:00"}).encode(),
        json.dumps(LEGITIMATE | {"timestamp_received": "2026-13-01T00:00:00Z"}).encode(),
    ],
    ids=lambda body: body[:40].decode(errors="replace") + f" ({len(body)})",
)
def test_both_ways_say_the_same_of_a_strange_body(client: httpx.Client, body: bytes) -> None:
    short, long = _answers(client, body)

    if short[0] == 200 and b"transaction_id" not in body:  # each makes an id
        for _, answer in (short, long):
            answer.pop("transaction_id")
    assert short == long
