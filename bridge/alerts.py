"""`python -m bridge alerts`: logs every alert, and posts it to a webhook where one is set.

An alert's offset is committed only after the webhook said yes, or, when its attempts are used up, after the alert
stands in a dead letter topic. A webhook may therefore see an alert twice: its `Idempotency-Key` is then the same. A
stop does not wait until a webhook's attempts are used up: the alert stays uncommitted, and comes at the next start.
Its HTTP port has metrics and health, like the bridge's.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from app import __version__
from bridge.alert_metrics import AlertMetrics
from bridge.alert_watch import AlertWatch
from bridge.codec import DeadLetter, Reason, encode_dead_letter_headers
from bridge.connection import consuming, probing, producing
from bridge.delivery import AtLeastOnceDelivery, Output
from bridge.health import Vitals, starting
from bridge.pulse import Pulse
from bridge.settings import Settings
from bridge.signals import stop_on_signal
from bridge.status import create_status_app, serving
from bridge.topics import prepare_topics
from bridge.webhook import Webhook

_POLL_WAIT_MS = 200

_log = structlog.get_logger(__name__)


class AlertConsumer:
    """Takes one alert after the other: log, webhook, commit."""

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        delivery: AtLeastOnceDelivery,
        dead_letter_topic: str,
        watch: AlertWatch,
        stopping: asyncio.Event,
    ) -> None:
        self._consumer = consumer
        self._delivery = delivery
        self._dead_letter_topic = dead_letter_topic
        self._watch = watch
        self._webhook = watch.webhook
        self._metrics = watch.metrics
        self._stopping = stopping

    async def main_loop(self) -> None:
        """Run until a stop is requested.

        Raises:
            DeliveryError: a dead letter or an offset was not confirmed.
        """
        while not self._stopping.is_set():
            # One at a time: alerts are few, and the attempts of many would outlast the group's patience.
            polled = await self._consumer.getmany(timeout_ms=_POLL_WAIT_MS, max_records=1)
            for partition, records in polled.items():
                for record in records:
                    await self._handle(partition, record)

    async def _handle(self, partition: TopicPartition, record: ConsumerRecord) -> None:
        self._watch.in_hand = record
        problem = _log_alert(record)
        if problem is None and self._webhook is not None:
            with self._metrics.notify_seconds.time():
                problem = await self._webhook.post(record.value, f"{record.topic}-{record.partition}-{record.offset}")
        if problem is not None and problem.reason is Reason.WEBHOOK_UNAVAILABLE and self._stopping.is_set():
            _log.info("stopped before the webhook took an alert; it is posted again at the next start")
            return
        outputs = [] if problem is None else [self._dead_letter(record, problem)]
        await self._delivery.deliver(outputs, {partition: record.offset + 1})
        self._watch.in_hand = None
        self._count(record, problem)

    def _count(self, record: ConsumerRecord, problem: DeadLetter | None) -> None:
        self._metrics.seen.inc()
        self._metrics.latency_seconds.observe(max(0.0, time.time() - record.timestamp / 1000))
        if problem is not None:
            self._metrics.failed.labels(problem.reason).inc()
        elif self._webhook is not None:
            self._metrics.notified.inc()

    def _dead_letter(self, record: ConsumerRecord, problem: DeadLetter) -> Output:
        _log.error("alert not taken; it is a dead letter now", source=_place(record), problem=problem.message)
        headers = encode_dead_letter_headers(record, problem, datetime.now(UTC), __version__)
        return Output(self._dead_letter_topic, 0, record.key, record.value, headers)


async def run(settings: Settings) -> None:
    """Log and post alerts until SIGINT or SIGTERM.

    Raises:
        BridgeError: the broker or the port cannot be used, or the broker did not confirm a dead letter or an offset.
    """
    metrics = AlertMetrics()
    pulse = Pulse(metrics.event_loop_lag_seconds)
    vitals = Vitals(pulse)
    vitals.readiness = starting("waits for the broker and its topics")
    status = create_status_app(metrics.registry, vitals)
    port = settings.alerts_http_port
    async with (
        serving(status, settings.http_host, port, setting="BRIDGE_ALERTS_HTTP_PORT") as address,
        pulse.beating(),
    ):
        await prepare_topics(settings, (settings.alerts_topic, settings.alerts_dead_letter_topic))
        await _take_alerts(settings, metrics, vitals, address)
    _log.info("alert consumer stopped")


async def _take_alerts(settings: Settings, metrics: AlertMetrics, vitals: Vitals, address: str) -> None:
    stopping = asyncio.Event()
    async with (
        producing(settings) as producer,
        consuming(settings, settings.alerts_group_id) as consumer,
        probing(settings) as probe,
        _webhook(settings, stopping, metrics) as webhook,
    ):
        watch = AlertWatch(consumer, probe, metrics, webhook)
        consumer.subscribe([settings.alerts_topic], listener=watch)
        vitals.readiness = watch.readiness
        delivery = AtLeastOnceDelivery(consumer, producer, settings.broker_timeout_seconds)
        alerts = AlertConsumer(consumer, delivery, settings.alerts_dead_letter_topic, watch, stopping)
        with stop_on_signal(stopping.set):
            _log.info("waiting for alerts", topic=settings.alerts_topic, has_webhook=webhook is not None, http=address)
            async with watch.watching():
                await alerts.main_loop()


@contextlib.asynccontextmanager
async def _webhook(settings: Settings, stopping: asyncio.Event, metrics: AlertMetrics) -> AsyncIterator[Webhook | None]:
    if settings.webhook_url is None:
        yield None
        return
    authorization = settings.webhook_authorization
    headers = {"Authorization": authorization.get_secret_value()} if authorization else {}
    async with httpx.AsyncClient(timeout=settings.webhook_timeout_seconds, headers=headers) as client:
        attempts = settings.webhook_attempts
        yield Webhook(client, str(settings.webhook_url), attempts, stopping, metrics.failed_attempts)


def _log_alert(record: ConsumerRecord) -> DeadLetter | None:
    """Log the alert on one line; gives why it is none, or None."""
    try:
        alert: dict[str, Any] = msgspec.json.decode(record.value or b"", type=dict[str, Any])
        facts = {name: alert.get(name) for name in ("transaction_id", "fraud_probability", "severity", "model_version")}
        decided = _decided(alert["evidence"])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError, TypeError, AttributeError):
        return DeadLetter(Reason.NOT_AN_ALERT, "The record is not an alert.")
    # The transaction's id leads an analyst to the card; the card itself stays out of the logs.
    context = {name: alert[name] for name in ("Time", "Amount", "timestamp_received") if name in alert}
    _log.warning("fraud alert", **facts, **context, **decided, source=_place(record))
    return None


def _decided(evidence: dict[str, Any]) -> dict[str, Any]:
    """The neighbours in a few words; of a model without any, the features that raise the probability."""
    neighbors = evidence["neighbors"]
    if not neighbors:
        return {"raised_by": [influence["feature"] for influence in evidence.get("influences", ())]}
    n_fraud = sum(bool(neighbor["is_fraud"]) for neighbor in neighbors)
    nearest = min(neighbor["distance"] for neighbor in neighbors)
    return {"frauds_among_neighbors": f"{n_fraud} of {len(neighbors)}", "nearest_distance": nearest}


def _place(record: ConsumerRecord) -> str:
    return f"{record.topic}[{record.partition}] {record.offset}"
