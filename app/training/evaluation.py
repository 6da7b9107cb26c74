"""One evaluation: a model's outcome on labelled transactions, with all that was measured of it."""

from dataclasses import dataclass

from app.training.dataset import Part
from app.training.metrics import Measured
from app.training.money import Costs
from app.training.outcome import Outcome


@dataclass(frozen=True)
class Evaluation:
    """What pictures and reports are made of; costs are None where neither amounts nor costs are known."""

    part: Part
    feature_names: tuple[str, ...]
    outcome: Outcome
    measured: Measured
    costs: Costs | None
