"""`python -m benchmarks.equality`: are our answers scikit-learn's? Every later transaction, both kinds of weights.

Both have the same reference rows. Distances are taken by scikit-learn's brute search, which expands them into a matrix
product and so rounds near zero: probabilities may differ in the last digits, and where two rows are equally far away as
the k-th, either may vote.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from app.scoring.neighbors import NearestNeighbors, index_pipeline
from benchmarks.peers.model import fitted_pipeline
from benchmarks.progress import tell
from benchmarks.workload import Workload, prepare

_ROWS_AT_ONCE = 2_048
_SAME = 1e-12


def compare(workload: Workload) -> bool:
    """Tell how far the answers are from each other.

    Returns:
        Whether no probability differs by more than rounding.
    """
    fitted = fitted_pipeline(workload.arrays)
    is_same = True
    for weights in ("uniform", "distance"):
        pipeline: Pipeline = clone(fitted).set_params(neighbors__weights=weights)
        pipeline.fit(workload.reference.features, workload.reference.labels)
        neighbors = NearestNeighbors(index_pipeline(pipeline))
        rows = workload.later.features
        theirs = np.concatenate(
            [
                pipeline.predict_proba(rows[start : start + _ROWS_AT_ONCE])[:, 1]
                for start in range(0, len(rows), _ROWS_AT_ONCE)
            ]
        )
        ours = neighbors.fraud_probability(rows)
        off = np.abs(ours - theirs)
        tell(
            f"equality, {weights} weights: {len(rows):,} transactions, {int((theirs > 0).sum())} with a vote for "
            f"fraud; largest difference {off.max():.2g}, {int((off > _SAME).sum())} differ by more than {_SAME:g}"
        )
        is_same &= bool((off <= _SAME).all())
    return is_same


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="neighborwatch-equality-") as work:
        sys.exit(0 if compare(prepare(Path(work))) else 1)
