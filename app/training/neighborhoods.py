"""The neighbourhoods that have fraud in them, for a search over models; in single precision.

Almost no transaction has a fraud among its neighbours, so the legitimate rows nearer than its nearest fraud are counted
block by block, and a transaction is done with when there are k of them. What is left is looked at in full. Single
precision is enough to choose a model by; the chosen one is measured in double precision by the scorer itself.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.training.dataset import Labels

_FIRST_BLOCK = 4_096
_BLOCK = 16_384
_ROWS_AT_ONCE = 2_048
_FULL_ROWS_AT_ONCE = 256

_Singles = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Neighborhoods:
    """The k nearest of those questions that have fraud among them, nearest first.

    Attributes:
        n_questions: how many were asked.
        rows: which of them have fraud near, of shape (n_near,).
        distances: of shape (n_near, k).
        is_fraud: of shape (n_near, k).
    """

    n_questions: int
    rows: npt.NDArray[np.intp]
    distances: _Singles
    is_fraud: npt.NDArray[np.bool_]

    def probabilities(self, k: int, weights: str) -> npt.NDArray[np.float64]:
        """The votes of the k nearest, equal or weighted by 1 / distance, of shape (n_questions,)."""
        distances, is_fraud = self.distances[:, :k].astype(np.float64), self.is_fraud[:, :k]
        votes = np.ones(distances.shape) if weights == "uniform" else 1 / np.maximum(distances, 1e-12)
        probabilities = np.zeros(self.n_questions)
        probabilities[self.rows] = (votes * is_fraud).sum(axis=1) / votes.sum(axis=1)
        return probabilities


def find_neighborhoods(
    reference: npt.NDArray[np.float64], labels: Labels, questions: npt.NDArray[np.float64], k: int
) -> Neighborhoods:
    """Search k neighbours for questions (n_questions, n_scaled) among reference rows (n_reference, n_scaled)."""
    center = reference.mean(axis=0)  # small numbers lose less in single precision
    known, asked = (reference - center).astype(np.float32), (questions - center).astype(np.float32)
    k = min(k, len(known))
    rows = _near_fraud(known[labels == 1], known[labels == 0], asked, k)
    distances = np.empty((len(rows), k), dtype=np.float32)
    is_fraud = np.empty((len(rows), k), dtype=np.bool_)
    norms = _norms(known)
    for start in range(0, len(rows), _FULL_ROWS_AT_ONCE):
        block = slice(start, start + _FULL_ROWS_AT_ONCE)
        distances[block], nearest = _nearest(known, norms, asked[rows[block]], k)
        is_fraud[block] = labels[nearest] == 1
    return Neighborhoods(len(asked), rows, distances, is_fraud)


def _near_fraud(frauds: _Singles, legitimate: _Singles, asked: _Singles, k: int) -> npt.NDArray[np.intp]:
    """Questions with fewer than k legitimate rows nearer than their nearest fraud."""
    fraud_norms = _norms(frauds)
    nearest_fraud = np.concatenate(
        [_compared(part, frauds, fraud_norms).min(axis=1) for part in _parts(asked)] or [np.empty(0, np.float32)]
    )
    # Spread over the rows, so that the first block stands for all of them; a fixed order gives fixed answers.
    order = np.random.default_rng(0).permutation(len(legitimate))
    n_nearer = np.zeros(len(asked), dtype=np.int64)
    rows = np.arange(len(asked))
    start, size = 0, _FIRST_BLOCK
    while start < len(order) and len(rows):
        block = legitimate[order[start : start + size]]
        norms = _norms(block)
        for first in range(0, len(rows), _ROWS_AT_ONCE):
            part = rows[first : first + _ROWS_AT_ONCE]
            n_nearer[part] += (_compared(asked[part], block, norms) < nearest_fraud[part, np.newaxis]).sum(axis=1)
        rows = rows[n_nearer[rows] < k]
        start, size = start + size, _BLOCK
    return rows


def _nearest(known: _Singles, norms: _Singles, asked: _Singles, k: int) -> tuple[_Singles, npt.NDArray[np.intp]]:
    compared = _compared(asked, known, norms)
    nearest = np.argpartition(compared, k - 1, axis=1)[:, :k]
    distances = np.sqrt(np.square(asked[:, np.newaxis] - known[nearest]).sum(axis=2))
    order = np.argsort(distances, axis=1, kind="stable")
    return np.take_along_axis(distances, order, axis=1), np.take_along_axis(nearest, order, axis=1)


def _compared(asked: _Singles, known: _Singles, norms: _Singles) -> _Singles:
    """Squared distances less the norm of what is asked, of shape (n_asked, n_known)."""
    compared = asked @ (-2 * known.T)
    compared += norms
    return np.asarray(compared)


def _norms(rows: _Singles) -> _Singles:
    return np.asarray(np.square(rows).sum(axis=1))


def _parts(rows: _Singles) -> list[_Singles]:
    return [rows[start : start + _ROWS_AT_ONCE] for start in range(0, len(rows), _ROWS_AT_ONCE)]
