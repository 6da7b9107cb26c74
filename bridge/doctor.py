"""`python -m bridge doctor`: does everything that the bridge needs work, and if not, what is to be done?

Nothing is changed and no record is written, but missing topics are made where BRIDGE_CREATE_TOPICS says so. Whether
the output topics may be written to is found out by naming them in a Kafka transaction that is given up at once; where
there are no transactions, only a record could tell.
"""

import asyncio
import functools
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from rich.console import Console

from app.scoring.errors import ArtifactError
from app.source import artifact_files
from bridge.connection import connection_arguments, probing, transactional_producer
from bridge.delivery import check_transactions, stop_producer
from bridge.errors import BridgeError
from bridge.settings import Settings
from bridge.topics import prepare_topics

_PATIENCE_SECONDS = 10.0
_CLOCK_SECONDS = 5.0
_READ_SECONDS = 3.0


class AilmentError(Exception):
    """Something does not work; the message says what, and what to do."""


@dataclass(frozen=True)
class _Examination:
    """What is looked at, and what has to work before it is worth a look."""

    name: str
    examine: Callable[[Settings], Coroutine[Any, Any, str]]
    needs: tuple[str, ...] = ()


async def run(settings: Settings) -> int:
    """Examine everything, and tell.

    Returns:
        0 when all is well, 1 when something is not.
    """
    # Whoever asks waits for the answer: not as long as a bridge waits for its broker.
    patience_seconds = min(settings.broker_timeout_seconds, _PATIENCE_SECONDS)
    settings = settings.model_copy(update={"broker_timeout_seconds": patience_seconds})
    console = Console(highlight=False, soft_wrap=True)
    well: set[str] = set()
    for examination in _EXAMINATIONS:
        missing = [name for name in examination.needs if name not in well]
        if missing:
            console.print(f"[yellow]skipped[/]  {examination.name:<13}needs {missing[0]}")
            continue
        try:
            finding = await examination.examine(settings)
        except (AilmentError, BridgeError, ArtifactError) as error:
            console.print(f"[red]wrong[/]    {examination.name:<13}", end="")
            console.print(str(error), markup=False)
        else:
            well.add(examination.name)
            console.print(f"[green]well[/]     {examination.name:<13}", end="")
            console.print(finding, markup=False)
    is_well = len(well) == len(_EXAMINATIONS)
    console.print("Everything works." if is_well else "Something does not work; the lines above say what to do.")
    return 0 if is_well else 1


async def _settings(settings: Settings) -> str:
    given = sorted(name for name in settings.model_fields_set if name != "broker_timeout_seconds")
    if settings.transactional_id_scope == "instance":
        raise AilmentError(
            "BRIDGE_TRANSACTIONAL_ID_SCOPE=instance shuts no former owner out, and answers can come twice: unset it."
        )
    names = ", ".join(f"BRIDGE_{name.upper()}" for name in given)
    return f"{len(given)} are set: {names}" if given else "all have their defaults"


async def _artifact(settings: Settings) -> str:
    def load() -> str:
        with artifact_files(settings.artifact) as files:
            manifest = files.load(settings.artifact_sha256).manifest
            return f"model {manifest.model_version} with {len(manifest.feature_names)} features, from {files}"

    return await asyncio.to_thread(load)


async def _broker(settings: Settings) -> str:
    started = time.perf_counter()
    await prepare_topics(settings, ())
    milliseconds = 1000 * (time.perf_counter() - started)
    return f"{settings.bootstrap_servers} answers ({settings.security_protocol}, in {milliseconds:.0f} ms)"


async def _topics(settings: Settings) -> str:
    names = (settings.transactions_topic, *settings.output_topics)
    partitions = await prepare_topics(settings, names)
    few = [name for name in names if partitions[name] < partitions[settings.transactions_topic]]
    remark = f"; {', '.join(few)} has fewer than what is read, which is no fault" if few else ""
    return ", ".join(f"{name} ({count} partitions)" for name, count in partitions.items()) + remark


async def _reading(settings: Settings) -> str:
    async with probing(settings) as probe:
        partitions = await _partitions(settings)
        try:
            ends = await asyncio.wait_for(probe.end_offsets(partitions), _PATIENCE_SECONDS)
            probe.assign(partitions)
            await asyncio.wait_for(probe.getmany(timeout_ms=100), _PATIENCE_SECONDS)
        except (KafkaError, TimeoutError) as error:
            raise AilmentError(
                f"{settings.transactions_topic} cannot be read ({_sentence(error)}); allow this user READ on it."
            ) from error
    return f"{settings.transactions_topic} can be read; {sum(ends.values())} records went into it"


