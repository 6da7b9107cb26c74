"""Pictures of an evaluation, drawn without a screen; the same figures give the same bytes."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter
from scipy.stats import ks_2samp
from sklearn.metrics import precision_recall_curve, roc_curve

from app.scoring.transaction import FeatureMatrix
from app.training.bootstrap import GRID
from app.training.evaluation import Evaluation
from app.training.metrics import Bands, Measured, Metrics, calibration_curve
from app.training.money import Costs, cheapest_threshold, cost_curve
from app.training.outcome import Counts, Outcome, Values

BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#666666"

_N_TELLING = 6
_GOOD = 0.4  # average precision
_LEAST_FRAUDS_AN_INTERVAL = 5
_MOST_INTERVALS = 24
_ROOM_BESIDE = 0.3  # of half of a feature's range, so that an outline comes down at its ends
_LARGEST_DRAWN = 1e100  # the square of more is no number
_DRAWN_LEGITIMATE = 5_000  # enough for a smooth outline, and quick


@dataclass(frozen=True)
class Picture:
    """A PNG with the sentence that says what to see in it."""

    name: str
    caption: str
    png: bytes


def new_figure(width: float = 12, height: float = 5.4) -> Figure:
    figure = Figure(figsize=(width, height), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    # No date and no version inside.
    figure.savefig(buffer, metadata={"Software": None})
    return buffer.getvalue()


def draw_summary(outcome: Outcome, metrics: Metrics) -> bytes:
    """The precision-recall curve and the confusion matrix, 1,200 x 540 pixels."""
    figure = new_figure()
    left, right = figure.subplots(1, 2)
    _draw_precision_recall(left, outcome, metrics, None)
    _draw_matrix(right, metrics)
    return png(figure)


def draw_evaluation(evaluation: Evaluation) -> list[Picture]:
    """Every picture of an evaluation; that of money only where costs are known."""
    outcome, metrics, costs = evaluation.outcome, evaluation.measured.metrics, evaluation.costs
    pictures = [
        Picture("curves", _curves_caption(metrics), _draw_curves(outcome, evaluation.measured)),
        Picture(
            "decisions",
            "What the threshold does, and whether probabilities can be taken at their word.",
            _draw_decisions(outcome, metrics),
        ),
    ]
    if costs is not None:
        pictures.append(Picture("money", "What every threshold would have cost.", _draw_money(outcome, metrics, costs)))
    pictures += [
        Picture(
            "scores",
            "Most fraud should stand on the right, and almost nothing legitimate.",
            _draw_scores(outcome, metrics),
        ),
        Picture(
            "features",
            "The features whose distributions tell fraud from the rest best, taken one by one.",
            _draw_features(outcome, evaluation.part.features, evaluation.feature_names),
        ),
        Picture("over_time", "Whether quality holds as time goes on.", _draw_over_time(outcome, metrics)),
    ]
    return pictures


def most_telling(labels: Counts, features: FeatureMatrix, n_features: int = _N_TELLING) -> list[tuple[int, float]]:
    """Columns with their Kolmogorov-Smirnov statistic between the classes, the most telling first."""
    statistics = [float(ks_2samp(column[labels == 1], column[labels == 0]).statistic) for column in features.T]
    order = np.argsort(-np.array(statistics), kind="stable")[:n_features]
    return [(int(index), statistics[index]) for index in order]


def _curves_caption(metrics: Metrics) -> str:
    low, high = metrics.intervals["average_precision"]
    return (
        f"Average precision {metrics.average_precision:.3f}; other transactions of the same kind would have given "
        f"{low:.3f} to {high:.3f} (95 % bootstrap interval, shaded)."
    )


def _draw_curves(outcome: Outcome, measured: Measured) -> bytes:
    metrics, bands = measured.metrics, measured.bands
    figure = new_figure()
    left, right = figure.subplots(1, 2)
    _draw_precision_recall(left, outcome, metrics, bands)
    _draw_roc(right, outcome, metrics, bands)
    return png(figure)


def _draw_precision_recall(axes: Axes, outcome: Outcome, metrics: Metrics, bands: Bands | None) -> None:
    precision, recall, _ = precision_recall_curve(outcome.labels, outcome.probabilities)
    base_rate = float(outcome.labels.mean())
    if bands is not None:
        axes.fill_between(GRID, *bands.precision_at_recall, color=BLUE, alpha=0.18, linewidth=0)
    axes.step(recall, precision, where="post", color=BLUE, linewidth=2)
    axes.axhline(base_rate, color="grey", linestyle="--", linewidth=1)
    axes.text(0.01, base_rate + 0.015, f"guessing: {base_rate:.2%}", ha="left", color="dimgrey")
    axes.plot([metrics.recall], [metrics.precision], "o", color=ORANGE, markersize=9)
    # A good curve leaves the lower left empty, a bad one the upper right.
    is_good = metrics.average_precision > _GOOD
    axes.annotate(
        f"threshold {metrics.threshold:.3g}:\nprecision {metrics.precision:.2f}, recall {metrics.recall:.2f}",
        (metrics.recall, metrics.precision),
        xytext=(0.06, 0.3) if is_good else (0.6, 0.8),
        textcoords="axes fraction",
        color=ORANGE,
        arrowprops={"arrowstyle": "-", "color": ORANGE, "linewidth": 0.8, "shrinkB": 6},
    )
    axes.set(
        title=f"Average precision {metrics.average_precision:.3f}",
        xlabel="Recall: share of the frauds that are caught",
        ylabel="Precision: share of the alerts that are fraud",
        xlim=(0, 1.02),
        ylim=(0, 1.04),
    )
    axes.grid(alpha=0.3)


def _draw_roc(axes: Axes, outcome: Outcome, metrics: Metrics, bands: Bands | None) -> None:
    false_rate, true_rate, _ = roc_curve(outcome.labels, outcome.probabilities)
    if bands is not None:
        axes.fill_between(GRID, *bands.true_positive_rate, color=BLUE, alpha=0.18, linewidth=0)
    axes.plot(false_rate, true_rate, color=BLUE, linewidth=2)
    axes.plot([0, 1], [0, 1], color="grey", linestyle="--", linewidth=1)
    axes.text(0.62, 0.56, "guessing", color="dimgrey", rotation=33)
    axes.set(
        title=f"ROC AUC {metrics.roc_auc:.3f} (flattering where fraud is rare)",
        xlabel="Share of the legitimate transactions that are called fraud",
        ylabel="Share of the frauds that are caught",
        xlim=(-0.01, 1.01),
        ylim=(0, 1.04),
    )
    axes.grid(alpha=0.3)


def _draw_decisions(outcome: Outcome, metrics: Metrics) -> bytes:
    figure = new_figure()
    left, right = figure.subplots(1, 2)
    _draw_matrix(left, metrics)
    _draw_calibration(right, outcome, metrics)
    return png(figure)


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
        title=f"{counts.sum():,} later transactions, threshold {metrics.threshold:.3g}",
        xlabel="What the model says",
        ylabel="What it was",
    )


def _draw_calibration(axes: Axes, outcome: Outcome, metrics: Metrics) -> None:
    curve = calibration_curve(outcome)
    said, was, n_rows = (np.array(values) for values in zip(*curve, strict=True))
    axes.plot([0, 1], [0, 1], color="grey", linestyle="--", linewidth=1)
    low, high = _wilson(was, n_rows)
    axes.errorbar(said, was, yerr=(was - low, high - was), color=BLUE, linewidth=2, marker="o", capsize=3)
    for x, y, n in curve:
        axes.annotate(f"{n:,}", (x, y), xytext=(7, -12), textcoords="offset points", color=GREY, fontsize=9)
    axes.set(
        title=f"Calibration: Brier score {metrics.brier_score:.5f}",
        xlabel="Probability that the model says (numbers: transactions)",
        ylabel="Share that was fraud",
        xlim=(-0.03, 1.08),
        ylim=(-0.08, 1.04),
    )
    axes.grid(alpha=0.3)


def _wilson(shares: Values, n_rows: Counts) -> tuple[Values, Values]:
    """Wilson's 95 % interval of shares; it stays between 0 and 1, and is wide where rows are few."""
    z = 1.96
    middle = (shares + z**2 / (2 * n_rows)) / (1 + z**2 / n_rows)
    half = z * np.sqrt(shares * (1 - shares) / n_rows + z**2 / (4 * n_rows**2)) / (1 + z**2 / n_rows)
    return np.minimum(middle - half, shares), np.maximum(middle + half, shares)


