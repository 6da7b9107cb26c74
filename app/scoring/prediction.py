"""What the scorer says of a transaction: a prediction, and for an alert the neighbours that decided."""

from enum import StrEnum

import msgspec


class Prediction(msgspec.Struct, frozen=True, gc=False):
    """The answer to one transaction.

    Attributes:
        transaction_id: the transaction it belongs to.
        fraud_probability: the model's probability of the positive class, from 0 to 1.
        is_fraud: whether the probability reaches the threshold.
        threshold: the probability at which a transaction is called fraud.
        model_version: the version of the artifact that answered.
    """

    transaction_id: str
    fraud_probability: float
    is_fraud: bool
    threshold: float
    model_version: str


class Neighbor(msgspec.Struct, frozen=True, gc=False):
    """One of the k reference transactions nearest to the one that was scored.

    Attributes:
        reference_id: the row of the reference transaction in the training part, counted from 0.
        distance: Euclidean, between the scaled features.
        is_fraud: its label.
    """

    reference_id: int
    distance: float
    is_fraud: bool


class Severity(StrEnum):
    """How urgent an alert is: critical in the upper half between threshold and certainty."""

    HIGH = "high"
    CRITICAL = "critical"


class Alert(msgspec.Struct, frozen=True, gc=False):
    """A prediction that reached the threshold, with the neighbours that decided, nearest first."""

    prediction: Prediction
    severity: Severity
    neighbors: tuple[Neighbor, ...]


def severity(prediction: Prediction) -> Severity:
    halfway = (prediction.threshold + 1.0) / 2.0
    return Severity.CRITICAL if prediction.fraud_probability >= halfway else Severity.HIGH
