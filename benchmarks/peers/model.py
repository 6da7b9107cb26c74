"""The model as a peer serves it, fitted in the peer's own environment; needs numpy and scikit-learn alone."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

NEIGHBORS = 15


def fitted_pipeline(arrays: Path, algorithm: str = "brute") -> Pipeline:
    """What `python -m app train` fits: features standardised, Time left out, 15 neighbours weighted by distance."""
    with np.load(arrays) as loaded:
        columns = loaded["in_distance"].tolist()
        pipeline = Pipeline(
            [
                ("scaling", ColumnTransformer([("standard", StandardScaler(), columns)])),
                ("neighbors", KNeighborsClassifier(NEIGHBORS, weights="distance", algorithm=algorithm)),
            ]
        )
        return pipeline.fit(loaded["reference"], loaded["labels"])


def linear_algebra() -> list[dict[str, Any]]:
    """Which kernels run: the libraries that are loaded, by threadpoolctl."""
    from threadpoolctl import threadpool_info  # noqa: PLC0415 - after everything that loads such libraries

    kept = ("internal_api", "version", "architecture", "num_threads")
    return [{name: found[name] for name in kept if name in found} for found in threadpool_info()]


if __name__ == "__main__":  # what MLServer loads: its arguments are the arrays and the file to write
    import joblib

    joblib.dump(fitted_pipeline(Path(sys.argv[1])), sys.argv[2])
