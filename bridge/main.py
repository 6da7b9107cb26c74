"""The composition root of `python -m bridge run`: what is made, in which order it starts, and in which it stops."""

import contextlib
import functools
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition

from app.garbage import collect_rarely
from bridge.board import Board
from bridge.connection import MAX_BATCH_BYTES, consuming, probing, producing, transactional_producer
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
from bridge.model_process import ModelProcess, Plan, model_process
from bridge.page import About, Page
from bridge.poll import OutputTopics, Polls
from bridge.pulse import Pulse
from bridge.settings import Settings
from bridge.signals import stop_on_signal
from bridge.status import create_status_app, serving
from bridge.topics import largest_batch_bytes, prepare_topics
from bridge.tracing import tracing
from bridge.watchdog import Watchdog

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
    async with (
        serving(status, settings.http_host, settings.http_port) as address,
        pulse.beating(),
        _model(settings) as model,
    ):
        collect_rarely()
        metrics.name_model(model.manifest.model_version)
        metrics.watch_model(model.pid)
        about.name_model(model.manifest)
        vitals.readiness = starting("waits for the broker and its topics")
        partitions = await prepare_topics(settings, (settings.transactions_topic, *settings.output_topics))
        topics = OutputTopics(
            predictions=settings.predictions_topic,
            alerts=settings.alerts_topic,
            dead_letters=settings.dead_letter_topic,
            processed=settings.processed_topic,
            partitions=partitions,
            max_batch_bytes=await largest_batch_bytes(settings, settings.output_topics),
        )
        async with (
            tracing(os.environ, settings.group_id) as tracer,
            _deliveries(settings, topics) as make_delivery,
            probing(settings) as probe,
        ):
            polls = Polls(model, topics, metrics, board, tracer)
            watchdog = Watchdog(probe, metrics, settings.deaf_seconds)
            bridge = _bridge(settings, make_delivery, polls, watchdog)
            vitals.readiness = bridge.readiness
            with stop_on_signal(bridge.request_stop):
                _log.info(
                    "bridge runs",
                    transactions=settings.transactions_topic,
                    group=settings.group_id,
                    model_version=model.manifest.model_version,
                    artifact=model.source,
                    threshold=settings.threshold,
                    guarantee=settings.processing_guarantee,
                    http=address,
                )
                await bridge.main_loop(settings.transactions_topic)
    _log.info("bridge stopped; every poll that was answered is committed")


def _model(settings: Settings) -> AbstractAsyncContextManager[ModelProcess]:
    plan = Plan(
        artifact=str(settings.artifact),
        artifact_sha256=settings.artifact_sha256,
        threshold=settings.threshold,
        max_record_bytes=settings.max_record_bytes,
        with_processed=bool(settings.processed_topic),
    )
    return model_process(plan)


def _about(settings: Settings) -> About:
    return About(
        topic=settings.transactions_topic,
        group=settings.group_id,
        guarantee=settings.processing_guarantee,
        service_url=str(settings.service_url) if settings.service_url else None,
        threshold=settings.threshold,
    )


def _bridge(settings: Settings, make_delivery: MakeDelivery, polls: Polls, watchdog: Watchdog) -> Bridge:
    limits = Limits(
        max_poll_records=settings.max_poll_records,
        drain_seconds=settings.session_timeout_ms / 2000,
        timeout_seconds=settings.broker_timeout_seconds,
        runaway_seconds=settings.runaway_seconds,
    )
    return Bridge(
        lambda: consuming(settings, settings.group_id, settings.group_instance_id),
        make_delivery,
        polls,
        limits,
        watchdog,
    )


@contextlib.asynccontextmanager
async def _deliveries(settings: Settings, topics: OutputTopics) -> AsyncIterator[MakeDelivery]:
    """What delivers each partition's answers, by the guarantee that the settings ask for."""
    timeout_seconds = settings.broker_timeout_seconds
    max_batch_bytes = min((MAX_BATCH_BYTES, *topics.max_batch_bytes.values()))
    if settings.processing_guarantee == "at-least-once":
        async with producing(settings, max_batch_bytes) as producer:
            yield lambda consumer, partition: AtLeastOnce(
                AtLeastOnceDelivery(consumer, producer, timeout_seconds), partition
            )
        return

    group_id = settings.group_id
    make_producer = functools.partial(transactional_producer, settings, max_batch_bytes=max_batch_bytes)
    await check_transactions(make_producer, f"{group_id}-{settings.transactions_topic}", timeout_seconds)
    instance = uuid.uuid4().hex if settings.transactional_id_scope == "instance" else None

    def exactly_once(_: AIOKafkaConsumer, partition: TopicPartition) -> Delivery:
        name = transactional_id(group_id, partition, instance)
        targets = topics.targets(partition.partition)
        return ExactlyOnce(functools.partial(make_producer, name), partition, targets, group_id, timeout_seconds)

    yield exactly_once
