"""scikit-learn's own search: `python -m benchmarks.peers.scikit_learn brute|kd_tree ARRAYS`."""

import sys
from pathlib import Path

import numpy as np

from benchmarks.peers.answering import answer
from benchmarks.peers.model import fitted_pipeline, linear_algebra

if __name__ == "__main__":
    algorithm, arrays = sys.argv[1], Path(sys.argv[2])
    pipeline = fitted_pipeline(arrays, algorithm)
    pipeline.predict_proba(np.zeros((1, pipeline.n_features_in_)))  # loads what is loaded at the first call
    answer(arrays, lambda rows: pipeline.predict_proba(rows)[:, 1], {"linear_algebra": linear_algebra()})
