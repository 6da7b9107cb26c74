"""What the scorer says of a transaction: a prediction, and for an alert the evidence."""

from enum import StrEnum

import msgspec


class Method(StrEnum):
    """How an answer was found; all are exact, and what differs is the cost (see `app.scoring.neighbors`).

    `MODEL` is the only way of a model without neighbours: it is evaluated whole for every transaction.
    """

    CERTIFIED = "certified"
    SEARCHED = "searched"
    FULL = "full"
    MODEL = "model"


class Prediction(msgspec.Struct, frozen=True, gc=False):
    """The answer to one transaction.

    Attributes:
        transaction_id: the transaction it belongs to.
        fraud_probability: the model's probability of the positive class, from 0 to 1.
        is_fraud: whether the probability reaches the threshold.
        threshold: the probability at which a transaction is called fraud.
        model_version: the version of the artifact that answered.
        method: how the answer was found.
    """

    transaction_id: str
    fraud_probability: float
    is_fraud: bool
    threshold: float
    model_version: str
    method: Method


class Neighbor(msgspec.Struct, frozen=True, gc=False):
    """One of the k reference transactions nearest to the one that was scored.

    Attributes:
        reference_id: the row of the reference transaction in the training part, counted from 0.
        distance: Euclidean, between the scaled features.
        is_fraud: its label.
        context: its time and amount, by the names that the manifest gives as context.
    """

    reference_id: int
    distance: float
    is_fraud: bool
    context: dict[str, float]


class FeatureComparison(msgspec.Struct, frozen=True, gc=False):
    """One feature of a transaction beside that of a known fraud, both as they are in the distance: scaled.

    Attributes:
        feature: its name.
        transaction: of the transaction that was scored.
        fraud: of the known fraud.
        usual: the mean of the known legitimate transactions.
        share: how much of the nearness, or of the farness, is this feature's; from 0 to 1.
    """

    feature: str
    transaction: float
    fraud: float
    usual: float
    share: float


class NearFraud(msgspec.Struct, frozen=True, gc=False):
    """One of the known frauds nearest to a transaction, and why it is as near and as far as it is.

    Attributes:
        reference_id: its row in the training part, counted from 0.
        distance: Euclidean, between the scaled features.
        near: the features that bring it near, the strongest first: those by which it is nearer, in squared distance,
            than the mean of the legitimate transactions.
        far: the features that keep it away, the strongest first: those with the largest share of the squared distance.
    """

    reference_id: int
    distance: float
    near: tuple[FeatureComparison, ...]
    far: tuple[FeatureComparison, ...]


class Influence(msgspec.Struct, frozen=True, gc=False):
    """What one feature does to a probability: the model is asked again with the usual value in its place.

    Attributes:
        feature: its name.
        transaction: of the transaction that was scored, unscaled.
        usual: the median of the known legitimate transactions, unscaled.
        probability_if_usual: what the model would say, were this feature usual and all others as they are.
    """

    feature: str
    transaction: float
    usual: float
    probability_if_usual: float


class Evidence(msgspec.Struct, frozen=True, gc=False):
    """Why a transaction has its probability.

    Attributes:
        neighbors: the k that voted, nearest first; none where the model keeps no transactions.
        nearest_frauds: the nearest known frauds, whether they voted or not, nearest first.
        influences: of a model without neighbours: the features without which the probability would be lower, the
            strongest first.
        not_available: a sentence that says what this model cannot show; None where it shows everything.
    """

    neighbors: tuple[Neighbor, ...]
    nearest_frauds: tuple[NearFraud, ...]
    influences: tuple[Influence, ...] = ()
    not_available: str | None = None


class Severity(StrEnum):
    """How urgent an alert is: critical in the upper half between threshold and certainty."""

    HIGH = "high"
    CRITICAL = "critical"


class Alert(msgspec.Struct, frozen=True, gc=False):
    """A prediction that reached the threshold, and why."""

    prediction: Prediction
    severity: Severity
    evidence: Evidence


def severity(prediction: Prediction) -> Severity:
    halfway = (prediction.threshold + 1.0) / 2.0
    return Severity.CRITICAL if prediction.fraud_probability >= halfway else Severity.HIGH
