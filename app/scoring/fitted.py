"""What training hands to the artifact, and the artifact to the scorer: a fitted model with all that it needs."""

from dataclasses import dataclass

from sklearn.pipeline import Pipeline

from app.scoring.calibration import Calibrator
from app.scoring.index import NeighborIndex
from app.scoring.transaction import FeatureMatrix


@dataclass(frozen=True)
class Reference:
    """What a nearest-neighbour model needs beside its pipeline.

    Attributes:
        index: the order of its reference rows.
        context: their context features, unscaled, by reference id; of shape (n_reference, n_context).
    """

    index: NeighborIndex
    context: FeatureMatrix


@dataclass(frozen=True)
class FittedModel:
    """A fitted model.

    Attributes:
        pipeline: scikit-learn's; its last step decides what kind of model it is (`app.scoring.model`).
        feature_names: the features of a transaction, in the order of training.
        context_names: those of them that people want to read beside a prediction.
        reference: of a nearest-neighbour model; None for one that keeps no rows.
        usual: the usual value of each feature, for a model that has no neighbours to show; None for one that has.
        calibrator: turns the pipeline's probabilities into those of the answers; None leaves them as they are.
    """

    pipeline: Pipeline
    feature_names: tuple[str, ...]
    context_names: tuple[str, ...]
    reference: Reference | None = None
    usual: tuple[float, ...] | None = None
    calibrator: Calibrator | None = None
