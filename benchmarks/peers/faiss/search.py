"""faiss's exact search over all rows: `python -m benchmarks.peers.faiss.search ARRAYS`.

faiss finds neighbours in float32 and knows no votes; the votes are scikit-learn's rule in numpy.
"""

import sys
from pathlib import Path

import faiss
import numpy as np
import numpy.typing as npt

from benchmarks.peers.answering import answer
from benchmarks.peers.model import NEIGHBORS, fitted_pipeline, linear_algebra


class Voting:
    """Distances of faiss, votes weighted by 1 / distance."""

    def __init__(self, arrays: Path) -> None:
        pipeline = fitted_pipeline(arrays)
        self._scaling = pipeline[:-1]
        with np.load(arrays) as loaded:
            self._is_fraud = loaded["labels"] == 1
            reference = np.ascontiguousarray(self._scaling.transform(loaded["reference"]), dtype=np.float32)
        self._index = faiss.IndexFlatL2(reference.shape[1])
        self._index.add(reference)

    def __call__(self, rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        scaled = np.ascontiguousarray(self._scaling.transform(rows), dtype=np.float32)
        squared, indices = self._index.search(scaled, NEIGHBORS)
        distances = np.sqrt(squared.astype(np.float64))
        at_zero = distances == 0.0
        weights = np.where(at_zero.any(axis=1, keepdims=True), at_zero, 1.0 / np.where(at_zero, 1.0, distances))
        return np.asarray((weights * self._is_fraud[indices]).sum(axis=1) / weights.sum(axis=1))


if __name__ == "__main__":
    arrays = Path(sys.argv[1])
    answer(arrays, Voting(arrays), {"linear_algebra": linear_algebra(), "threads": faiss.omp_get_max_threads()})
