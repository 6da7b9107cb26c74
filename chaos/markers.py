"""How transactions ended: the markers that the broker wrote behind them, read from its own log files.

No client shows them. Every transaction of the bridge has offsets in it, and its marker stands once in the partition of
`__consumer_offsets` that its group belongs to.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_HEADER = struct.Struct(">qiibIhiqqqhii")  # a record batch of the message format 2, up to its records
_CONTROL = 0x20
_ABORT, _COMMIT = 0, 1


class Markers(NamedTuple):
    """Transactions that were committed, and transactions that were aborted."""

    committed: int
    aborted: int


def count_markers(data_directory: Path, topic: str = "__consumer_offsets") -> Markers:
    """Count the markers in all partitions of a topic, in the data directory of a broker on this machine."""
    files = sorted(data_directory.glob(f"{topic}-*/*.log"))
    kinds = [kind for file in files for kind in _marker_kinds(file.read_bytes())]
    return Markers(committed=kinds.count(_COMMIT), aborted=kinds.count(_ABORT))


def _marker_kinds(log: bytes) -> Iterator[int]:
    position = 0
    while position + _HEADER.size <= len(log):
        fields = _HEADER.unpack_from(log, position)
        length, attributes = fields[1], fields[5]
        if length <= 0:
            return  # the rest of the file is not written yet
        if attributes & _CONTROL:
            yield _kind(log, position + _HEADER.size)
        position += 12 + length


def _kind(log: bytes, position: int) -> int:
    """The type in the key of a control record: length, attributes, time and offset come before it."""
    position = _skip_varint(log, position) + 1
    for _ in range(3):  # difference of time, difference of offset, length of the key
        position = _skip_varint(log, position)
    _, kind = struct.unpack_from(">hh", log, position)
    return int(kind)


def _skip_varint(log: bytes, position: int) -> int:
    while log[position] & 0x80:
        position += 1
    return position + 1
