"""The metrics of HTTP requests: those of prometheus-fastapi-instrumentator, found and filled in a cheaper way."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from timeit import default_timer
from typing import cast

from prometheus_client import CollectorRegistry
from prometheus_fastapi_instrumentator.metrics import Info
from prometheus_fastapi_instrumentator.middleware import PrometheusInstrumentatorMiddleware
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class RequestMetrics(PrometheusInstrumentatorMiddleware):
    """ASGI middleware with the names, labels and values of the library's own, at a part of its cost.

    The library finds a request's route by asking one route after the other on every request, and builds a response
    around what was sent. Almost every request is for an address without parameters, which is its own route: for those
    a look into a set is enough. Every other request goes the library's way.
    """

    def __init__(
        self, app: ASGIApp, *, addresses: Collection[str], excluded: Sequence[str], registry: CollectorRegistry
    ) -> None:
        """Measure requests.

        Args:
            app: what answers them.
            addresses: paths without parameters that have a route.
            excluded: patterns of paths that are not measured.
            registry: where the metrics are kept.
        """
        super().__init__(app, excluded_handlers=excluded, registry=registry)
        self._addresses = frozenset(path for path in addresses if not self._is_handler_excluded(path, True))  # noqa: FBT003 - the library's argument

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] not in self._addresses:
            await super().__call__(scope, receive, send)
            return
        started = default_timer()
        answer = _Answer()

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer.status, answer.headers = message["status"], Headers(raw=message["headers"])
            await send(message)

        try:
            await self.app(scope, receive, noting)
        finally:
            self._record(scope, answer, max(default_timer() - started, 0.0))

    def _record(self, scope: Scope, answer: "_Answer", seconds: float) -> None:
        info = Info(
            request=Request(scope),
            response=cast("Response", answer),
            method=scope["method"],
            modified_handler=scope["path"],
            modified_status=f"{answer.status // 100}xx",
            modified_duration=seconds,
        )
        for instrumentation in self.instrumentations:
            instrumentation(info)


@dataclass
class _Answer:
    """What the library's metrics read of a response."""

    status: int = 500
    headers: Headers = field(default_factory=Headers)
