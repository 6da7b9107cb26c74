"""What transactions and scores looked like when the model was trained, so that a change can be seen.

The values of each feature are parted by the percentiles of the last training days. All that is compared is the share
of values in each part: small to keep, and independent of the feature's unit.
"""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from app.scoring.errors import ArtifactChangedError, ArtifactMissingError
from app.scoring.manifest import Manifest
from app.scoring.transaction import FeatureMatrix

BASELINE_FILE = "baseline.json"
SCORE = "fraud_probability"
"""The name that the distribution of the model's own probabilities has among those of the features."""

_PERCENTILES = np.arange(1, 100)
_N_COARSE = 10
_LEAST_SHARE = 1e-4  # a part that was empty on one side would make the index infinite

_Shares = npt.NDArray[np.float64]


class Distribution(msgspec.Struct, frozen=True):
    """The values of one feature.

    Attributes:
        name: the feature, or SCORE.
        edges: rising; value x is in part i when edges[i - 1] < x <= edges[i].
        shares: of the values in each part, one more than edges.
    """

    name: str
    edges: tuple[float, ...]
    shares: tuple[float, ...]

    def count(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """How many values, of shape (n_values,), are in each part."""
        parts = np.searchsorted(self.edges, values, side="left")
        return np.bincount(parts, minlength=len(self.shares)).astype(np.int64)


class Baseline(msgspec.Struct, frozen=True):
    """The distributions of the features and of the score, in rows that were trained on.

    Attributes:
        model_version: the model that it belongs to.
        n_rows: how many rows it was made of.
        distributions: of each feature, and last of the score, as the model would say it of rows that it never saw.
    """

    model_version: str
    n_rows: int
    distributions: tuple[Distribution, ...]


def distribution_of(name: str, values: npt.NDArray[np.float64]) -> Distribution:
    edges = np.unique(np.percentile(values, _PERCENTILES, method="inverted_cdf"))
    whole = Distribution(name, tuple(edges.tolist()), (0.0,) * (len(edges) + 1))
    return Distribution(name, whole.edges, tuple((whole.count(values) / len(values)).tolist()))


def baseline_of(
    model_version: str, feature_names: Sequence[str], features: FeatureMatrix, probabilities: npt.NDArray[np.float64]
) -> Baseline:
    """A baseline of rows (n_rows, n_features) and of the probabilities (n_rows,) that a model gives them."""
    named = [*zip(feature_names, features.T, strict=True), (SCORE, probabilities)]
    return Baseline(model_version, len(features), tuple(distribution_of(name, values) for name, values in named))


def load_baseline(directory: Path, manifest: Manifest) -> Baseline:
    """The baseline of an artifact.

    Raises:
        ArtifactMissingError: it has none.
        ArtifactChangedError: it is not that of the model.
    """
    path = directory / BASELINE_FILE
    try:
        baseline = msgspec.json.decode(path.read_bytes(), type=Baseline)
    except OSError as error:
        raise ArtifactMissingError(
            f"The artifact's file {path} cannot be read ({error.strerror}); train again to have a baseline.",
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ArtifactChangedError(f"{path} is no baseline of Neighborwatch: {error}; train again.") from error
    names = tuple(distribution.name for distribution in baseline.distributions)
    if baseline.model_version != manifest.model_version or names != (*manifest.feature_names, SCORE):
        raise ArtifactChangedError(f"{path} is the baseline of another model; train again.")
    return baseline


def stability_index(expected: Sequence[float] | _Shares, counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """The population stability index of counts, of shape (..., n_parts), against expected shares (n_parts,).

    Parts are taken together to about ten. Usual reading: below 0.1 the same, from 0.25 on another population.
    """
    shares = np.asarray(expected, dtype=np.float64)
    groups = np.minimum((np.cumsum(shares) - shares / 2) * _N_COARSE, _N_COARSE - 1).astype(np.int64)
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    was = np.maximum(np.add.reduceat(shares, starts), _LEAST_SHARE)
    found = np.add.reduceat(counts, starts, axis=-1) / counts.sum(axis=-1, keepdims=True)
    found = np.maximum(found, _LEAST_SHARE)
    return np.asarray(((found - was) * np.log(found / was)).sum(axis=-1))


def distance_of_distributions(
    expected: Sequence[float] | _Shares, counts: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """The Kolmogorov-Smirnov statistic at the edges of the parts, of counts of shape (..., n_parts)."""
    found = np.cumsum(counts, axis=-1) / counts.sum(axis=-1, keepdims=True)
    return np.asarray(np.abs(found - np.cumsum(expected)).max(axis=-1))
