"""The bridge's HTTP port: metrics for Prometheus, and health for whoever restarts it."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from typing import NamedTuple

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bridge.errors import BridgeError


class Readiness(NamedTuple):
    """Whether transactions are being answered, and why not."""

    is_ready: bool
    reason: str


def create_status_app(registry: CollectorRegistry, readiness: Callable[[], Readiness]) -> Starlette:
    async def metrics(_: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    async def live(_: Request) -> Response:
        return JSONResponse({"status": "live"})

    async def ready(_: Request) -> Response:
        now = readiness()
        status = "ready" if now.is_ready else "not ready"
        return JSONResponse({"status": status, "reason": now.reason}, status_code=200 if now.is_ready else 503)

    return Starlette(routes=[Route("/metrics", metrics), Route("/health/live", live), Route("/health/ready", ready)])


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the bridge: they end its loop first, and this server last."""
        yield


@contextlib.asynccontextmanager
async def serving(app: Starlette, host: str, port: int) -> AsyncIterator[str]:
    """Serve while the context lasts; gives the address.

    Raises:
        BridgeError: the port is taken or may not be used.
    """
    listener = _listen(host, port)
    server = _Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield f"http://{host}:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise BridgeError(
            f"The HTTP port {host}:{port} cannot be used ({error.strerror}); set BRIDGE_HTTP_HOST or BRIDGE_HTTP_PORT."
        ) from error
