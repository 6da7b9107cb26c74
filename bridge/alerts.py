"""`python -m bridge alerts`: logs every alert, and posts it to a webhook where one is set.

An alert's offset is committed only after the webhook said yes, or, when its attempts are used up, after the alert
stands in a dead letter topic. A webhook may therefore see an alert twice: its `Idempotency-Key` is then the same. A
stop does not wait until a webhook's attempts are used up: the alert stays uncommitted, and comes at the next start.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    wait_exponential,
)

from app import __version__
from bridge.codec import DeadLetter, Reason, encode_dead_letter_headers
from bridge.connection import consuming, producing
from bridge.delivery import AtLeastOnceDelivery, Output
from bridge.settings import Settings
from bridge.signals import stop_on_signal
from bridge.topics import prepare_topics

_POLL_WAIT_MS = 200
_RETRY_LATER = frozenset({408, 425, 429})
_FIRST_SERVER_ERROR = 500

_log = structlog.get_logger(__name__)


class _NotTakenError(Exception):
    """The webhook did not say yes; whether it is worth another attempt decides which subclass."""


class _TryAgainError(_NotTakenError):
    pass


class Webhook:
    """Posts alerts, with attempts and exponential back-off, which end early when `stopping` is set."""

    def __init__(self, client: httpx.AsyncClient, url: str, attempts: int, stopping: asyncio.Event) -> None:
        self._client = client
        self._url = url
        self._attempts = attempts
        self._stopping = stopping

    async def post(self, alert: bytes, idempotency_key: str) -> DeadLetter | None:
        """None when the webhook took the alert, otherwise why it did not."""
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(_TryAgainError),
            stop=self._gives_up,
            wait=wait_exponential(multiplier=0.5, max=8),
            sleep=self._sleep,
            before_sleep=_tell,
            reraise=True,
        )
        try:
            await retrying(self._post_once, alert, idempotency_key)
        except _TryAgainError as error:
            return DeadLetter(Reason.WEBHOOK_UNAVAILABLE, f"The webhook did not take the alert: {error}.")
        except _NotTakenError as error:
            return DeadLetter(Reason.WEBHOOK_REFUSED, f"The webhook refused the alert: {error}.")
        return None

    def _gives_up(self, state: RetryCallState) -> bool:
        return state.attempt_number >= self._attempts or self._stopping.is_set()

    async def _sleep(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _post_once(self, alert: bytes, idempotency_key: str) -> None:
        headers = {"Content-Type": "application/json", "Idempotency-Key": idempotency_key}
        try:
            response = await self._client.post(self._url, content=alert, headers=headers)
        except httpx.HTTPError as error:
            raise _TryAgainError(f"no answer ({type(error).__name__})") from error
        if response.is_success:
            return
        status = response.status_code
        if status in _RETRY_LATER or status >= _FIRST_SERVER_ERROR:
            raise _TryAgainError(f"status {status}")
        raise _NotTakenError(f"status {status}")


class AlertConsumer:
    """Takes one alert after the other: log, webhook, commit."""

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        delivery: AtLeastOnceDelivery,
        dead_letter_topic: str,
        webhook: Webhook | None,
        stopping: asyncio.Event,
    ) -> None:
        self._consumer = consumer
        self._delivery = delivery
        self._dead_letter_topic = dead_letter_topic
        self._webhook = webhook
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
        problem = _log_alert(record)
        if problem is None and self._webhook is not None:
            key = f"{record.topic}-{record.partition}-{record.offset}"
            problem = await self._webhook.post(record.value, key)
        if problem is not None and problem.reason is Reason.WEBHOOK_UNAVAILABLE and self._stopping.is_set():
            _log.info("stopped before the webhook took an alert; it is posted again at the next start")
            return
        outputs = [] if problem is None else [self._dead_letter(record, problem)]
        await self._delivery.deliver(outputs, {partition: record.offset + 1})

    def _dead_letter(self, record: ConsumerRecord, problem: DeadLetter) -> Output:
        _log.error("alert not taken; it is a dead letter now", source=_place(record), problem=problem.message)
        headers = encode_dead_letter_headers(record, problem, datetime.now(UTC), __version__)
        return Output(self._dead_letter_topic, 0, record.key, record.value, headers)


async def run(settings: Settings) -> None:
    """Log and post alerts until SIGINT or SIGTERM.

    Raises:
        BridgeError: the broker cannot be used, or did not confirm a dead letter or an offset.
    """
    await prepare_topics(settings, (settings.alerts_topic, settings.alerts_dead_letter_topic))
    async with producing(settings) as producer, consuming(settings, settings.alerts_group_id) as consumer:
        consumer.subscribe([settings.alerts_topic])
        delivery = AtLeastOnceDelivery(consumer, producer, settings.broker_timeout_seconds)
        stopping = asyncio.Event()
        async with _webhook(settings, stopping) as webhook:
            alerts = AlertConsumer(consumer, delivery, settings.alerts_dead_letter_topic, webhook, stopping)
            with stop_on_signal(stopping.set):
                _log.info("waiting for alerts", topic=settings.alerts_topic, has_webhook=webhook is not None)
                await alerts.main_loop()
    _log.info("alert consumer stopped")


@contextlib.asynccontextmanager
async def _webhook(settings: Settings, stopping: asyncio.Event) -> AsyncIterator[Webhook | None]:
    if settings.webhook_url is None:
        yield None
        return
    authorization = settings.webhook_authorization
    headers = {"Authorization": authorization.get_secret_value()} if authorization else {}
    async with httpx.AsyncClient(timeout=settings.webhook_timeout_seconds, headers=headers) as client:
        yield Webhook(client, str(settings.webhook_url), settings.webhook_attempts, stopping)


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


def _tell(state: RetryCallState) -> None:
    problem = state.outcome.exception() if state.outcome else None
    _log.warning("webhook did not take an alert; trying again", problem=str(problem), attempt=state.attempt_number)