async def _group(settings: Settings) -> str:
    # Without joining: a new member would make the group share the partitions anew.
    consumer = AIOKafkaConsumer(**connection_arguments(settings), group_id=settings.group_id, enable_auto_commit=False)
    try:
        await consumer.start()
        partitions = await _partitions(settings)
        consumer.assign(partitions)
        committed = [await asyncio.wait_for(consumer.committed(where), _PATIENCE_SECONDS) for where in partitions]
        ends = await consumer.end_offsets(partitions)
    except (KafkaError, TimeoutError) as error:
        raise AilmentError(
            f"The offsets of the group {settings.group_id} cannot be read ({_sentence(error)}); "
            "allow this user READ on the group."
        ) from error
    finally:
        await consumer.stop()
    if all(offset is None for offset in committed):
        return f"{settings.group_id} has read nothing yet"
    waiting = sum(ends.values()) - sum(offset or 0 for offset in committed)
    return f"{settings.group_id}: {waiting} records wait"


async def _writing(settings: Settings) -> str:
    if settings.processing_guarantee == "at-least-once":
        return "not examined: at-least-once has no transactions, and without one only a record could tell"
    prefix = f"{settings.group_id}-{settings.transactions_topic}"
    make_producer = functools.partial(transactional_producer, settings)
    await check_transactions(make_producer, prefix, settings.broker_timeout_seconds)
    producer = make_producer(f"{prefix}-check")
    await producer.start()
    try:
        await producer.begin_transaction()
        transaction = producer._txn_manager  # noqa: SLF001 - aiokafka names a partition only with a record
        for topic in settings.output_topics:
            transaction.maybe_add_partition_to_txn(TopicPartition(topic, 0))
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while transaction.partitions_to_add() and transaction.is_in_transaction():  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.05)
            if not transaction.is_in_transaction():
                await transaction.wait_for_transaction_end()
        await producer.abort_transaction()
    except (KafkaError, TimeoutError) as error:
        raise AilmentError(
            f"{', '.join(settings.output_topics)} cannot all be written in a transaction ({_sentence(error)}); "
            "allow this user WRITE on them."
        ) from error
    finally:
        await stop_producer(producer)
    return f"{', '.join(settings.output_topics)} can be written in a transaction"


async def _clock(settings: Settings) -> str:
    async with probing(settings) as probe:
        partitions = await _partitions(settings)
        beginnings, ends = await probe.beginning_offsets(partitions), await probe.end_offsets(partitions)
        filled = [where for where in partitions if ends[where] > beginnings[where]]
        if not filled:
            return "not examined: no transaction is there to compare it with"
        probe.assign(filled)
        for where in filled:
            probe.seek(where, max(beginnings[where], ends[where] - 3))  # the last may be the end of a transaction
        newest_ms = await _newest_ms(probe)
    ahead_seconds = newest_ms / 1000 - time.time()
    if ahead_seconds > _CLOCK_SECONDS:
        raise AilmentError(
            f"The newest transaction is dated {ahead_seconds:.0f} s from now; let NTP set this machine's clock, or the "
            "sender's: latencies are wrong until then."
        )
    return f"the newest transaction is {-ahead_seconds:.0f} s old"


async def _newest_ms(probe: AIOKafkaConsumer) -> int:
    newest_ms = 0
    deadline = time.monotonic() + _READ_SECONDS
    while time.monotonic() < deadline:
        polled: Mapping[TopicPartition, list[Any]] = await probe.getmany(timeout_ms=500)
        if not polled:
            break
        newest_ms = max(newest_ms, *(record.timestamp for records in polled.values() for record in records))
    return newest_ms


async def _partitions(settings: Settings) -> list[TopicPartition]:
    counts = await prepare_topics(settings, (settings.transactions_topic,))
    return [TopicPartition(topic, number) for topic, count in counts.items() for number in range(count)]


def _sentence(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": .")


_EXAMINATIONS = (
    _Examination("settings", _settings),
    _Examination("artifact", _artifact),
    _Examination("broker", _broker),
    _Examination("topics", _topics, ("broker",)),
    _Examination("reading", _reading, ("broker", "topics")),
    _Examination("group", _group, ("broker", "topics")),
    _Examination("writing", _writing, ("broker", "topics")),
    _Examination("clock", _clock, ("broker", "topics", "reading")),
)
