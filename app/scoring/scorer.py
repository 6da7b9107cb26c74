"""The one thing that both processes ask: transactions in, predictions out."""

from collections.abc import Sequence

from app.scoring.artifact import Artifact
from app.scoring.model import model_of
from app.scoring.neighbors import Votes
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
        self._model = model_of(artifact.fitted)

    def score(self, transactions: Sequence[Transaction]) -> list[Prediction]:
        """One prediction for each transaction, in the same order; any number of them, none included.

        Raises:
            TransactionError: a transaction has another number of features than the model, or one that is not finite.
        """
        return self._predictions(transactions, self._model.votes(self._features(transactions)))

    def score_with_alerts(self, transactions: Sequence[Transaction]) -> tuple[list[Prediction], list[Alert | None]]:
        """What `score` says, and an alert beside each prediction that reached the threshold.

        The neighbours that an alert shows are those that its search found anyway; a prediction without an alert costs
        nothing more.

        Raises:
            TransactionError: as `score`.
        """
        features = self._features(transactions)
        votes = self._model.votes(features)
        predictions = self._predictions(transactions, votes)
        alerts: list[Alert | None] = [None] * len(predictions)
        flagged = [index for index, prediction in enumerate(predictions) if prediction.is_fraud]
        if flagged:
            found = [votes.neighborhoods.get(index) for index in flagged]
            for index, evidence in zip(flagged, self._model.evidence(features[flagged], found), strict=True):
                alerts[index] = Alert(predictions[index], severity(predictions[index]), evidence)
        return predictions, alerts

    def score_if_certified(self, transaction: Transaction) -> Prediction | None:
        """What `score` says, if that takes no search, and None otherwise: quick in either case, for an event loop.

        Raises:
            TransactionError: as `score`.
        """
        if not self._model.are_certified(self._features([transaction])):
            return None
        version = self.manifest.model_version
        probability = self._model.certified_probability
        return Prediction(
            transaction.transaction_id,
            probability,
            is_fraud=probability >= self.threshold,
            threshold=self.threshold,
            model_version=version,
            method=Method.CERTIFIED,
        )

    def evidence(self, transactions: Sequence[Transaction]) -> list[Evidence]:
        """Why each transaction has its probability; costs a search for each, or a few dozen evaluations.

        Raises:
            TransactionError: as `score`.
        """
        return self._model.evidence(self._features(transactions))

    def scaled_features(self, transactions: Sequence[Transaction]) -> list[dict[str, float]]:
        """What the model looks at (of nearest neighbours: what the distance is taken of), by name."""
        if not transactions:
            return []  # scikit-learn scales no empty matrix
        rows = self._model.inputs(self._features(transactions)).tolist()
        return [dict(zip(self._model.input_names, row, strict=True)) for row in rows]

    def _predictions(self, transactions: Sequence[Transaction], votes: Votes) -> list[Prediction]:
        is_fraud = votes.probabilities >= self.threshold
        version = self.manifest.model_version
        return [
            Prediction(transaction.transaction_id, probability, fraud, self.threshold, version, method)
            for transaction, probability, fraud, method in zip(
                transactions, votes.probabilities.tolist(), is_fraud.tolist(), votes.methods, strict=True
            )
        ]

    def _features(self, transactions: Sequence[Transaction]) -> FeatureMatrix:
        return feature_matrix(transactions, len(self.manifest.feature_names))
