"""The one thing that both processes ask: transactions in, predictions out."""

from collections.abc import Sequence

import numpy as np

from app.scoring.artifact import Artifact
from app.scoring.neighbors import NearestNeighbors
from app.scoring.prediction import Alert, Prediction, severity
from app.scoring.transaction import Transaction, feature_matrix

DEFAULT_THRESHOLD = 0.8


class Scorer:
    """Scores batches of transactions with one artifact and one threshold.

    Deterministic: the answer to a transaction depends on nothing but its features. Read-only after construction, and
    so safe to call from several threads. It computes; call it from a thread, not from an event loop.
    """

    def __init__(self, artifact: Artifact, threshold: float = DEFAULT_THRESHOLD) -> None:
        if not 0.0 < threshold <= 1.0:
            raise ValueError(f"A threshold is above 0 and at most 1, not {threshold}.")
        self.manifest = artifact.manifest
        self.threshold = threshold
        self._neighbors = NearestNeighbors(artifact.pipeline)

    def score(self, transactions: Sequence[Transaction]) -> list[Prediction]:
        """One prediction for each transaction, in the same order; any number of them, none included.

        Raises:
            TransactionError: a transaction has another number of features than the model, or one that is not finite.
        """
        features = feature_matrix(transactions, len(self.manifest.feature_names))
        probabilities = self._neighbors.fraud_probability(features)
        is_fraud = probabilities >= self.threshold
        version = self.manifest.model_version
        return [
            Prediction(transaction.transaction_id, probability, fraud, self.threshold, version)
            for transaction, probability, fraud in zip(
                transactions, probabilities.tolist(), is_fraud.tolist(), strict=True
            )
        ]

    def alerts(self, transactions: Sequence[Transaction], predictions: Sequence[Prediction]) -> list[Alert | None]:
        """An alert for each prediction that reached the threshold, None, at no cost, for each that did not."""
        flagged = [index for index, prediction in enumerate(predictions) if prediction.is_fraud]
        alerts: list[Alert | None] = [None] * len(predictions)
        if flagged:
            features = np.array([transactions[index].features for index in flagged], dtype=np.float64)
            for index, neighbors in zip(flagged, self._neighbors.nearest(features), strict=True):
                alerts[index] = Alert(predictions[index], severity(predictions[index]), neighbors)
        return alerts

    def scaled_features(self, transactions: Sequence[Transaction]) -> list[dict[str, float]]:
        """What the distance is taken of, by feature name, for each transaction."""
        if not transactions:
            return []  # scikit-learn scales no empty matrix
        features = feature_matrix(transactions, len(self.manifest.feature_names))
        names, scaled = self._neighbors.scaled(features, self.manifest.feature_names)
        return [dict(zip(names, row, strict=True)) for row in scaled.tolist()]
