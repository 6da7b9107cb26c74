"""How many requests are answered at once; the next is told to come again, before anything of it is read.

Whoever waits in an endless queue gets an answer too late to be of use, and makes everybody else's late as well. The
queue behind a burst is gone in a moment, and may be long; one that stays is kept short, as in "Fail at Scale"
(B. Maurer, ACM Queue 13(8), 2015): for some seconds after a refusal only a small part of the places is given away.
"""

import asyncio
import time

import msgspec
from prometheus_client import Counter
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.errors import MEDIA_TYPE, Problem

_RETRY_AFTER_SECONDS = 1
_CROWDED_SECONDS = 5.0
_CROWDED_PART = 8  # one place in eight: whoever has one of them finds next to nobody before him


class ConcurrencyLimit:
    """ASGI middleware: status 503 with Retry-After for a POST that comes while as many as may be are in hand.

    Health, metrics and documents are always answered. It stands before everything else, the measuring of requests
    included, because a refusal has to cost a small part of an answer: whoever comes in numbers is refused in numbers.
    """

    def __init__(self, app: ASGIApp, max_concurrency: int, refused: Counter) -> None:
        self._app = app
        self._max_concurrency = max_concurrency
        self._max_when_crowded = -(-max_concurrency // _CROWDED_PART)
        self._refused = refused
        problem = Problem(
            title="Service Unavailable",
            status=503,
            detail="As many requests as may be are being answered; try again after the time in Retry-After.",
            instance="",
        )
        self._problem = problem.model_dump(exclude_none=True)  # once: the model takes longer than all the rest
        self._n_in_hand = 0
        self._crowded_until = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
        elif self._is_full():
            self._refused.inc()
            await self._refuse(send, scope["path"])
        else:
            self._n_in_hand += 1
            try:
                # Most requests are answered without a pause. Those that have come together are let in together first:
                # otherwise each would find nobody else in hand, however long the queue behind it is.
                await asyncio.sleep(0)
                await self._app(scope, receive, send)
            finally:
                self._n_in_hand -= 1

    def _is_full(self) -> bool:
        if self._n_in_hand < self._max_when_crowded:
            return False
        now = time.monotonic()
        if now < self._crowded_until:
            return True
        if self._n_in_hand < self._max_concurrency:
            return False
        self._crowded_until = now + _CROWDED_SECONDS
        return True

    async def _refuse(self, send: Send, path: str) -> None:
        body = msgspec.json.encode({**self._problem, "instance": path})
        headers = [
            (b"content-type", MEDIA_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"retry-after", str(_RETRY_AFTER_SECONDS).encode()),
        ]
        await send({"type": "http.response.start", "status": 503, "headers": headers})
        await send({"type": "http.response.body", "body": body})
