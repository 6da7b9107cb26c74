"""What a stream came to: the sums, the alerts against the labels, the latency."""

from dataclasses import dataclass

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table

from bridge.stream import Stream

_PERCENTILES = (50, 95, 99)


@dataclass(frozen=True)
class AlertOutcome:
    """Alerts against labels: frauds that were caught, frauds that were missed, alerts that were false."""

    caught: int
    missed: int
    false: int


def alert_outcome(stream: Stream) -> AlertOutcome | None:
    """None when no labels are known."""
    if stream.fraud_sources is None:
        return None
    # A set: at-least-once delivery may answer a transaction twice.
    alerts = {answered.source for answered in stream.answered if answered.is_alert}
    frauds = stream.fraud_sources
    return AlertOutcome(caught=len(alerts & frauds), missed=len(frauds - alerts), false=len(alerts - frauds))


def latency_percentiles_ms(stream: Stream) -> dict[int, float]:
    """The 50th, 95th and 99th percentile in milliseconds; empty when nothing was answered."""
    latencies_ms = [answered.latency_seconds * 1000 for answered in stream.answered]
    if not latencies_ms:
        return {}
    return dict(zip(_PERCENTILES, np.percentile(latencies_ms, _PERCENTILES).tolist(), strict=True))


def summary(stream: Stream) -> RenderableType:
    """The facts as a table for the terminal, and a plain verdict."""
    table = Table(show_header=False, box=None, padding=(0, 2))
    n_dead_letters = stream.dead_letters.total()
    table.add_row("transactions in", f"{len(stream.transactions):,}")
    table.add_row("predictions", f"{len(stream.answered):,}")
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(stream.dead_letters.items()))
    table.add_row("dead letters", f"{n_dead_letters:,}" + (f"  ({reasons})" if reasons else ""))
    table.add_row("alerts", f"{stream.n_alerts:,}")
    if stream.n_foreign:
        table.add_row("no predictions", f"{stream.n_foreign:,} records of the predictions topic")
    outcome = alert_outcome(stream)
    if outcome is not None:
        table.add_row(
            "alerts against labels", f"{outcome.caught} caught, {outcome.missed} missed, {outcome.false} false"
        )
    percentiles = latency_percentiles_ms(stream)
    if percentiles:
        text = ", ".join(f"p{percentile} {value:,.1f} ms" for percentile, value in percentiles.items())
        table.add_row("end-to-end latency", text)
    table.add_row("transactions/s", f"{_rate_per_second(stream):,.0f}")
    return Group(table, _verdict(stream))


def _verdict(stream: Stream) -> str:
    n_in, n_predictions, n_dead_letters = len(stream.transactions), len(stream.answered), stream.dead_letters.total()
    sums = f"{n_in:,} in, {n_predictions:,} predictions + {n_dead_letters:,} dead letters out"
    doubled = f", {stream.n_doubled:,} of them doubled" if stream.n_doubled else ""
    return f"{'Complete' if stream.is_complete else 'NOT COMPLETE'}: {sums}{doubled}."


def _rate_per_second(stream: Stream) -> float:
    if not stream.answered:
        return 0.0
    first = min(answered.received_at_seconds for answered in stream.answered)
    last = max(answered.published_at_seconds for answered in stream.answered)
    return len(stream.answered) / max(last - first, 1e-3)
