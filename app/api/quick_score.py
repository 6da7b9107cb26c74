"""The short way of the usual `POST /score`."""

import uuid

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.dependencies import ScoringService
from app.scoring.errors import ScoringError
from app.scoring.manifest import Manifest
from app.scoring.message import read_transaction, transaction_message

_HEADERS = (b"content-type", b"application/json")


class QuickScore:
    """ASGI middleware that answers a valid transaction itself, and hands every other request on untouched.

    The application's route does the same and more: it explains what is wrong, adds evidence, and stands in the
    document. What leads to it (error handlers, exit stacks, a search through the routes, resolving of arguments) costs
    about as much as the score, and a valid transaction needs none of it. What it cannot read, the application may.
    """

    def __init__(self, app: ASGIApp, manifest: Manifest) -> None:
        self._app = app
        self._decode = msgspec.json.Decoder(transaction_message(manifest, forbid_unknown_fields=False)).decode

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not _is_usual(scope):
            await self._app(scope, receive, send)
            return
        message = await receive()
        answer = None if message.get("more_body", False) else await self._answer(scope, message.get("body", b""))
        if answer is None:
            await self._app(scope, _again(message, receive), send)
            return
        headers = [_HEADERS, (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    async def _answer(self, scope: Scope, body: bytes) -> bytes | None:
        """The answer to a valid transaction; None where the application has something to say."""
        scoring: ScoringService | None = scope.get("state", {}).get("scoring")
        if scoring is None or scoring.is_stopping:
            return None
        try:
            transaction = read_transaction(self._decode(body), _new_id)
            prediction = await scoring.score_one(transaction)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ScoringError):
            return None
        return msgspec.json.encode(prediction)  # the fields of `PredictionAnswer`, in its order


def _new_id() -> str:
    return str(uuid.uuid4())


def _is_usual(scope: Scope) -> bool:
    return (
        scope["type"] == "http"
        and scope["path"] == "/score"
        and scope["method"] == "POST"
        and not scope["query_string"]
        # A body in chunks may be over the limit, which is noticed while it is read.
        and all(name != b"transfer-encoding" for name, _ in scope["headers"])
    )


def _again(first: Message, receive: Receive) -> Receive:
    """Give the message that was looked at once more, then those behind it."""
    messages = [first]

    async def again() -> Message:
        return messages.pop() if messages else await receive()

    return again
