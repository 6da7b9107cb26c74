"""How the reference rows lie in memory, so that a search can leave most of them out.

The rows are parted into cells around centers (k-means), the rows of a cell stand together, and within a cell they are
sorted by their distance to its center. Where the rows near a transaction stand is then a matter of a few slices. The
index is made once, at training time, and kept in the artifact; a model is exact whatever the quality of its cells.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.scoring.transaction import FeatureMatrix

_CELLS_PER_SQUARE_ROOT = 2.4  # measured on 182,276 real rows: half as many or twice as many cells are both slower
_SAMPLE_ROWS_PER_CELL = 32
_ROUNDS = 6
_ROWS_AT_ONCE = 4096
_SEED = 20260101

_Ids = npt.NDArray[np.int32]
_Offsets = npt.NDArray[np.int64]
_Cells = npt.NDArray[np.intp]


@dataclass(frozen=True)
class NeighborIndex:
    """The order of the reference rows.

    Attributes:
        reference_ids: of shape (n_reference,), the number of each row in the training part, counted from 0.
        offsets: of shape (n_cells + 1,); the rows of cell c stand from offsets[c] up to offsets[c + 1].
        centers: of shape (n_cells, n_scaled).
    """

    reference_ids: _Ids
    offsets: _Offsets
    centers: FeatureMatrix


def build_index(reference: FeatureMatrix) -> NeighborIndex:
    """Part reference rows, of shape (n_reference, n_scaled), into cells. The same rows give the same index."""
    centers = _centers(reference)
    cells = _nearest_center(reference, centers)
    sizes = np.bincount(cells, minlength=len(centers))
    centers = centers[sizes > 0]
    cells = (np.cumsum(sizes > 0) - 1)[cells]
    to_center = distances_to_center(reference, centers, cells)
    order = np.lexsort((to_center, cells))
    offsets = np.concatenate([[0], np.cumsum(sizes[sizes > 0])])
    return NeighborIndex(order.astype(np.int32), offsets.astype(np.int64), centers)


def distances_to_center(rows: FeatureMatrix, centers: FeatureMatrix, cells: _Cells) -> npt.NDArray[np.float64]:
    """The distance of each row, of shape (n_rows, n_scaled), to the center of its cell."""
    distances = np.empty(len(rows))
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        block = slice(start, start + _ROWS_AT_ONCE)
        distances[block] = np.sqrt(np.square(rows[block] - centers[cells[block]]).sum(axis=1))
    return distances


def _centers(reference: FeatureMatrix) -> FeatureMatrix:
    """Lloyd's algorithm on a sample: the cells need not be the best ones."""
    generator = np.random.default_rng(_SEED)
    n_cells = max(1, min(len(reference) // 8, round(_CELLS_PER_SQUARE_ROOT * len(reference) ** 0.5)))
    n_sample = min(len(reference), n_cells * _SAMPLE_ROWS_PER_CELL)
    sample = reference[np.sort(generator.choice(len(reference), n_sample, replace=False))]
    centers = sample[np.sort(generator.choice(n_sample, n_cells, replace=False))].copy()
    for _ in range(_ROUNDS):
        cells = _nearest_center(sample, centers)
        order = np.argsort(cells, kind="stable")
        sizes = np.bincount(cells, minlength=n_cells)
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])[sizes > 0]
        centers[sizes > 0] = np.add.reduceat(sample[order], starts) / sizes[sizes > 0, np.newaxis]
    return np.asarray(centers)


def _nearest_center(rows: FeatureMatrix, centers: FeatureMatrix) -> _Cells:
    half_norms = np.einsum("ij,ij->i", centers, centers) / 2
    cells = np.empty(len(rows), dtype=np.intp)
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        block = slice(start, start + _ROWS_AT_ONCE)
        cells[block] = (half_norms - rows[block] @ centers.T).argmin(axis=1)
    return cells
