"""The composition root of `python -m bridge run`: what is made, in which order it starts, and in which it stops."""

import asyncio
import contextlib
import functools
import gc
import os
import uuid
from collections.abc import AsyncIterator

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition

from app.scoring.artifact import Artifact
from app.scoring.scorer import Scorer
from app.source import artifact_files
from bridge.answer import Answerer, AnswerThread, OutputTopics
from bridge.board import Board
from bridge.codec import Codec
from bridge.connection import consuming, probing, producing, transactional_producer
from bridge.delivery import (
    AtLeastOnce,
    AtLeastOnceDelivery,
    Delivery,
    ExactlyOnce,
    check_transactions,
    transactional_id,
)
from bridge.health import Vitals, starting
from bridge.lane import Limits
from bridge.loop import Bridge, MakeDelivery
from bridge.metrics import Metrics
from bridge.page import About, Page
from bridge.pulse import Pulse
from bridge.settings import Settings
from bridge.signals import stop_on_signal
from bridge.status import create_status_app, serving
from bridge.topics import prepare_topics
from bridge.tracing import tracing
from bridge.watchdog import Watchdog

_OBJECTS_BETWEEN_COLLECTIONS = 50_000

_log = structlog.get_logger(__name__)


async def run(settings: Settings) -> None:
    """Answer transactions until SIGINT or SIGTERM.

    Raises:
        ArtifactError: the model cannot be used.
        BridgeError: the broker or a port cannot be used, or the broker did not confirm what was published.
    """
    metrics = Metrics()
    pulse = Pulse(metrics.event_loop_lag_seconds)
    vitals = Vitals(pulse)
    board, about = Board(), _about(settings)
    status = create_status_app(metrics.registry, vitals, Page(board, metrics, vitals, about))
    async with serving(status, settings.http_host, settings.http_port) as address, pulse.beating():
        artifact, source = await asyncio.to_thread(_load, settings)
        scorer = await asyncio.to_thread(Scorer, artifact, settings.threshold)
        _collect_garbage_rarely()
        metrics.name_model(artifact.manifest.model_version)
        about.name_model(artifact.manifest)
        vitals.readiness = starting("waits for the broker and its topics")
        partitions = await prepare_topics(settings, (settings.transactions_topic, *settings.output_topics))
        topics = OutputTopics(
            predictions=settings.predictions_topic,
            alerts=settings.alerts_topic,
            dead_letters=settings.dead_letter_topic,
            processed=settings.processed_topic,
            partitions=partitions,
        )
        codec = Codec(artifact.manifest, settings.max_record_bytes)
        async with (
            tracing(os.environ, settings.group_id) as tracer,
            _deliveries(settings) as make_delivery,
            probing(settings) as probe,
        ):
            thread = AnswerThread(Answerer(codec, scorer, topics), metrics, board, tracer)
            watchdog = Watchdog(probe, metrics, settings.deaf_seconds)
            bridge = _bridge(settings, make_delivery, thread, watchdog)
            vitals.readiness = bridge.readiness
            with stop_on_signal(bridge.request_stop):
                _log.info(
                    "bridge runs",
                    transactions=settings.transactions_topic,
                    group=settings.group_id,
                    model_version=artifact.manifest.model_version,
                    artifact=source,
                    threshold=settings.threshold,
                    guarantee=settings.processing_guarantee,
                    http=address,
                )
                await bridge.main_loop(settings.transactions_topic)
    _log.info("bridge stopped; every poll that was answered is committed")


def _load(settings: Settings) -> tuple[Artifact, str]:
    """The artifact, and where it was in the end: an alias points to another version tomorrow."""
    with artifact_files(settings.artifact) as files:
        return files.load(settings.artifact_sha256), str(files)


def _about(settings: Settings) -> About:
    return About(
        topic=settings.transactions_topic,
        group=settings.group_id,
        guarantee=settings.processing_guarantee,
        service_url=str(settings.service_url) if settings.service_url else None,
        threshold=settings.threshold,
    )


def _bridge(settings: Settings, make_delivery: MakeDelivery, thread: AnswerThread, watchdog: Watchdog) -> Bridge:
    limits = Limits(
        max_poll_records=settings.max_poll_records,
        drain_seconds=settings.session_timeout_ms / 2000,
        timeout_seconds=settings.broker_timeout_seconds,
        runaway_seconds=settings.runaway_seconds,
    )
    return Bridge(
        lambda: consuming(settings, settings.group_id, settings.group_instance_id),
        make_delivery,
        thread,
        limits,
        watchdog,
    )


@contextlib.asynccontextmanager
async def _deliveries(settings: Settings) -> AsyncIterator[MakeDelivery]:
    """What delivers each partition's answers, by the guarantee that the settings ask for."""
    timeout_seconds = settings.broker_timeout_seconds
    if settings.processing_guarantee == "at-least-once":
        async with producing(settings) as producer:
            yield lambda consumer, partition: AtLeastOnce(
                AtLeastOnceDelivery(consumer, producer, timeout_seconds), partition
            )
        return

    group_id = settings.group_id
    make_producer = functools.partial(transactional_producer, settings)
    await check_transactions(make_producer, f"{group_id}-{settings.transactions_topic}", timeout_seconds)
    instance = uuid.uuid4().hex if settings.transactional_id_scope == "instance" else None

    def exactly_once(_: AIOKafkaConsumer, partition: TopicPartition) -> Delivery:
        name = transactional_id(group_id, partition, instance)
        return ExactlyOnce(functools.partial(make_producer, name), partition, group_id, timeout_seconds)

    yield exactly_once


def _collect_garbage_rarely() -> None:
    # A poll makes thousands of objects that die with it, without cycles. The collector looked at them, and at the
    # model, several times a poll: without that a filled topic is answered a fifth faster.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
