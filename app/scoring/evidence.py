"""Why a transaction has its probability: the neighbours that voted, and what brings the nearest frauds near."""

from collections.abc import Sequence

import numpy as np

from app.scoring.fitted import FittedModel, Reference
from app.scoring.neighbors import NearestNeighbors, Neighborhood
from app.scoring.prediction import Evidence, FeatureComparison, Influence, NearFraud, Neighbor, Prediction
from app.scoring.transaction import FeatureMatrix

_N_FRAUDS = 3
_N_FEATURES = 3
_LARGEST_WEIGHT = 1e300  # of which as many as there are features still have a finite sum


class Witness:
    """Gives the evidence of a nearest-neighbour model for any transaction."""

    def __init__(self, fitted: FittedModel, reference: Reference, neighbors: NearestNeighbors) -> None:
        self._neighbors = neighbors
        self._feature_names = neighbors.scaling.names(fitted.feature_names)
        self._context_names = fitted.context_names
        self._context = reference.context
        self._frauds = np.flatnonzero(neighbors.is_fraud)
        self._usual = neighbors.reference.mean(axis=0, where=~neighbors.is_fraud[:, np.newaxis])

    def evidence(self, features: FeatureMatrix, found: Sequence[Neighborhood] | None = None) -> list[Evidence]:
        """The evidence for each row of unscaled features, of shape (n_transactions, n_features).

        Args:
            features: of the transactions.
            found: their neighbours, where they are known already; otherwise they are searched.
        """
        scaled = self._neighbors.scaling(features)
        # A feature of 1e200 is finite, and its square is not: such distances are told as the largest number there is.
        with np.errstate(over="ignore", invalid="ignore"):
            return [
                Evidence(self._voters(neighborhood), self._nearest_frauds(transaction))
                for transaction, neighborhood in zip(scaled, found or self._neighbors.nearest(scaled), strict=True)
            ]

    def _voters(self, neighborhood: Neighborhood) -> tuple[Neighbor, ...]:
        ids = self._neighbors.reference_ids[neighborhood.rows].tolist()
        return tuple(
            Neighbor(reference_id, distance, is_fraud, self._context_of(reference_id))
            for reference_id, distance, is_fraud in zip(
                ids,
                np.nan_to_num(neighborhood.distances).tolist(),
                self._neighbors.is_fraud[neighborhood.rows].tolist(),
                strict=True,
            )
        )

    def _context_of(self, reference_id: int) -> dict[str, float]:
        return dict(zip(self._context_names, self._context[reference_id].tolist(), strict=True))

    def _nearest_frauds(self, transaction: FeatureMatrix) -> tuple[NearFraud, ...]:
        ids = self._neighbors.reference_ids[self._frauds]
        squares = np.square(self._neighbors.reference[self._frauds] - transaction)
        distances = np.sqrt(squares.sum(axis=1))
        nearest = np.lexsort((ids, distances))[:_N_FRAUDS]
        to_usual = np.square(transaction - self._usual)
        return tuple(
            NearFraud(
                int(ids[place]),
                float(np.nan_to_num(distances[place])),
                near=self._strongest(to_usual - squares[place], transaction, self._frauds[place]),
                far=self._strongest(squares[place], transaction, self._frauds[place]),
            )
            for place in nearest
        )

    def _strongest(
        self, weights: FeatureMatrix, transaction: FeatureMatrix, fraud: np.intp
    ) -> tuple[FeatureComparison, ...]:
        """The features with the largest weights above 0; each one's share is of the sum of those."""
        weights = np.nan_to_num(np.maximum(weights, 0.0), posinf=_LARGEST_WEIGHT)
        order = np.argsort(-weights, kind="stable")[:_N_FEATURES]
        shares = weights / (weights.sum() or 1.0)
        return tuple(
            FeatureComparison(
                self._feature_names[column],
                float(transaction[column]),
                float(self._neighbors.reference[fraud, column]),
                float(self._usual[column]),
                float(shares[column]),
            )
            for column in order.tolist()
            if weights[column] > 0.0
        )


def in_words(prediction: Prediction, evidence: Evidence) -> list[str]:
    """The same as sentences, for a person who has to decide."""
    return [
        _verdict(prediction),
        *([_voters_in_words(evidence.neighbors)] if evidence.neighbors else []),
        *(_fraud_in_words(fraud) for fraud in evidence.nearest_frauds),
        *(_influence_in_words(influence) for influence in evidence.influences),
        *([evidence.not_available] if evidence.not_available else []),
    ]


def _verdict(prediction: Prediction) -> str:
    reached = "reaches" if prediction.is_fraud else "stays below"
    return f"The fraud probability {prediction.fraud_probability:.3f} {reached} the threshold {prediction.threshold:g}."


def _voters_in_words(neighbors: Sequence[Neighbor]) -> str:
    n_fraud = sum(neighbor.is_fraud for neighbor in neighbors)
    return (
        f"{n_fraud} of the {len(neighbors)} nearest known transactions are fraud; their distances go from "
        f"{neighbors[0].distance:.3g} to {neighbors[-1].distance:.3g}."
    )


def _fraud_in_words(fraud: NearFraud) -> str:
    sentence = f"The known fraud {fraud.reference_id} is at distance {fraud.distance:.3g}"
    if fraud.near:
        sentence += f"; like it, and unlike most legitimate transactions, this one has {_several(fraud.near)}"
    if fraud.far:
        sentence += f"; what sets them apart is {_several(fraud.far)}"
    return f"{sentence}."


def _influence_in_words(influence: Influence) -> str:
    return (
        f"{influence.feature} is {_short(influence.transaction)}; were it {_short(influence.usual)}, as usual, the "
        f"probability would be {influence.probability_if_usual:.3f}."
    )


def _several(comparisons: Sequence[FeatureComparison]) -> str:
    return ", ".join(
        f"{comparison.feature} {_short(comparison.transaction)} (the fraud {_short(comparison.fraud)}, usually "
        f"{_short(comparison.usual)})"
        for comparison in comparisons
    )


def _short(number: float) -> str:
    return f"{round(number, 2) + 0.0:.2f}"  # no negative zero
