"""The answer of an evaluation: its figures, and the words and digits that people read them in."""

import msgspec

from app.training import money
from app.training.calibrate import Effect
from app.training.metrics import Metrics
from app.training.money import Costs, Step
from app.training.outcome import Outcome

FIGURES = {
    "average_precision": "average precision",
    "roc_auc": "ROC AUC",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "card_precision_at_100": "card precision at 100",
    "brier_score": "Brier score",
    "calibration_error": "calibration error",
    "accuracy": "accuracy",
    "accuracy_of_doing_nothing": "accuracy of doing nothing",
    "cost": "cost",
}


ACCURACY_SAYS_NOTHING = (
    "Fraud is rare, so accuracy says nothing: a model that never raises an alert has the accuracy of doing nothing. "
    "Read average precision, precision and recall."
)


class WhatIf(msgspec.Struct, frozen=True):
    """What another threshold would have changed: transactions that change sides, and the change of cost."""

    threshold: float
    more_alerts: int
    more_caught: int
    more_false_alerts: int
    money_caught_more: float | None
    cost_more: float | None


class Answer(msgspec.Struct, frozen=True):
    """All that `--json` writes."""

    model_version: str
    file: str
    rows: int
    frauds: int
    metrics: Metrics
    calibration: Effect | None
    costs: Costs | None
    cheapest_threshold: float | None
    ladder: list[Step]
    what_if: WhatIf | None


def what_if(outcome: Outcome, costs: Costs | None, threshold: float, other: float) -> WhatIf:
    is_fraud = outcome.labels == 1
    change = (outcome.probabilities >= other).astype(int) - (outcome.probabilities >= threshold).astype(int)
    more_caught = int(change[is_fraud].sum())
    cost = None
    if costs is not None:
        cost = float(costs.alert * change.sum() - (money.missed_costs(outcome, costs) * change).sum())
    return WhatIf(
        threshold=other,
        more_alerts=int(change.sum()),
        more_caught=more_caught,
        more_false_alerts=int(change.sum()) - more_caught,
        money_caught_more=None if outcome.amounts is None else float((outcome.amounts * change)[is_fraud].sum()),
        cost_more=cost,
    )


def shown(name: str, value: float) -> str:
    """A figure as people read it."""
    if name.startswith("accuracy"):
        return f"{value:.4%}"
    if name == "cost":
        return f"{value:,.0f}"
    return f"{value:.5f}" if name in ("brier_score", "calibration_error") else f"{value:.3f}"


STEP_WORDS = ("threshold", "alerts per 1,000", "precision", "recall", "money caught", "cost")


def step_cells(step: Step) -> tuple[str, ...]:
    caught = "" if step.money_caught is None else f"{step.money_caught:.1%}"
    return (
        f"{step.threshold:g}",
        f"{step.alerts_per_1000:.2f}",
        f"{step.precision:.3f}",
        f"{step.recall:.3f}",
        caught,
        f"{step.cost:,.0f}",
    )


def costs_words(costs: Costs) -> str:
    missed = "its amount" if costs.missed == "amount" else f"{costs.missed:g}"
    return f"a missed fraud costs {missed}, an alert {costs.alert:g}"


def what_if_sentence(threshold: float, change: WhatIf) -> str:
    sentence = (
        f"With the threshold {change.threshold:g} in place of {threshold:.3g} there would have been "
        f"{change.more_alerts:+,} alerts: {change.more_caught:+,} caught frauds and {change.more_false_alerts:+,} "
        "false alerts"
    )
    if change.money_caught_more is not None:
        sentence += f"; {change.money_caught_more:+,.2f} of money caught"
    if change.cost_more is not None:
        sentence += f"; {change.cost_more:+,.2f} of cost"
    return sentence + "."
