"""The page at the bridge's HTTP port: what goes through, what waits, and why cards were stopped, as it happens.

One file without outside assets, and an address that sends an event a second. Of a card it shows the transaction's id,
its time and amount, and the evidence: everything else that an alert may carry stays behind.
"""

import asyncio
import base64
import hashlib
import json
import math
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse

from app.scoring.manifest import Manifest
from bridge.board import Board
from bridge.health import Vitals
from bridge.metrics import Metrics

_TICKS_PER_EVENT = 4
_TICK_SECONDS = 0.25
_MOST_WATCHERS = 20
_SHOWN = ("transaction_id", "fraud_probability", "severity", "timestamp_received", "scored_at", "source", "evidence")
_PERCENTILES = {"p50": 50, "p95": 95, "p99": 99}


@dataclass
class About:
    """What does not change while the process runs; the model's part is known once it is loaded."""

    topic: str
    group: str
    guarantee: str
    service_url: str | None
    threshold: float
    model_version: str = ""
    context_names: Sequence[str] = ()

    def name_model(self, manifest: Manifest) -> None:
        self.model_version, self.context_names = manifest.model_version, manifest.context_names


class Page:
    """The page and its events."""

    def __init__(self, board: Board, metrics: Metrics, vitals: Vitals, about: About) -> None:
        self._board = board
        self._metrics = metrics
        self._vitals = vitals
        self._about = about
        self._html = files("bridge").joinpath("page.html").read_text(encoding="utf-8")
        self._headers = {
            "Content-Security-Policy": _policy(self._html),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
        }
        self._n_watchers = 0

    async def show(self, _: Request) -> Response:
        return HTMLResponse(self._html, headers=self._headers)

    async def events(self, request: Request) -> Response:
        """An endless answer; each is a task and a connection, so there is an end to their number."""
        if self._n_watchers >= _MOST_WATCHERS:
            return PlainTextResponse(f"{_MOST_WATCHERS} pages are open already.", status_code=503)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(self._watch(request), media_type="text/event-stream", headers=headers)

    async def _watch(self, request: Request) -> AsyncIterator[str]:
        self._n_watchers += 1
        n_seen = 0
        try:
            while True:
                for number, value in self._board.alerts_after(n_seen):
                    n_seen = number
                    yield _event("alert", shown_of_alert(value, self._about.context_names))
                yield _event("now", self.snapshot())
                for _ in range(_TICKS_PER_EVENT):
                    await asyncio.sleep(_TICK_SECONDS)
                    if getattr(request.app.state, "is_closing", False):
                        return
        finally:
            self._n_watchers -= 1

    def snapshot(self) -> dict[str, Any]:
        """Everything that the page shows but the alerts."""
        about, metrics, health = self._about, self._metrics, self._vitals.readiness()
        latencies_ms = 1000 * self._board.recent_latencies_seconds()
        totals = _totals(metrics)
        catch_up_seconds = totals["bridge_catch_up_seconds"]
        lags = dict(metrics.lag_records.values)
        ages = dict(metrics.lag_seconds.values)
        return {
            "about": {
                "topic": about.topic,
                "group": about.group,
                "guarantee": about.guarantee,
                "service_url": about.service_url,
                "threshold": about.threshold,
                "model_version": about.model_version,
            },
            "health": {"is_good": health.is_good, "reason": health.reason},
            "n_predictions": totals["bridge_predictions_published_total"],
            "n_alerts": totals["bridge_alerts_published_total"],
            "n_dead_letters": totals.get("bridge_dead_letters_published_total", 0.0),
            "per_second": self._board.per_second(),
            "latency_ms": _percentiles(latencies_ms),
            "n_latencies": len(latencies_ms),
            "lag_records": sum(lags.values()),
            "catch_up_seconds": catch_up_seconds if math.isfinite(catch_up_seconds) else None,
            "probabilities": metrics.fraud_probabilities.counts()[:-1].tolist(),
            "partitions": [
                {
                    "topic": partition.topic,
                    "partition": partition.partition,
                    "lag_records": lag,
                    "lag_seconds": round(ages.get(partition, 0.0), 1),
                }
                for partition, lag in sorted(lags.items())
            ],
        }


def shown_of_alert(value: bytes, context_names: Sequence[str]) -> dict[str, Any]:
    """What the page may show of an alert."""
    alert: Mapping[str, Any] = json.loads(value)
    shown = {name: alert[name] for name in _SHOWN if name in alert}
    return shown | {"context": {name: alert[name] for name in context_names if name in alert}}


def _totals(metrics: Metrics) -> dict[str, float]:
    """Every sample, summed up over its labels."""
    totals: dict[str, float] = {}
    for family in metrics.registry.collect():
        for sample in family.samples:
            totals[sample.name] = totals.get(sample.name, 0.0) + sample.value
    return totals


def _percentiles(values: npt.NDArray[np.float64]) -> dict[str, float] | None:
    if not len(values):
        return None
    return dict(zip(_PERCENTILES, np.percentile(values, list(_PERCENTILES.values())).round(1).tolist(), strict=True))


def _event(kind: str, content: Mapping[str, Any]) -> str:
    # JSON on one line: an event ends at an empty one.
    return f"event: {kind}\ndata: {json.dumps(content, allow_nan=False)}\n\n"


def _policy(html: str) -> str:
    """Nothing but the page's own script and style may run, and nothing but its own address be asked."""
    digests = {
        tag: base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        for tag, inside in re.findall(r"<(style|script)>(.*?)</\1>", html, flags=re.DOTALL)
    }
    return (
        f"default-src 'none'; style-src 'sha256-{digests['style']}'; script-src 'sha256-{digests['script']}'; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
