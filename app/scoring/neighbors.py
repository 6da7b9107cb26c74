"""Exact k-nearest-neighbour probabilities at a small part of the cost of a full search.

A transaction is answered by the first of three ways that can:

certified   Fraud is rare, so almost every transaction has k legitimate rows nearer than its nearest fraud; then no
            fraud votes and the probability is 0, whatever the weights. The proof takes the distances to the frauds and
            to the rows of the nearest cells (`app.scoring.index`), for a whole block of transactions at once.
searched    The rows of the nearest cells bound the distance d of the k-th neighbour from above. By the triangle
            inequality a row x of a cell with center c can be within d of q only if | |x - c| - |q - c| | <= d, and as
            a cell's rows are sorted by |x - c|, those rows are one slice of it.
full        Where the slices would hold a great part of all rows, all are looked at, for many transactions at once.

Each way gives the same answer as sorting all reference rows by their distance, computed in float64 by direct
differences, equal distances by reference id, the lower one, which was trained on first, being the nearer. A distance
that decides is always computed from the two rows alone, so that an answer does not depend on the batch it came in.
Where a quicker formula picks candidates (the expansion of a squared distance into a matrix product), its rounding error
is bounded and added to the bound.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from threadpoolctl import ThreadpoolController

from app.scoring.index import NeighborIndex, build_index, distances_to_center
from app.scoring.prediction import Method
from app.scoring.scaling import Scaling
from app.scoring.transaction import FeatureMatrix

_ROWS_AT_ONCE = 256  # a block's distances to all centers fit into the second-level cache
_SURE_CELLS = 4  # looked at where the nearest one proves nothing; more cost as much as they save
_FRAUD_SHARE_LIMIT = 1 / 16  # with more frauds than that, hardly anything is certified
_FULL_SCAN_SHARE = 0.6  # of the rows: to gather more of them costs a single transaction as much as to look at all
_FULL_SCAN_SHARE_OF_MANY = 0.1  # where hardly anything is certified, and a look at all rows serves a whole block
_REFERENCE_ROWS_AT_ONCE = 8192
_SMALL_BATCH = 8  # of so few rows OpenBLAS multiplies in one thread anyway
_EPSILON = float(np.finfo(np.float64).eps)
_HUGE = 1e300  # below what squares lose when they overflow
_HUGE_IN_SINGLE = 1e37  # the same in float32

_Distances = npt.NDArray[np.float64]
_Rows = npt.NDArray[np.intp]


class Neighborhood(NamedTuple):
    """The k nearest rows of one transaction, nearest first.

    Attributes:
        distances: of shape (k,).
        rows: where they stand in the index's order, of shape (k,).
    """

    distances: _Distances
    rows: _Rows


class Votes(NamedTuple):
    """Answers to a batch.

    Attributes:
        probabilities: of fraud, of shape (n_transactions,).
        methods: how each was found.
        neighborhoods: by number in the batch, of those transactions that took a search.
    """

    probabilities: npt.NDArray[np.float64]
    methods: list[Method]
    neighborhoods: dict[int, Neighborhood]


@dataclass(frozen=True)
class IndexedPipeline:
    """A fitted pipeline whose reference rows stand in the order of an index."""

    pipeline: Pipeline
    index: NeighborIndex


def index_pipeline(pipeline: Pipeline) -> IndexedPipeline:
    """Build the index of a fitted pipeline that ends in a `KNeighborsClassifier`, and put its rows in that order.

    The order of its rows changes none of a classifier's answers but the choice between equal distances.
    """
    classifier: KNeighborsClassifier = pipeline[-1]
    reference = _reference_of(classifier)
    with np.errstate(over="ignore", invalid="ignore"):
        index = build_index(reference)
    labels = np.asarray(classifier.classes_)[classifier._y][index.reference_ids]  # noqa: SLF001 - see _reference_of
    ordered = KNeighborsClassifier(**classifier.get_params())
    name = pipeline.steps[-1][0]
    steps = [*pipeline.steps[:-1], (name, ordered.fit(reference[index.reference_ids], labels))]
    return IndexedPipeline(Pipeline(steps), index)


def _reference_of(classifier: KNeighborsClassifier) -> FeatureMatrix:
    # scikit-learn keeps the reference rows under private names and offers no public ones.
    return np.asarray(classifier._fit_X, dtype=np.float64)  # noqa: SLF001


class NearestNeighbors:
    """The k nearest reference transactions of an indexed pipeline.

    Read-only after construction, and so safe to ask from several threads. The reference rows are the classifier's own,
    not a copy.
    """

    def __init__(self, indexed: IndexedPipeline) -> None:
        pipeline, index = indexed.pipeline, indexed.index
        classifier: KNeighborsClassifier = pipeline[-1]
        self.scaling = Scaling(pipeline[:-1])
        self.reference = _reference_of(classifier)
        self.reference_ids = index.reference_ids
        self.is_fraud = np.asarray(classifier.classes_)[classifier._y] == 1  # noqa: SLF001 - see _reference_of
        self._k: int = classifier.n_neighbors
        self._weighted_by_distance: bool = classifier.weights == "distance"
        self._blas = ThreadpoolController().select(user_api="blas")
        with np.errstate(over="ignore", invalid="ignore"):
            frauds = self.reference[self.is_fraud]
            is_rare = len(frauds) <= _FRAUD_SHARE_LIMIT * len(self.reference)
            self._rows = _ReferenceRows(
                self.reference, index, _FULL_SCAN_SHARE if is_rare else _FULL_SCAN_SHARE_OF_MANY
            )
            self._certificate = _Certificate(self._rows, frauds, self._k) if is_rare else None

    def votes(self, features: FeatureMatrix) -> Votes:
        """The share of the neighbours' votes that are for fraud.

        Args:
            features: unscaled, of shape (n_transactions, n_features), finite.

        Returns:
            Votes are equal, or weighted by 1 / distance; neighbours at distance 0 then outvote all others, as in
            scikit-learn.
        """
        probabilities = np.zeros(len(features))
        methods = [Method.CERTIFIED] * len(features)
        neighborhoods: dict[int, Neighborhood] = {}
        with self._one_thread(len(features)), np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            rows, scaled = self._open(features)
            for start in range(0, len(rows), _ROWS_AT_ONCE):
                block = slice(start, start + _ROWS_AT_ONCE)
                found = zip(*self._rows.nearest(scaled[block], self._k), strict=True)
                for row, (method, neighborhood) in zip(rows[block].tolist(), found, strict=True):
                    probabilities[row] = self._vote(neighborhood)
                    methods[row] = method
                    neighborhoods[row] = neighborhood
        return Votes(probabilities, methods, neighborhoods)

    def _open(self, features: FeatureMatrix) -> tuple[_Rows, FeatureMatrix]:
        """The rows of a batch that are not certified, and their scaled features; a look at all rows then serves all."""
        rows, scaled = [], []
        for start in range(0, len(features), _ROWS_AT_ONCE):
            block = self.scaling(features[start : start + _ROWS_AT_ONCE])
            left = self._not_certified(block)
            rows.append(start + left)
            scaled.append(block[left])
        return (
            (np.concatenate(rows), np.concatenate(scaled)) if rows else (np.empty(0, dtype=np.intp), np.empty((0, 0)))
        )

    def are_certified(self, features: FeatureMatrix) -> bool:
        """Whether every probability is proven to be 0; no row is searched, so that the time has a bound."""
        with np.errstate(over="ignore", invalid="ignore"):
            return not len(self._not_certified(self.scaling(features)))

    def fraud_probability(self, features: FeatureMatrix) -> npt.NDArray[np.float64]:
        """The probabilities of `votes` alone, of shape (n_transactions,)."""
        return self.votes(features).probabilities

    def nearest(self, scaled: FeatureMatrix) -> list[Neighborhood]:
        """The k neighbours of each row of scaled features, of shape (n_transactions, n_scaled)."""
        with np.errstate(over="ignore", invalid="ignore"):
            return [
                neighborhood
                for start in range(0, len(scaled), _ROWS_AT_ONCE)
                for neighborhood in self._rows.nearest(scaled[start : start + _ROWS_AT_ONCE], self._k)[1]
            ]

    def _not_certified(self, scaled: FeatureMatrix) -> _Rows:
        return np.arange(len(scaled)) if self._certificate is None else self._certificate.not_certified(scaled)

    def _one_thread(self, n_transactions: int) -> AbstractContextManager[object]:
        # The products are small: a second thread saves little on an idle core, and on a busy one, as where an event
        # loop runs beside this, each product waits for it (80 us a row instead of 12, with every core busy).
        return nullcontext() if n_transactions <= _SMALL_BATCH else self._blas.limit(limits=1)

    def _vote(self, neighborhood: Neighborhood) -> float:
        is_fraud = self.is_fraud[neighborhood.rows]
        if not self._weighted_by_distance:
            return float(is_fraud.mean())
        weights = 1.0 / neighborhood.distances
        at_zero = np.isinf(weights)
        if at_zero.any():
            weights = at_zero.astype(np.float64)
        # One after the other, as scikit-learn adds them: another order would round otherwise.
        for_fraud, against = (float(np.add.accumulate(weights * side)[-1]) for side in (is_fraud, ~is_fraud))
        return for_fraud / ((for_fraud + against) or 1.0)


class _Certificate:
    """Proves for most transactions that k legitimate rows are nearer than any fraud."""

    def __init__(self, rows: "_ReferenceRows", frauds: FeatureMatrix, k: int) -> None:
        self._rows = rows
        self._k = k
        # Single precision is enough: of the frauds a bound is wanted, which its rounding is taken off from, and which
        # cell is nearest needs no exactness, as any rows may serve as a proof.
        self._n_frauds = len(frauds)
        self._targets = _expanding(np.concatenate([frauds, rows.centers]))
        norms = _norms(frauds)
        self._rounding = _Rounding(frauds.shape[1], np.float32)
        # A fraud's own part of the rounding is taken off here, each fraud's from itself: one that is far away, where
        # numbers are large, would otherwise blur the distance to the near ones.
        self._targets[-1, : len(frauds)] -= (self._rounding.share * norms).astype(np.float32)
        self._largest_fraud_norm = float(norms.max(initial=0.0))
        self._radii = rows.radii(k)
        self._one_cell = _Windows(rows, max(64, 4 * k))
        self._some_cells = _Windows(rows, max(256, 4 * k))

    def not_certified(self, scaled: FeatureMatrix) -> _Rows:
        """Which rows of a block, of shape (n_transactions, n_scaled), are without a proof."""
        norms = _norms(scaled)
        distances = (
            np.hstack([scaled, np.ones((len(scaled), 1))], dtype=np.float32, casting="same_kind") @ self._targets
        )
        to_fraud, to_center = distances[:, : self._n_frauds], distances[:, self._n_frauds :]
        # Squared distances less the transaction's own norm, which all that are compared have in them.
        rounding = self._rounding(norms) + 2.0 * self._rows.rounding(norms)
        nearest_fraud = to_fraud.min(axis=1, initial=np.inf) - rounding
        nearest_fraud[~(norms + self._largest_fraud_norm < _HUGE_IN_SINGLE)] = -np.inf
        cells = to_center.argmin(axis=1)
        left = self._not_certified_by_radius(scaled, cells, nearest_fraud + norms)
        if not len(left):
            return left
        n_nearer = self._one_cell.count_nearer(scaled[left], cells[left, np.newaxis], nearest_fraud[left])
        left = left[n_nearer < self._k]
        if not len(left):
            return left
        n_cells = min(_SURE_CELLS, self._rows.n_cells)
        several = np.argpartition(to_center[left], n_cells - 1, axis=1)[:, :n_cells]
        n_nearer = self._some_cells.count_nearer(scaled[left], several, nearest_fraud[left])
        return left[n_nearer < self._k]

    def _not_certified_by_radius(self, scaled: FeatureMatrix, cells: _Rows, nearest_fraud: _Distances) -> _Rows:
        """The quickest proof: k rows of a cell are within its radius and the way to its center of the transaction."""
        to_center = np.sqrt(np.square(scaled - self._rows.centers[cells]).sum(axis=1))
        reach = (to_center + self._radii[cells]) * (1.0 + 1e-12)
        return np.flatnonzero(~(reach * reach < nearest_fraud))


class _Windows:
    """The first `width` rows of any cell, for many cells at once."""

    def __init__(self, rows: "_ReferenceRows", width: int) -> None:
        self._width = min(width, len(rows.reference))
        self._offsets = rows.offsets
        # Views without a copy; a window that starts near the end of a cell runs on into the next one.
        shape = (self._width, rows.reference.shape[1])
        self._rows = np.lib.stride_tricks.sliding_window_view(rows.reference, shape)[:, 0]
        self._norms = np.lib.stride_tricks.sliding_window_view(rows.norms, self._width)

    def count_nearer(self, scaled: FeatureMatrix, cells: _Rows, than: _Distances) -> npt.NDArray[np.intp]:
        """How many of the windows' rows are nearer to each transaction than a squared distance less its own norm.

        Args:
            scaled: transactions, of shape (n_transactions, n_scaled).
            cells: of shape (n_transactions, n_cells), none twice for one transaction.
            than: of shape (n_transactions,).
        """
        starts = np.minimum(self._offsets[cells], len(self._norms) - 1)
        # Shapes (n_transactions, n_cells, width, n_scaled) by (n_transactions, 1, n_scaled, 1).
        distances = np.matmul(self._rows[starts], scaled[:, np.newaxis, :, np.newaxis])[..., 0]
        distances *= -2.0
        distances += self._norms[starts]
        is_nearer = distances < than[:, np.newaxis, np.newaxis]
        if cells.shape[1] > 1:  # a row may be in the windows of two cells, and counts once
            places = starts[..., np.newaxis] + np.arange(self._width)
            is_nearer &= places >= self._offsets[cells][..., np.newaxis]
            is_nearer &= places < self._offsets[cells + 1][..., np.newaxis]
        return np.asarray(np.count_nonzero(is_nearer, axis=(1, 2)))


class _ReferenceRows:
    """The reference rows in the order of their index, and the ways to find those near a transaction."""

    def __init__(self, reference: FeatureMatrix, index: NeighborIndex, full_scan_share: float) -> None:
        self.reference = reference
        self._full_scan_rows = full_scan_share * len(reference)
        self.norms = _norms(reference)
        self.centers = index.centers
        self.n_cells = len(index.centers)
        self.offsets = index.offsets
        self._reference_ids = index.reference_ids
        self._largest_norm = float(self.norms.max())
        self._rounding = _Rounding(reference.shape[1], np.float64)
        self._sizes = np.diff(index.offsets)
        cells = np.repeat(np.arange(self.n_cells), self._sizes)
        to_center = distances_to_center(reference, index.centers, cells)
        self._farthest = np.maximum.reduceat(to_center, index.offsets[:-1])
        # The rows of all cells in one rising sequence, so that one search finds the slices of many cells.
        self._span = 2.0 * float(to_center.max()) + 1.0
        self._keys = cells * self._span + to_center

    def radii(self, k: int) -> _Distances:
        """The distance from each center within which k rows of its cell are; infinite where a cell has fewer."""
        last = self.offsets[:-1] + k - 1
        there = last < self.offsets[1:]
        radii = np.full(self.n_cells, np.inf)
        radii[there] = self._keys[last[there]] - np.flatnonzero(there) * self._span
        return radii * (1.0 + 1e-12) + 8.0 * _EPSILON * self.n_cells * self._span

    def rounding(self, norms: _Distances) -> _Distances:
        """A bound on the error of an expanded squared distance, for transactions with these squared norms."""
        return self._rounding(norms + self._largest_norm)

    def nearest(self, scaled: FeatureMatrix, k: int) -> tuple[list[Method], list[Neighborhood]]:
        """The k nearest rows of each transaction of a block, of shape (n_transactions, n_scaled)."""
        bounds = np.empty(len(scaled))
        methods = [Method.SEARCHED] * len(scaled)
        candidates: list[_Rows] = []
        for row, question in enumerate(scaled):
            to_center = np.sqrt(np.square(self.centers - question).sum(axis=1))
            bounds[row] = self._bound(question, to_center, k)
            starts, ends = self._slices(to_center, bounds[row])
            if int((ends - starts).sum()) > self._full_scan_rows:
                methods[row] = Method.FULL
                candidates.append(np.empty(0, dtype=np.intp))
            else:
                candidates.append(self._within(question, bounds[row], _ranges(starts, ends)))
        in_full = [row for row, method in enumerate(methods) if method is Method.FULL]
        if in_full:
            for row, found in zip(in_full, self._scan(scaled[in_full], bounds[in_full]), strict=True):
                candidates[row] = found
        return methods, [self._choose(*pair, k) for pair in zip(scaled, candidates, strict=True)]

    def _bound(self, question: _Distances, to_center: _Distances, k: int) -> float:
        """A distance within which k rows are: that of the k-th among the rows of the nearest cells."""
        cells = np.argpartition(to_center, min(_SURE_CELLS, self.n_cells) - 1)[:_SURE_CELLS]
        if self._sizes[cells].sum() < k:
            cells = np.argsort(to_center)
            cells = cells[: int(np.searchsorted(np.cumsum(self._sizes[cells]), k)) + 1]
        distances = self._distances(question, _ranges(self.offsets[cells], self.offsets[cells + 1]))
        return float(np.partition(distances, k - 1)[k - 1])

    def _slices(self, to_center: _Distances, bound: float) -> tuple[_Rows, _Rows]:
        """Where the rows within the bound can be: starts and ends of slices of the reference rows."""
        if not np.isfinite(to_center.sum() + bound + self._span):
            return np.array([0]), np.array([len(self.reference)])
        # Far more than the rounding of distances, keys and bounds, and far too little to let in many rows.
        slack = 1e-12 * (to_center + bound) + 8.0 * _EPSILON * self.n_cells * self._span
        lowest, highest = to_center - bound - slack, to_center + bound + slack
        cells = np.flatnonzero(lowest <= self._farthest)
        keys = cells * self._span
        starts = np.searchsorted(self._keys, keys + np.maximum(lowest[cells], 0.0) - slack[cells], side="left")
        # Seen from outside, most cells are within reach up to their farthest row, which needs no search.
        ends = self.offsets[cells + 1]
        is_cut = highest[cells] < self._farthest[cells]
        ends[is_cut] = np.minimum(
            np.searchsorted(self._keys, keys[is_cut] + highest[cells][is_cut], side="right"), ends[is_cut]
        )
        return np.maximum(starts, self.offsets[cells]), ends

    def _within(self, question: _Distances, bound: float, rows: _Rows) -> _Rows:
        """Those of the rows that are within the bound, and perhaps some that are a little farther."""
        norm = question @ question
        if not norm + self._largest_norm < _HUGE:
            return rows[self._distances(question, rows) <= bound]
        limit = bound * bound - norm + self.rounding(norm)
        found = []
        for start in range(0, len(rows), _REFERENCE_ROWS_AT_ONCE):
            block = rows[start : start + _REFERENCE_ROWS_AT_ONCE]
            distances = self.reference.take(block, axis=0) @ (-2.0 * question)
            distances += self.norms.take(block)
            found.append(block[distances <= limit])
        return np.concatenate(found)

    def _scan(self, scaled: FeatureMatrix, bounds: _Distances) -> list[_Rows]:
        """What `_within` finds among all rows, for every transaction at once."""
        norms = _norms(scaled)
        if not norms.max() + self._largest_norm < _HUGE:
            everything = np.arange(len(self.reference))
            return [self._within(question, bound, everything) for question, bound in zip(scaled, bounds, strict=True)]
        limits = bounds * bounds - norms + self.rounding(norms)
        questions = -2.0 * scaled.T
        found: list[list[_Rows]] = [[] for _ in scaled]
        for start in range(0, len(self.reference), _REFERENCE_ROWS_AT_ONCE):
            block = slice(start, start + _REFERENCE_ROWS_AT_ONCE)
            distances = self.reference[block] @ questions
            distances += self.norms[block, np.newaxis]
            for row, is_within in enumerate((distances <= limits).T):
                found[row].append(start + np.flatnonzero(is_within))
        return [np.concatenate(parts) for parts in found]

    def _choose(self, question: _Distances, candidates: _Rows, k: int) -> Neighborhood:
        distances = self._distances(question, candidates)
        nearest = np.lexsort((self._reference_ids[candidates], distances))[:k]
        return Neighborhood(distances[nearest], candidates[nearest])

    def _distances(self, question: _Distances, rows: _Rows) -> _Distances:
        return np.asarray(np.sqrt(np.square(self.reference.take(rows, axis=0) - question).sum(axis=1)))


def _norms(rows: FeatureMatrix) -> _Distances:
    """Squared Euclidean norms of rows, of shape (n_rows,)."""
    return np.asarray(np.einsum("ij,ij->i", rows, rows))


class _Rounding:
    """A bound on the error of squared distances that were expanded into a product.

    A dot product of n terms is off by at most n epsilon |q| |x| (Higham, Accuracy and Stability of Numerical
    Algorithms, section 3.1), and 2 |q| |x| <= |q|^2 + |x|^2; the factor is several times what follows from that.

    Args:
        n_scaled: terms of the product.
        precision: in which it is computed, float32 or float64.

    Attributes:
        share: the bound for norms of 1, but for what underflow loses.
    """

    def __init__(self, n_scaled: int, precision: type[np.floating[Any]]) -> None:
        information = np.finfo(precision)
        self.share = 4.0 * (n_scaled + 4) * float(information.eps)
        self._lost_by_underflow = 1e18 * float(information.tiny)

    def __call__(self, norms: _Distances) -> _Distances:
        """The bound, for |q|^2 + |x|^2."""
        return np.asarray(self.share * norms + self._lost_by_underflow)


def _expanding(rows: FeatureMatrix) -> npt.NDArray[np.float32]:
    """What (q, 1) has to be multiplied by for |q - x|^2 - |q|^2 of every row x; of shape (n_scaled + 1, n_rows)."""
    return np.ascontiguousarray(np.vstack([-2.0 * rows.T, _norms(rows)]), dtype=np.float32)


def _ranges(starts: _Rows, ends: _Rows) -> _Rows:
    """The numbers of several half-open ranges, one behind the other."""
    sizes = np.maximum(ends - starts, 0)
    before = np.cumsum(sizes) - sizes
    return np.repeat(starts - before, sizes) + np.arange(int(sizes.sum()))
