"""What a request body may be: JSON, and no larger than a setting. Looked at before anything reads it."""

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.errors import MEDIA_TYPE, Problem

_DRAINED_BYTES = 16_000_000


class BodyLimits:
    """ASGI middleware: status 413 for a body over the limit, sent with its length or without, 415 for another type."""

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"")
        if not _is_json(headers.get(b"content-type", b"")):
            await _drain(receive)
            await _refuse(send, 415, "Unsupported Media Type", "Send application/json.", scope["path"])
        elif self._announces_too_much(length):
            await _drain(receive)
            await _refuse(send, 413, "Content Too Large", self._sentence, scope["path"])
        else:
            # The server itself ends a body at its announced length; one in chunks is counted.
            is_announced = length.isdigit() and b"transfer-encoding" not in headers
            await self._app(scope, receive if is_announced else self._counting(receive), send)

    @property
    def _sentence(self) -> str:
        return f"A body may have {self._max_body_bytes} bytes."

    def _announces_too_much(self, length: bytes) -> bool:
        return length.isdigit() and int(length) > self._max_body_bytes

    def _counting(self, receive: Receive) -> Receive:
        n_received = 0

        async def counted() -> Message:
            nonlocal n_received
            message = await receive()
            n_received += len(message.get("body", b""))
            if n_received > self._max_body_bytes:
                if message.get("more_body", False):
                    await _drain(receive)
                raise HTTPException(413, self._sentence)
            return message

        return counted


def _is_json(content_type: bytes) -> bool:
    media_type = content_type.partition(b";")[0].strip().lower()
    return media_type == b"application/json" or (
        media_type.startswith(b"application/") and media_type.endswith(b"+json")
    )


async def _drain(receive: Receive) -> None:
    """Read what the client still sends, up to a bound: most clients read no answer before all of it is sent."""
    n_drained = 0
    while n_drained < _DRAINED_BYTES:
        message = await receive()
        n_drained += len(message.get("body", b""))
        if not message.get("more_body", False):
            return


async def _refuse(send: Send, status: int, title: str, detail: str, path: str) -> None:
    body = Problem(title=title, status=status, detail=detail, instance=path).model_dump_json(exclude_none=True).encode()
    headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, (b"connection", b"close")]})
    await send({"type": "http.response.body", "body": body})
