"""The one thing that both processes ask: transactions in, predictions out."""

from collections.abc import Sequence

from app.scoring.artifact import Artifact
from app.scoring.evidence import Witness
from app.scoring.neighbors import NearestNeighbors
from app.scoring.prediction import Alert, Evidence, Method, Prediction, severity
from app.scoring.transaction import FeatureMatrix, Transaction, feature_matrix

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
        self._neighbors = NearestNeighbors(artifact.indexed)
        self._witness = Witness(artifact, self._neighbors)

    def score(self, transactions: Sequence[Transaction]) -> list[Prediction]:
        """One prediction for each transaction, in the same order; any number of them, none included.

        Raises:
            TransactionError: a transaction has another number of features than the model, or one that is not finite.
        """
        votes = self._neighbors.votes(self._features(transactions))
        is_fraud = votes.probabilities >= self.threshold
        version = self.manifest.model_version
        return [
            Prediction(transaction.transaction_id, probability, fraud, self.threshold, version, method)
            for transaction, probability, fraud, method in zip(
                transactions, votes.probabilities.tolist(), is_fraud.tolist(), votes.methods, strict=True
            )
        ]

    def score_if_certified(self, transaction: Transaction) -> Prediction | None:
        """What `score` says, if that takes no search, and None otherwise: quick in either case, for an event loop.

        Raises:
            TransactionError: as `score`.
        """
        if not self._neighbors.are_certified(self._features([transaction])):
            return None
        version = self.manifest.model_version
        return Prediction(
            transaction.transaction_id,
            0.0,
            is_fraud=False,
            threshold=self.threshold,
            model_version=version,
            method=Method.CERTIFIED,
        )

    def alerts(self, transactions: Sequence[Transaction], predictions: Sequence[Prediction]) -> list[Alert | None]:
        """An alert for each prediction that reached the threshold, None, at no cost, for each that did not."""
        flagged = [index for index, prediction in enumerate(predictions) if prediction.is_fraud]
        alerts: list[Alert | None] = [None] * len(predictions)
        if flagged:
            evidence = self.evidence([transactions[index] for index in flagged])
            for index, proof in zip(flagged, evidence, strict=True):
                alerts[index] = Alert(predictions[index], severity(predictions[index]), proof)
        return alerts

    def evidence(self, transactions: Sequence[Transaction]) -> list[Evidence]:
        """Why each transaction has its probability; costs a search for each, certified or not.

        Raises:
            TransactionError: as `score`.
        """
        return self._witness.evidence(self._features(transactions))

    def scaled_features(self, transactions: Sequence[Transaction]) -> list[dict[str, float]]:
        """What the distance is taken of, by feature name, for each transaction."""
        if not transactions:
            return []  # scikit-learn scales no empty matrix
        names = self._neighbors.scaling.names(self.manifest.feature_names)
        rows = self._neighbors.scaling(self._features(transactions)).tolist()
        return [dict(zip(names, row, strict=True)) for row in rows]

    def _features(self, transactions: Sequence[Transaction]) -> FeatureMatrix:
        return feature_matrix(transactions, len(self.manifest.feature_names))
