"""Exact k-nearest-neighbour probabilities from a fitted scikit-learn pipeline.

scikit-learn finds the candidates; the distances that decide are computed here again by direct differences. Its brute
search expands the squared distance into a matrix product, whose rounding depends on how many rows are asked at once,
so that near ties the answer to a transaction would depend on the batch it came in. Direct differences depend on the
two rows alone.

Ties at the k-th place go to the lower reference id, which is the row that was trained on first.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline

from app.scoring.prediction import Neighbor
from app.scoring.transaction import FeatureMatrix

_ROWS_AT_ONCE = 256  # bounds the memory of the differences: rows x candidates x features x 8 bytes
_SPARE_CANDIDATES = 8  # more than k are asked for, so that a tie at the k-th place is seen
_ROUNDING = 1e-6  # relative; the matrix product's error in a distance that is not near zero is below 1e-7

_Indices = npt.NDArray[np.intp]


class NearestNeighbors:
    """The k nearest reference transactions of a fitted pipeline whose last step is a `KNeighborsClassifier`.

    Read-only after construction, and so safe to ask from several threads.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        classifier: KNeighborsClassifier = pipeline[-1]
        self._scaling = pipeline[:-1]
        self._classifier = classifier
        self._n_neighbors: int = classifier.n_neighbors
        self._weighted_by_distance: bool = classifier.weights == "distance"
        # scikit-learn keeps the reference rows under private names and offers no public ones.
        self._reference: FeatureMatrix = classifier._fit_X  # noqa: SLF001
        self._reference_is_fraud = np.asarray(classifier.classes_)[classifier._y] == 1  # noqa: SLF001

    def fraud_probability(self, features: FeatureMatrix) -> npt.NDArray[np.float64]:
        """The share of the neighbours' votes that are for fraud.

        Args:
            features: unscaled, of shape (n_transactions, n_features), finite.

        Returns:
            Probabilities of shape (n_transactions,). Votes are equal, or weighted by 1 / distance; neighbours at
            distance 0 then outvote all others, as in scikit-learn.
        """
        blocks = [self._vote(*self._search(block)) for block in _blocks(features)]
        return np.concatenate(blocks) if blocks else np.empty(0)

    def nearest(self, features: FeatureMatrix) -> list[tuple[Neighbor, ...]]:
        """The k neighbours of each row of features (n_transactions, n_features), nearest first."""
        return [
            tuple(
                Neighbor(reference_id=int(i), distance=float(d), is_fraud=bool(self._reference_is_fraud[i]))
                for d, i in zip(distances, indices, strict=True)
            )
            for block in _blocks(features)
            for distances, indices in zip(*self._search(block), strict=True)
        ]

    def scaled(self, features: FeatureMatrix, feature_names: Sequence[str]) -> tuple[list[str], FeatureMatrix]:
        """The features in the distance: their names, and their scaled values of shape (n_transactions, n_scaled)."""
        names = self._scaling.get_feature_names_out(list(feature_names))
        # A ColumnTransformer puts the name of its part before the feature's, with two underscores between.
        return [str(name).rpartition("__")[2] for name in names], np.asarray(self._scaling.transform(features))

    def _vote(self, distances: FeatureMatrix, indices: _Indices) -> npt.NDArray[np.float64]:
        is_fraud = self._reference_is_fraud[indices]
        if not self._weighted_by_distance:
            return np.asarray(is_fraud.mean(axis=1))
        at_zero = distances == 0.0
        weights = np.where(at_zero.any(axis=1, keepdims=True), at_zero, 1.0 / np.where(at_zero, 1.0, distances))
        return np.asarray((weights * is_fraud).sum(axis=1) / weights.sum(axis=1))

    def _search(self, features: FeatureMatrix) -> tuple[FeatureMatrix, _Indices]:
        """Distances and reference ids of the k nearest, both of shape (n_transactions, k), nearest first."""
        scaled = np.ascontiguousarray(self._scaling.transform(features), dtype=np.float64)
        k, n_reference = self._n_neighbors, len(self._reference)
        distances = np.empty((len(scaled), k))
        indices = np.empty((len(scaled), k), dtype=np.intp)
        open_rows = np.arange(len(scaled))
        n_candidates = k + _SPARE_CANDIDATES
        while len(open_rows):
            n_candidates = min(n_candidates, n_reference)
            rough, candidates = self._classifier.kneighbors(scaled[open_rows], n_neighbors=n_candidates)
            exact = self._distances(scaled[open_rows], candidates)
            order = np.lexsort((candidates, exact))[:, :k]
            distances[open_rows] = np.take_along_axis(exact, order, axis=1)
            indices[open_rows] = np.take_along_axis(candidates, order, axis=1)
            scale = rough[:, -1] + np.linalg.norm(scaled[open_rows], axis=1)
            is_tied = distances[open_rows, -1] + _ROUNDING * scale >= rough[:, -1]
            open_rows = open_rows[is_tied] if n_candidates < n_reference else open_rows[:0]
            n_candidates *= 4
        return distances, indices

    def _distances(self, scaled: FeatureMatrix, candidates: _Indices) -> FeatureMatrix:
        differences = scaled[:, np.newaxis, :] - self._reference[candidates]
        return np.asarray(np.sqrt(np.square(differences).sum(axis=2)))


def _blocks(features: FeatureMatrix) -> list[FeatureMatrix]:
    return [features[start : start + _ROWS_AT_ONCE] for start in range(0, len(features), _ROWS_AT_ONCE)]
