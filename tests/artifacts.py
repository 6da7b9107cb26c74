"""A small model for tests of what stands around the model: four features, and fraud where V1 and V2 are large."""

from pathlib import Path

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from app.scoring.artifact import save_artifact
from app.scoring.fitted import FittedModel, Reference
from app.scoring.manifest import Manifest
from app.scoring.neighbors import index_pipeline
from app.training.dataset import Part
from app.training.models import WholeRecipe
from app.training.space import Columns

FEATURE_NAMES = ("Time", "V1", "V2", "Amount")
LEGITIMATE = {"Time": 10.0, "V1": 0.0, "V2": 0.0, "Amount": 20.0}
FRAUD = {"Time": 10.0, "V1": 6.0, "V2": 6.0, "Amount": 500.0}


def make_part() -> Part:
    """400 legitimate transactions, then 40 fraudulent ones."""
    generator = np.random.default_rng(7)
    legitimate = generator.normal([0, 0, 0, 30], [1, 1, 1, 5], size=(400, 4))
    fraud = generator.normal([0, 6, 6, 500], [1, 0.5, 0.5, 5], size=(40, 4))
    return Part(np.vstack([legitimate, fraud]), np.repeat([0, 1], [400, 40]), np.arange(440.0))


def make_artifact(directory: Path, n_neighbors: int = 5) -> Manifest:
    """Train nearest neighbours, and save."""
    part = make_part()
    features, labels = part.features, part.labels
    pipeline = Pipeline(
        [
            ("scaling", ColumnTransformer([("standard", StandardScaler(), [1, 2, 3])])),
            ("neighbors", KNeighborsClassifier(n_neighbors, weights="distance", algorithm="brute")),
        ]
    )
    indexed = index_pipeline(pipeline.fit(features, labels))
    reference = Reference(indexed.index, features[:, [0, 3]])
    fitted = FittedModel(indexed.pipeline, FEATURE_NAMES, ("Time", "Amount"), reference)
    return save_artifact(directory, fitted, training={"rows": len(features)}, metrics={})


def make_whole_artifact(directory: Path, model: str) -> Manifest:
    """Train a model without neighbours on the same transactions, and save."""
    recipe = WholeRecipe(model, Columns(n_features=4, time=0, amount=3), seed=1)
    return save_artifact(directory, recipe.fit(make_part(), FEATURE_NAMES), training={"model": model}, metrics={})