def _draw_money(outcome: Outcome, metrics: Metrics, costs: Costs) -> bytes:
    figure = new_figure()
    left, right = figure.subplots(1, 2)
    thresholds, cost = cost_curve(outcome, costs)
    best = cheapest_threshold(outcome, costs)
    shown = thresholds > 0
    for axes in (left, right):
        axes.axvline(metrics.threshold, color=ORANGE, linewidth=1.5, label=f"threshold in use: {metrics.threshold:.3g}")
        axes.axvline(best, color=GREEN, linewidth=1.5, linestyle="--", label=f"cheapest here: {best:.3g}")
        axes.set(xlabel="Threshold", xlim=(0, 1.02))
        axes.grid(alpha=0.3)
    left.step(thresholds[shown], cost[shown], where="pre", color=BLUE, linewidth=2)
    if metrics.cost_of_doing_nothing:
        left.axhline(metrics.cost_of_doing_nothing, color="grey", linestyle="--", linewidth=1)
        left.text(0.3, metrics.cost_of_doing_nothing, "no alerts at all", va="bottom", color="dimgrey")
    left.set_ylim(0, 1.15 * max(float(metrics.cost_of_doing_nothing or 0), float(np.median(cost[shown]))))
    left.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    missed = "its amount" if costs.missed == "amount" else f"{costs.missed:g}"
    left.set(title=f"Cost: a missed fraud {missed}, an alert {costs.alert:g}", ylabel="Cost of these transactions")
    left.legend(loc="lower center", framealpha=0.95)
    _draw_catch(right, outcome)
    return png(figure)


