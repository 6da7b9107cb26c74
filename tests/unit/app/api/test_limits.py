"""A body is refused in a way that its sender gets to know."""

from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from app.api.limits import BodyLimits


async def _nothing(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise AssertionError("a refused body reaches no route")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([(b"content-type", b"text/plain")], 415),
        ([], 415),
        ([(b"content-type", b"application/json"), (b"content-length", b"30")], 413),
    ],
)
async def test_a_refusal_comes_after_the_body_so_that_closing_resets_no_connection(
    headers: list[tuple[bytes, bytes]], status: int
) -> None:
    unread = [b"0123456789"] * 3
    unread_when_refused: list[int] = []
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": unread.pop(), "more_body": bool(unread)}

    async def send(message: Message) -> None:
        unread_when_refused.append(len(unread))
        sent.append(message)

    scope: dict[str, Any] = {"type": "http", "method": "POST", "path": "/score", "headers": headers}
    await BodyLimits(_nothing, max_body_bytes=20)(scope, receive, send)

    assert sent[0]["status"] == status
    assert set(unread_when_refused) == {0}
