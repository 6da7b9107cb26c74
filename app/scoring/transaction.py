"""A card transaction as the model sees it, and the matrix of features that a batch of them makes."""

import struct
from collections.abc import Sequence
from datetime import datetime

import msgspec
import numpy as np
import numpy.typing as npt

from app.scoring.errors import TransactionError

RESERVED_NAMES = frozenset(
    {
        "transaction_id",
        "timestamp_received",
        "card_id",
        "fraud_probability",
        "is_fraud",
        "threshold",
        "model_version",
        "method",
        "scored_at",
        "source",
        "carried",
        "severity",
        "evidence",
    },
)
"""Names with a meaning of their own in a message, so that no feature may have them."""

FeatureMatrix = npt.NDArray[np.float64]


class Transaction(msgspec.Struct, frozen=True, gc=False):
    """One card transaction.

    Attributes:
        transaction_id: the sender's id, or one derived from where the transaction was read.
        features: the model's features, in the order of the artifact's manifest.
        timestamp_received: when the sender received it, with a time zone.
        card_id: the card, where the sender names it.
        carried: fields that the model does not know, as the JSON text they came in; they travel on, never scored.
    """

    transaction_id: str
    features: tuple[float, ...]
    timestamp_received: datetime | None = None
    card_id: str | None = None
    carried: dict[str, msgspec.Raw] | None = None


def feature_matrix(transactions: Sequence[Transaction], n_features: int) -> FeatureMatrix:
    """The features of a batch, of shape (n_transactions, n_features), in float64; to be read only.

    Raises:
        TransactionError: a transaction has another number of features, or one that is not finite.
    """
    # Packing takes a third of the time that numpy needs for a list of tuples.
    pack = struct.Struct(f"{n_features}d").pack
    try:
        packed = b"".join([pack(*transaction.features) for transaction in transactions])
    except struct.error as error:
        wrong = next(transaction for transaction in transactions if len(transaction.features) != n_features)
        raise TransactionError(
            f"Transaction {wrong.transaction_id} has {len(wrong.features)} features; "
            f"the model was trained on {n_features}.",
        ) from error
    features = np.frombuffer(packed, dtype=np.float64).reshape(len(transactions), n_features)
    finite = np.isfinite(features)
    if not finite.all():
        first = transactions[int(np.argmin(finite.all(axis=1)))]
        raise TransactionError(f"Transaction {first.transaction_id} has a feature that is not a finite number.")
    return features