def _draw_catch(axes: Axes, outcome: Outcome) -> None:
    thresholds = np.linspace(0.01, 1, 199)
    fraud = np.sort(outcome.probabilities[outcome.labels == 1])
    legitimate = np.sort(outcome.probabilities[outcome.labels == 0])
    caught = len(fraud) - np.searchsorted(fraud, thresholds)
    false = len(legitimate) - np.searchsorted(legitimate, thresholds)
    axes.plot(thresholds, caught / len(fraud), color=BLUE, linewidth=2, label="frauds caught (recall)")
    if outcome.amounts is not None:
        amounts = outcome.amounts[outcome.labels == 1]
        probabilities = outcome.probabilities[outcome.labels == 1]
        money = [amounts[probabilities >= threshold].sum() / max(amounts.sum(), 1e-12) for threshold in thresholds]
        axes.plot(thresholds, money, color=BLUE, linewidth=2, linestyle=":", label="money caught")
    precision = np.where(caught + false, caught / np.maximum(caught + false, 1), np.nan)  # of no alerts there is none
    axes.plot(thresholds, precision, color=GREY, linewidth=2, label="alerts that are fraud (precision)")
    axes.set(title="What a threshold catches", ylabel="Share", ylim=(0, 1.04))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.legend(loc="lower center", framealpha=0.95)


def _draw_scores(outcome: Outcome, metrics: Metrics) -> bytes:
    figure = new_figure(height=4.6)
    axes = figure.subplots()
    edges = np.linspace(0, 1, 41).tolist()
    for label, color, name in ((0, BLUE, "legitimate"), (1, ORANGE, "fraud")):
        scores = outcome.probabilities[outcome.labels == label]
        axes.hist(scores, edges, color=color, alpha=0.65, label=f"{name} ({len(scores):,})")
    axes.axvline(metrics.threshold, color="black", linewidth=1.2, linestyle="--")
    axes.text(
        metrics.threshold, 0.97, f" threshold {metrics.threshold:.3g}", transform=axes.get_xaxis_transform(), va="top"
    )
    axes.set_yscale("log")
    axes.set(
        title="Probabilities of fraud and of legitimate transactions",
        xlabel="Probability of fraud",
        ylabel="Transactions (powers of ten)",
        xlim=(0, 1),
    )
    axes.set_ylim(bottom=0.7)
    axes.legend(loc="upper center")
    return png(figure)


