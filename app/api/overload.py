"""How many requests are answered at once; the next is told to come again, before anything of it is read.

Whoever waits in an endless queue gets an answer too late to be of use, and makes everybody else's late as well. The
queue behind a burst is gone in a moment, and may be long; one that stays is kept short, as in "Fail at Scale"
(B. Maurer, ACM Queue 13(8), 2015): from a refusal on, for as long as the rush goes on, only a small part of the places
is given away.
"""

import asyncio
import time

import msgspec
from prometheus_client import Counter
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.errors import MEDIA_TYPE, Problem

_RETRY_AFTER_SECONDS = 1
_RUSH_SECONDS = 5.0
_BUSY_SHARE = 0.9  # of the time, of one processor; at twice the capacity it is above 0.99
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
        self._rush: _Rush | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
        elif self._is_full():
            self._refused.inc()
            await self._refuse(send, scope["path"])
        else:
            self._n_in_hand += 1
            try:
                await self._app(scope, receive, send)
            finally:
                # Most requests are answered without a pause. Were a place free at once, each of those that have come
                # together would find nobody in hand, however long the queue: it is free at the loop's next turn.
                asyncio.get_running_loop().call_soon(self._give_back)

    def _give_back(self) -> None:
        self._n_in_hand -= 1

    def _is_full(self) -> bool:
        if self._n_in_hand < self._max_when_crowded:
            return False
        now = time.monotonic()
        if self._rush is not None and self._rush.is_over(now):
            self._rush = None
        if self._rush is None and self._n_in_hand >= self._max_concurrency:
            self._rush = _Rush(now)
        return self._rush is not None

    async def _refuse(self, send: Send, path: str) -> None:
        body = msgspec.json.encode({**self._problem, "instance": path})
        headers = [
            (b"content-type", MEDIA_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"retry-after", str(_RETRY_AFTER_SECONDS).encode()),
        ]
        await send({"type": "http.response.start", "status": 503, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class _Rush:
    """Goes on for some seconds, and after them for as long as the process was busy all the time.

    What is refused is no sign of it: a client that sends ten requests at once, and nobody else, would have six of them
    refused for ever. To give all places away again and see costs a hundred late answers each time.
    """

    def __init__(self, now: float) -> None:
        self._look(now)

    def is_over(self, now: float) -> bool:
        """Whether all places can be given away again."""
        seconds = now - self._looked_at
        if seconds < _RUSH_SECONDS:
            return False
        busy_seconds = time.process_time() - self._processor_seconds
        self._look(now)
        return busy_seconds < _BUSY_SHARE * seconds

    def _look(self, now: float) -> None:
        self._looked_at = now
        self._processor_seconds = time.process_time()
