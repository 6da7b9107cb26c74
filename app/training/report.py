"""The picture of an evaluation: the precision-recall curve and the confusion matrix."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve

from app.training.evaluate import Evaluation, Metrics

_BLUE = "#0072b2"
_ORANGE = "#d55e00"


def draw_evaluation(evaluation: Evaluation, path: Path) -> None:
    """Write a PNG of 1,200 x 540 pixels."""
    figure = Figure(figsize=(12, 5.4), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    _draw_curve(left, evaluation)
    _draw_matrix(right, evaluation.metrics)
    # No date and no version inside: the same figures give the same bytes.
    figure.savefig(path, metadata={"Software": None})


def _draw_curve(axes: Axes, evaluation: Evaluation) -> None:
    metrics = evaluation.metrics
    precision, recall, _ = precision_recall_curve(evaluation.labels, evaluation.probabilities)
    base_rate = float(evaluation.labels.mean())
    axes.step(recall, precision, where="post", color=_BLUE, linewidth=2)
    axes.axhline(base_rate, color="grey", linestyle="--", linewidth=1)
    axes.text(0.99, base_rate + 0.015, f"guessing: {base_rate:.2%}", ha="right", color="dimgrey")
    axes.plot([metrics.recall], [metrics.precision], "o", color=_ORANGE, markersize=9)
    axes.annotate(
        f"threshold {metrics.threshold:g}:\nprecision {metrics.precision:.2f}, recall {metrics.recall:.2f}",
        (metrics.recall, metrics.precision),
        xytext=(-12, -44),
        textcoords="offset points",
        ha="right",
        color=_ORANGE,
    )
    axes.set(
        title=f"Average precision {metrics.average_precision:.3f}",
        xlabel="Recall: share of the frauds that are caught",
        ylabel="Precision: share of the alerts that are fraud",
        xlim=(0, 1.02),
        ylim=(0, 1.04),
    )
    axes.grid(alpha=0.3)


def _draw_matrix(axes: Axes, metrics: Metrics) -> None:
    counts = np.array(
        [[metrics.true_negatives, metrics.false_positives], [metrics.false_negatives, metrics.true_positives]]
    )
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    words = [["left alone", "false alerts"], ["missed", "caught"]]
    for row in range(2):
        for column in range(2):
            color = "white" if shares[row, column] > 0.5 else "black"  # noqa: PLR2004 - half of the colour scale
            text = f"{counts[row, column]:,}\n{words[row][column]}"
            axes.text(column, row, text, ha="center", va="center", color=color, fontsize=14)
    axes.set_xticks([0, 1], ["no alert", "alert"])
    axes.set_yticks([0, 1], ["legitimate", "fraud"], rotation=90, va="center")
    axes.set(
        title=f"{counts.sum():,} later transactions, threshold {metrics.threshold:g}",
        xlabel="What the model says",
        ylabel="What it was",
    )
