"""Where alerts are posted to: with attempts, and a key by which the receiver knows an alert that it had before."""

import asyncio
import contextlib

import httpx
import structlog
from prometheus_client import Counter
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential

from bridge.codec import DeadLetter, Reason

_RETRY_LATER = frozenset({408, 425, 429})
_FIRST_SERVER_ERROR = 500

_log = structlog.get_logger(__name__)


class _NotTakenError(Exception):
    """The webhook did not say yes; whether it is worth another attempt decides which subclass."""


class _TryAgainError(_NotTakenError):
    pass


class Webhook:
    """Posts alerts, with attempts and exponential back-off, which end early when `stopping` is set.

    Attributes:
        complaint: why the last attempt was in vain; None when it was not, or the webhook was there and refused.
    """

    def __init__(
        self, client: httpx.AsyncClient, url: str, attempts: int, stopping: asyncio.Event, failed_attempts: Counter
    ) -> None:
        self.complaint: str | None = None
        self._failed_attempts = failed_attempts
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
        try:
            await self._attempt(alert, idempotency_key)
        except _NotTakenError as error:
            self._failed_attempts.inc()
            self.complaint = str(error) if isinstance(error, _TryAgainError) else None
            raise
        self.complaint = None

    async def _attempt(self, alert: bytes, idempotency_key: str) -> None:
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


def _tell(state: RetryCallState) -> None:
    problem = state.outcome.exception() if state.outcome else None
    _log.warning("webhook did not take an alert; trying again", problem=str(problem), attempt=state.attempt_number)
