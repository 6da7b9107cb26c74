"""What Prometheus would find: the names of every metric that the bridge and the service show."""

import asyncio
import functools
from pathlib import Path

import httpx
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

import app.main
import app.settings
import bridge.alert_metrics
import bridge.metrics

OF_PROMETHEUS = frozenset({"up", "ALERTS"})
"""Names that Prometheus makes itself."""


@functools.cache
def metric_names(artifact: Path) -> frozenset[str]:
    """The names of samples, of what the processes show from their start, and after a request."""
    bridge_text = generate_latest(bridge.metrics.Metrics().registry).decode()
    alerts_text = generate_latest(bridge.alert_metrics.AlertMetrics().registry).decode()
    return _names(bridge_text) | _names(alerts_text) | _names(asyncio.run(_service_text(artifact))) | OF_PROMETHEUS


async def _service_text(artifact: Path) -> str:
    transport = httpx.ASGITransport(app.main.create_app(app.settings.Settings(artifact=artifact)))
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        await client.get("/openapi.json")
        return (await client.get("/metrics")).text


def _names(text: str) -> frozenset[str]:
    endings = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "summary": ("_count", "_sum")}
    return frozenset(
        family.name + ending
        for family in text_string_to_metric_families(text)
        for ending in endings.get(family.type, ("",))
    )