def _draw_features(outcome: Outcome, features: FeatureMatrix, feature_names: Sequence[str]) -> bytes:
    telling = most_telling(outcome.labels, features)
    n_columns = min(3, len(telling))
    n_rows = -(-len(telling) // n_columns)
    figure = new_figure(height=3.2 * n_rows)
    grid = np.atleast_1d(figure.subplots(n_rows, n_columns)).ravel()
    step = max(1, int((outcome.labels == 0).sum()) // _DRAWN_LEGITIMATE)
    rows = np.concatenate([np.flatnonzero(outcome.labels == 0)[::step], np.flatnonzero(outcome.labels == 1)])
    kinds = np.where(outcome.labels[rows] == 1, "fraud", "legitimate")
    with mpl.rc_context({"axes.grid": True, "grid.alpha": 0.3}):
        for axes, (index, statistic) in zip(grid, telling, strict=False):
            _draw_distribution(axes, features[rows, index], kinds, feature_names[index], statistic)
    for axes in grid[len(telling) :]:
        axes.set_visible(False)
    return png(figure)


def _draw_distribution(axes: Axes, values: Values, kinds: np.ndarray, name: str, statistic: float) -> None:
    low, high = np.quantile(values[kinds == "fraud"], [0.01, 0.99])
    low, high = min(low, np.quantile(values, 0.005)), max(high, np.quantile(values, 0.995))
    room = _ROOM_BESIDE * (high / 2 - low / 2)  # halves, because a difference of finite numbers can be infinite
    axes.set(title=f"{name}: KS {statistic:.2f}", xlabel="", ylabel="density")
    if low == high or np.abs(values).max() > _LARGEST_DRAWN:
        words = f"almost always {low:g}" if low == high else "numbers too large to draw"
        axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", color=GREY)
        return
    sns.kdeplot(
        pd.DataFrame({name: values, "kind": kinds}),
        x=name,
        hue="kind",
        hue_order=["legitimate", "fraud"],
        palette=[BLUE, ORANGE],
        fill=True,
        common_norm=False,
        clip=(low - room, high + room),
        ax=axes,
        warn_singular=False,
    )
    axes.set(xlabel="", xlim=(low - room, high + room))
    legend = axes.get_legend()
    if legend is not None:
        legend.set_title("")


def _draw_over_time(outcome: Outcome, metrics: Metrics) -> bytes:
    figure = new_figure()
    upper, lower = figure.subplots(2, 1, sharex=True)
    n_frauds = int(outcome.labels.sum())
    n_intervals = int(np.clip(n_frauds // _LEAST_FRAUDS_AN_INTERVAL, 1, _MOST_INTERVALS))
    hours = (outcome.times - outcome.times[0]) / 3600
    edges = np.linspace(0, max(float(hours[-1]), 1e-9), n_intervals + 1)
    where = np.clip(np.digitize(hours, edges) - 1, 0, n_intervals - 1)
    middles, width = (edges[:-1] + edges[1:]) / 2, edges[1]
    counts = np.bincount(where, minlength=n_intervals)
    frauds = np.bincount(where, outcome.labels, minlength=n_intervals)
    is_alert = outcome.probabilities >= metrics.threshold
    alerts = np.bincount(where, is_alert, minlength=n_intervals)
    caught = np.bincount(where, is_alert & (outcome.labels == 1), minlength=n_intervals)
    upper.bar(middles, caught, width * 0.9, color=BLUE, label="caught")
    upper.bar(middles, frauds - caught, width * 0.9, bottom=caught, color=ORANGE, label="missed")
    upper.plot(
        middles,
        alerts - caught,
        "o-",
        color="black",
        markeredgecolor="white",
        clip_on=False,
        zorder=3,
        label="false alerts",
    )
    upper.set(title="Frauds caught and missed, and false alerts", ylabel="transactions")
    upper.set_ylim(0, 1.25 * max(float(frauds.max()), float((alerts - caught).max()), 1.0))
    upper.legend(loc="upper right", ncols=3, framealpha=0.95)
    rate = 1000 * frauds / np.maximum(counts, 1)
    lower.bar(middles, rate, width * 0.9, color=ORANGE, alpha=0.7, label="frauds")
    lower.stairs(1000 * alerts / np.maximum(counts, 1), edges, color=BLUE, linewidth=2, label="alerts")
    lower.set(title="Fraud rate and alert rate", ylabel="of 1,000 transactions", xlabel="hours since the first of them")
    lower.set_ylim(0, 1.25 * max(float(rate.max()), 1000 * float((alerts / np.maximum(counts, 1)).max()), 1e-9))
    lower.legend(loc="upper right", ncols=2, framealpha=0.95)
    for axes in (upper, lower):
        axes.grid(alpha=0.3)
    return png(figure)
