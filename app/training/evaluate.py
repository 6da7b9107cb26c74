"""Honest figures: what a model says of transactions later than those it was trained on."""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, confusion_matrix, roc_auc_score

from app.scoring.neighbors import NearestNeighbors
from app.scoring.transaction import FeatureMatrix
from app.training.dataset import Labels, Part

_ROWS_AT_ONCE = 512

Probabilities = npt.NDArray[np.float64]


class Metrics(msgspec.Struct, frozen=True):
    """Measured on the later part.

    Average precision and ROC AUC are scikit-learn's; precision, recall and F1 are at the threshold. Accuracy says
    nothing where fraud is rare: always answering "legitimate" has `accuracy_of_doing_nothing`.
    """

    threshold: float
    average_precision: float
    roc_auc: float
    precision: float
    recall: float
    f1: float
    accuracy: float
    accuracy_of_doing_nothing: float
    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int
    duplicates_of_training_rows: int


@dataclass(frozen=True)
class Evaluation:
    """The metrics, and what they were computed from."""

    metrics: Metrics
    labels: Labels
    probabilities: Probabilities


def evaluate(
    neighbors: NearestNeighbors, train: Part, test: Part, threshold: float, tell: Callable[[int], None]
) -> Evaluation:
    """Score the test part as a user's transactions are scored; tell hears how many rows are done."""
    blocks = []
    for start in range(0, len(test.labels), _ROWS_AT_ONCE):
        blocks.append(neighbors.fraud_probability(test.features[start : start + _ROWS_AT_ONCE]))
        tell(min(start + _ROWS_AT_ONCE, len(test.labels)))
    probabilities = np.concatenate(blocks)
    duplicates = count_duplicates(train.features, test.features)
    return Evaluation(measure(test.labels, probabilities, threshold, duplicates), test.labels, probabilities)


def measure(labels: Labels, probabilities: Probabilities, threshold: float, duplicates: int = 0) -> Metrics:
    is_fraud = probabilities >= threshold
    true_negatives, false_positives, false_negatives, true_positives = (
        int(count) for count in confusion_matrix(labels, is_fraud, labels=[0, 1]).ravel()
    )
    precision = _ratio(true_positives, true_positives + false_positives)
    recall = _ratio(true_positives, true_positives + false_negatives)
    return Metrics(
        threshold=threshold,
        average_precision=float(average_precision_score(labels, probabilities)),
        roc_auc=float(roc_auc_score(labels, probabilities)),
        precision=precision,
        recall=recall,
        f1=_ratio(2 * precision * recall, precision + recall),
        accuracy=float((is_fraud == (labels == 1)).mean()),
        accuracy_of_doing_nothing=float((labels == 0).mean()),
        true_positives=true_positives,
        false_positives=false_positives,
        false_negatives=false_negatives,
        true_negatives=true_negatives,
        duplicates_of_training_rows=duplicates,
    )


def count_duplicates(train: FeatureMatrix, test: FeatureMatrix) -> int:
    """Test rows that equal a training row in every feature: they flatter a nearest-neighbour model."""
    known = {row.tobytes() for row in np.ascontiguousarray(train)}
    return sum(row.tobytes() in known for row in np.ascontiguousarray(test))


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
