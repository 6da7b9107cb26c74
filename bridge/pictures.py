"""Pictures of a stream: what came and when, how long an answer took, and how the scores part fraud from the rest."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from bridge.stream import Answered, Stream

_BLUE = "#0072b2"
_ORANGE = "#d55e00"
_N_INTERVALS = 60
_SCORE_BINS = np.linspace(0, 1, 21)
_LEAST_LATENCY_MS = 0.1  # clocks of two machines may disagree, and an axis of powers of ten knows no zero

_Array = npt.NDArray[np.float64]


def draw_stream(stream: Stream, threshold: float, directory: Path) -> list[Path]:
    """Write stream.png, latency.png and scores.png; their paths are the value."""
    return [
        _draw_traffic(stream, directory / "stream.png"),
        _draw_latency(stream, directory / "latency.png"),
        _draw_scores(stream, threshold, directory / "scores.png"),
    ]


def seconds_since_first(answered: list[Answered]) -> _Array:
    """When each transaction was received, in seconds since the first."""
    received = np.array([item.received_at_seconds for item in answered], dtype=np.float64)
    return received - received.min() if len(received) else received


def count_by_interval(seconds: _Array, edges: _Array) -> npt.NDArray[np.int64]:
    return np.histogram(seconds, edges)[0].astype(np.int64)


def _draw_traffic(stream: Stream, path: Path) -> Path:
    seconds = seconds_since_first(stream.answered)
    is_alert = np.array([item.is_alert for item in stream.answered], dtype=bool)
    duration = max(float(seconds.max()), 1e-3) if len(seconds) else 1.0
    edges = np.linspace(0, duration, _N_INTERVALS + 1)
    all_counts, alert_counts = count_by_interval(seconds, edges), count_by_interval(seconds[is_alert], edges)
    figure, (upper, lower) = _figure(2)
    middles, width = (edges[:-1] + edges[1:]) / 2, edges[1]
    upper.bar(middles, all_counts, width=width * 0.92, color=_BLUE)
    upper.vlines(seconds[is_alert], 0, max(all_counts.max(), 1), color=_ORANGE, linewidth=1.2, label="an alert")
    if is_alert.any():
        upper.legend(loc="upper right", framealpha=0.95)
        upper.set_ylim(0, all_counts.max() * 1.15)  # room for the legend above the bars
    upper.set(ylabel=f"transactions per {width:.2g} s")
    upper.set_title(f"{len(seconds):,} transactions in {duration:,.0f} s, {int(is_alert.sum()):,} alerts")
    rates = 1000 * alert_counts / np.maximum(all_counts, 1)
    lower.bar(middles, rates, width=width * 0.92, color=_ORANGE)
    lower.set(ylabel="alerts per 1,000", xlabel="seconds since the first transaction")
    lower.sharex(upper)
    return _save(figure, path)


def _draw_latency(stream: Stream, path: Path) -> Path:
    figure, (axes,) = _figure(1)
    latencies = np.array([item.latency_seconds * 1000 for item in stream.answered], dtype=np.float64)
    latencies = np.maximum(latencies, _LEAST_LATENCY_MS)
    axes.set(xlabel="milliseconds from timestamp_received to the prediction", ylabel="transactions")
    if len(latencies):
        low, high = latencies.min(), max(latencies.max(), latencies.min() * 1.1)
        axes.hist(latencies, bins=list(np.geomspace(low, high, 61)), color=_BLUE)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        axes.xaxis.set_minor_formatter("{x:g}")
        percentiles = np.percentile(latencies, (50, 95, 99))
        for name, value, style in zip(("p50", "p95", "p99"), percentiles, ("-", "--", ":"), strict=True):
            axes.axvline(value, color=_ORANGE, linestyle=style, label=f"{name} {value:,.1f} ms")
        axes.legend(loc="upper right", framealpha=0.95)
        axes.set_title(
            f"Half of the answers came within {percentiles[0]:,.0f} ms, 99 % within {percentiles[2]:,.0f} ms"
        )
    else:
        axes.set_title("Nothing was answered")
    return _save(figure, path)


def _draw_scores(stream: Stream, threshold: float, path: Path) -> Path:
    figure, (axes,) = _figure(1)
    scores = np.array([item.fraud_probability for item in stream.answered], dtype=np.float64)
    frauds = stream.fraud_sources
    if frauds is None:
        axes.hist(scores, bins=list(_SCORE_BINS), color=_BLUE, label=f"{len(scores):,} transactions")
        axes.set_title(f"Scores of {len(scores):,} transactions")
    else:
        is_fraud = np.array([item.source in frauds for item in stream.answered], dtype=bool)
        n_fraud, n_caught = int(is_fraud.sum()), int((is_fraud & (scores >= threshold)).sum())
        labels = [f"{len(scores) - n_fraud:,} legitimate", f"{n_fraud:,} fraud"]
        axes.hist([scores[~is_fraud], scores[is_fraud]], bins=list(_SCORE_BINS), color=[_BLUE, _ORANGE], label=labels)
        axes.set_title(f"{n_caught} of {n_fraud} frauds scored at or above the threshold")
    axes.axvline(threshold, color="black", linestyle="--", linewidth=1, label=f"threshold {threshold:g}")
    axes.set_yscale("symlog", linthresh=1)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set(xlabel="fraud probability", ylabel="transactions (powers of ten)", xlim=(0, 1), ylim=(0, None))
    axes.legend(loc="upper center", framealpha=0.95)
    return _save(figure, path)


def _figure(n_rows: int) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(10, 6), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    heights = [2, 1][:n_rows]
    axes = figure.subplots(n_rows, 1, squeeze=False, height_ratios=heights)
    panels: list[Axes] = list(axes[:, 0])
    for panel in panels:
        panel.grid(alpha=0.3)
        panel.set_axisbelow(True)
    return figure, panels


def _save(figure: Figure, path: Path) -> Path:
    figure.savefig(path)
    return path
