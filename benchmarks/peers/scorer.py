"""What a peer's stream does with a transaction: scikit-learn's model, or nothing."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.model import fitted_pipeline

_THRESHOLD = 0.8


class PeerScorer:
    """Dictionaries in, dictionaries out; without arrays it scores nothing and answers 0."""

    def __init__(self, arrays: str, feature_names: str) -> None:
        self._pipeline = fitted_pipeline(Path(arrays)) if arrays else None
        self._names = json.loads(feature_names)

    def __call__(self, transactions: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        probabilities = [0.0] * len(transactions)
        if self._pipeline is not None:
            features = np.array([[transaction[name] for name in self._names] for transaction in transactions])
            probabilities = self._pipeline.predict_proba(features)[:, 1].tolist()
        return [
            {
                "transaction_id": transaction["transaction_id"],
                "fraud_probability": probability,
                "is_fraud": probability >= _THRESHOLD,
                "timestamp_received": transaction["timestamp_received"],
            }
            for transaction, probability in zip(transactions, probabilities, strict=True)
        ]
