import argparse
from datetime import UTC, datetime

import pytest

from bridge.offset_range import Bound, parse_bound


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ("100", Bound(offset=100)),
        ("2:100", Bound(offsets={2: 100})),
        ("0:7,12:250", Bound(offsets={0: 7, 12: 250})),
        ("2026-01-02", Bound(time=datetime(2026, 1, 2, tzinfo=UTC))),
        ("2026-01-02T03:04:05", Bound(time=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))),
        ("2026-01-02T03:04:05+02:00", Bound(time=datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC))),
    ],
)
def test_a_bound_is_an_offset_or_offsets_or_a_time(text: str, bound: Bound) -> None:
    assert parse_bound(text) == bound


@pytest.mark.parametrize("text", ["yesterday", "1:", "1:2,3", "-4", ""])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is neither an offset"):
        parse_bound(text)
