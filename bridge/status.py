"""The bridge's HTTP port: a page for people, metrics for Prometheus, and health for whoever restarts it.

It has a thread and an event loop of its own, so that it can say that the bridge's does not turn, and so that whoever
asks delays no transaction.
"""

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import asdict

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bridge.errors import BridgeError
from bridge.health import Health, Vitals
from bridge.page import Page


def create_status_app(registry: CollectorRegistry, vitals: Vitals, page: Page | None = None) -> Starlette:
    async def metrics(_: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    async def live(_: Request) -> Response:
        return _answer(vitals.liveness, "live")

    async def ready(_: Request) -> Response:
        return _answer(vitals.readiness, "ready")

    routes = [Route("/metrics", metrics), Route("/health/live", live), Route("/health/ready", ready)]
    if page is not None:
        routes += [Route("/", page.show), Route("/events", page.events)]
    return Starlette(routes=routes)


def _answer(ask: Callable[[], Health], word: str) -> JSONResponse:
    health = ask()
    body = {
        "status": word if health.is_good else f"not {word}",
        "reason": health.reason,
        "checks": [asdict(check) for check in health.checks],
    }
    return JSONResponse(body, status_code=200 if health.is_good else 503)


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the bridge: they end its loop first, and this server last."""
        yield


@contextlib.asynccontextmanager
async def serving(app: Starlette, host: str, port: int, setting: str = "BRIDGE_HTTP_PORT") -> AsyncIterator[str]:
    """Serve while the context lasts; gives the address.

    Raises:
        BridgeError: the port is taken or may not be used.
    """
    listener = _listen(host, port, setting)
    server = _Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), name="http", daemon=True)
    thread.start()
    try:
        yield f"http://{host}:{listener.getsockname()[1]}"
    finally:
        app.state.is_closing = True  # ends the answers that have no end of their own
        server.should_exit = True
        await asyncio.to_thread(thread.join)


def _listen(host: str, port: int, setting: str) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise BridgeError(
            f"The HTTP port {host}:{port} cannot be used ({error.strerror}); set BRIDGE_HTTP_HOST or {setting}."
        ) from error
