"""How many requests are answered at once; the next is told to come again, before anything of it is read.

Whoever waits in an endless queue gets an answer too late to be of use, and makes everybody else's late as well.
"""

import asyncio

from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.errors import MEDIA_TYPE, Problem

_RETRY_AFTER_SECONDS = 1


class ConcurrencyLimit:
    """ASGI middleware: status 503 with Retry-After for a POST that comes while as many as may be are in hand.

    Health, metrics and documents are always answered.
    """

    def __init__(self, app: ASGIApp, max_concurrency: int) -> None:
        self._app = app
        self._max_concurrency = max_concurrency
        self._n_in_hand = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
        elif self._n_in_hand >= self._max_concurrency:
            await _refuse(send, scope["path"])
        else:
            self._n_in_hand += 1
            try:
                # Most requests are answered without a pause. Those that have come together are let in together first:
                # otherwise each would find nobody else in hand, however long the queue behind it is.
                await asyncio.sleep(0)
                await self._app(scope, receive, send)
            finally:
                self._n_in_hand -= 1


async def _refuse(send: Send, path: str) -> None:
    problem = Problem(
        title="Service Unavailable",
        status=503,
        detail="As many requests as may be are being answered; try again after the time in Retry-After.",
        instance=path,
    )
    body = problem.model_dump_json(exclude_none=True).encode()
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"retry-after", str(_RETRY_AFTER_SECONDS).encode()),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": body})
