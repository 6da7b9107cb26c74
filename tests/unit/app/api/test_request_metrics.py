"""The metrics of requests are the library's own."""

import re
from collections.abc import Callable

import httpx
from fastapi import FastAPI, HTTPException
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_fastapi_instrumentator import Instrumentator

from app.api.request_metrics import RequestMetrics

EXCLUDED = ["/health/.*"]


def _by_the_library(app: FastAPI, registry: CollectorRegistry) -> None:
    Instrumentator(registry=registry, excluded_handlers=EXCLUDED).instrument(app)


def _by_us(app: FastAPI, registry: CollectorRegistry) -> None:
    addresses = ["/echo", "/broken", "/refused", "/health/live"]
    app.add_middleware(RequestMetrics, addresses=addresses, excluded=EXCLUDED, registry=registry)


def _application() -> FastAPI:
    app = FastAPI()

    @app.post("/echo")
    async def echo(body: dict[str, int]) -> dict[str, int]:
        return body

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("broken")

    @app.get("/refused")
    async def refused() -> None:
        raise HTTPException(403)

    @app.get("/items/{item}")
    async def item(item: str) -> str:
        return item

    @app.get("/health/live")
    async def live() -> None:
        return None

    return app


async def _metrics_after_requests(measure: Callable[[FastAPI, CollectorRegistry], None]) -> list[str]:
    app, registry = _application(), CollectorRegistry()
    measure(app, registry)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        await client.post("/echo", json={"a": 1})
        await client.post("/echo", json={"a": 123})
        await client.post("/echo", content=b"nothing")
        for path in ("/broken", "/refused", "/items/1", "/items/2", "/echo", "/nowhere", "/health/live", "/echo/"):
            await client.get(path)
    lines = generate_latest(registry).decode().splitlines()
    # What is measured in seconds differs from run to run.
    return [
        re.sub(r"(_sum|_created|_bucket)(.*) \S+$", r"\1\2", line) for line in lines if "size_bytes_sum" not in line
    ]


async def test_names_labels_and_counts_are_the_librarys() -> None:
    ours = await _metrics_after_requests(_by_us)

    assert ours == await _metrics_after_requests(_by_the_library)
    assert any('handler="/echo"' in line for line in ours)


async def test_sizes_are_the_librarys() -> None:
    sums = []
    for measure in (_by_us, _by_the_library):
        app, registry = _application(), CollectorRegistry()
        measure(app, registry)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            await client.post("/echo", json={"a": 123})
        sums.append(
            [
                registry.get_sample_value(f"http_{what}_size_bytes_sum", {"handler": "/echo"})
                for what in ("request", "response")
            ]
        )

    assert sums[0] == sums[1] == [9.0, 9.0]
