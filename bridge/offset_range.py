"""Which part of a topic: from and to, as offsets or as times, and what they come to on the broker."""

import argparse
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition

_ONE_OFFSET = re.compile(r"\d+")
_OFFSETS = re.compile(r"\d+:\d+(,\d+:\d+)*")


class OffsetRange(NamedTuple):
    """Offsets of a partition from start, and before stop."""

    start: int
    stop: int


class Bound(NamedTuple):
    """One end of a range: one offset for all partitions, one for each of some, or a time."""

    offset: int | None = None
    offsets: Mapping[int, int] | None = None
    time: datetime | None = None


def parse_bound(text: str) -> Bound:
    """`100`, `0:100,1:250` (partition:offset) or an ISO 8601 time; a time without a zone is UTC."""
    if _ONE_OFFSET.fullmatch(text):
        return Bound(offset=int(text))
    if _OFFSETS.fullmatch(text):
        pairs = (pair.split(":") for pair in text.split(","))
        return Bound(offsets={int(partition): int(offset) for partition, offset in pairs})
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither an offset (100), nor offsets by partition (0:100,1:250), nor an ISO 8601 time"
        ) from None
    return Bound(time=time if time.tzinfo else time.replace(tzinfo=UTC))


def add_range_arguments(parser: argparse.ArgumentParser) -> None:
    form = "offset, partition:offset,…, or ISO 8601 time"
    parser.add_argument(
        "--from", dest="first", type=parse_bound, metavar="BOUND", help=f"{form} (the first record that is kept)"
    )
    parser.add_argument(
        "--to",
        dest="last",
        type=parse_bound,
        metavar="BOUND",
        help=f"{form}, itself not included (what the bridge's group has committed, or the end where it has not)",
    )


async def resolve(
    consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition], first: Bound | None, last: Bound | None
) -> dict[TopicPartition, OffsetRange]:
    """What the bounds come to, within what the broker has.

    Partitions that are named by a bound are taken alone. Without `last`, a partition ends where its group has committed
    (the consumer's group), because what lies behind is still to be answered; where nothing is committed, at its end.
    """
    named = {number for bound in (first, last) if bound is not None for number in bound.offsets or ()}
    taken = [partition for partition in partitions if not named or partition.partition in named]
    begins = await consumer.beginning_offsets(taken)
    ends = await consumer.end_offsets(taken)
    starts = begins if first is None else await _offsets(consumer, first, begins, ends)
    stops = await _committed(consumer, ends) if last is None else await _offsets(consumer, last, ends, ends)
    ranges = {}
    for partition in taken:
        stop = min(stops[partition], ends[partition])
        ranges[partition] = OffsetRange(min(max(starts[partition], begins[partition]), stop), stop)
    return ranges


async def _offsets(
    consumer: AIOKafkaConsumer,
    bound: Bound,
    defaults: Mapping[TopicPartition, int],
    ends: Mapping[TopicPartition, int],
) -> Mapping[TopicPartition, int]:
    if bound.offset is not None:
        return dict.fromkeys(defaults, bound.offset)
    if bound.offsets is not None:
        return {where: bound.offsets.get(where.partition, default) for where, default in defaults.items()}
    moment_ms = int((bound.time or datetime.now(UTC)).timestamp() * 1000)
    found = await consumer.offsets_for_times(dict.fromkeys(defaults, moment_ms)) if defaults else {}
    # A partition without a record at or after the moment has nothing: it begins, or stops, at its end.
    return {where: ends[where] if at is None else at.offset for where, at in found.items()}


async def _committed(consumer: AIOKafkaConsumer, ends: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
    committed = {where: await consumer.committed(where) for where in ends}
    return {where: end if committed[where] is None else committed[where] for where, end in ends.items()}
