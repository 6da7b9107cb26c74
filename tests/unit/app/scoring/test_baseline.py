"""The distributions that a model was trained on, and how far others are from them."""

import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
from scipy.stats import ks_2samp

from app.scoring.artifact import load_artifact
from app.scoring.baseline import (
    BASELINE_FILE,
    SCORE,
    baseline_of,
    distance_of_distributions,
    distribution_of,
    load_baseline,
    stability_index,
)
from app.scoring.errors import ArtifactChangedError, ArtifactMissingError

NORMAL = np.random.default_rng(1).normal(size=20_000)


def test_the_shares_are_those_of_the_parts() -> None:
    distribution = distribution_of("V1", NORMAL)

    assert len(distribution.edges) == 99
    assert sum(distribution.shares) == pytest.approx(1)
    assert distribution.shares == pytest.approx(np.full(100, 0.01), abs=1e-3)


def test_a_value_that_is_an_edge_belongs_to_the_part_below() -> None:
    distribution = distribution_of("V1", np.arange(1, 101, dtype=float))

    last = len(distribution.edges)
    assert distribution.count(np.array([1.0, 1.5, 100.0])).nonzero()[0].tolist() == [0, 1, last]


def test_a_value_of_many_rows_has_one_part() -> None:
    distribution = distribution_of("fraud_probability", np.repeat([0.0, 0.4, 1.0], [990, 5, 5]))

    assert sum(distribution.shares) == pytest.approx(1)
    assert distribution.shares[0] == pytest.approx(0.99)


def test_the_distance_is_the_kolmogorov_smirnov_statistic() -> None:
    newer = np.random.default_rng(2).normal(0.3, 1, 5_000)
    distribution = distribution_of("V1", NORMAL)

    found = distance_of_distributions(distribution.shares, distribution.count(newer))

    assert found == pytest.approx(ks_2samp(NORMAL, newer).statistic, abs=0.005)


def test_the_stability_index_of_a_known_shift() -> None:
    """Of two halves that become 80 to 20: (0.8 - 0.5) ln(0.8 / 0.5) + (0.2 - 0.5) ln(0.2 / 0.5)."""
    expected = 0.3 * np.log(1.6) - 0.3 * np.log(0.4)

    assert stability_index((0.5, 0.5), np.array([80, 20])) == pytest.approx(expected)


def test_the_same_values_have_no_shift() -> None:
    distribution = distribution_of("V1", NORMAL)

    assert stability_index(distribution.shares, distribution.count(NORMAL)) == pytest.approx(0)
    assert distance_of_distributions(distribution.shares, distribution.count(NORMAL)) == pytest.approx(0)


def test_a_part_without_values_gives_a_finite_index() -> None:
    distribution = distribution_of("V1", NORMAL)

    index = stability_index(distribution.shares, distribution.count(NORMAL + 100))

    assert 1 < float(index) < 20


def _write(directory: Path, model_version: str) -> None:
    names = load_artifact(directory).manifest.feature_names
    baseline = baseline_of(model_version, names, np.zeros((5, len(names))), np.zeros(5))
    (directory / BASELINE_FILE).write_bytes(msgspec.json.encode(baseline))


def test_a_baseline_is_read_as_it_was_written(artifact: Path, tmp_path: Path) -> None:
    directory = shutil.copytree(artifact, tmp_path / "copy")
    manifest = load_artifact(directory).manifest
    _write(directory, manifest.model_version)

    baseline = load_baseline(directory, manifest)

    assert [one.name for one in baseline.distributions] == [*manifest.feature_names, SCORE]
    assert baseline.n_rows == 5


def test_a_missing_baseline_is_one_sentence(artifact: Path, tmp_path: Path) -> None:
    directory = shutil.copytree(artifact, tmp_path / "copy")
    (directory / BASELINE_FILE).unlink(missing_ok=True)

    with pytest.raises(ArtifactMissingError, match="train again to have a baseline"):
        load_baseline(directory, load_artifact(directory).manifest)


def test_the_baseline_of_another_model_is_refused(artifact: Path, tmp_path: Path) -> None:
    directory = shutil.copytree(artifact, tmp_path / "copy")
    _write(directory, "0123456789ab")

    with pytest.raises(ArtifactChangedError, match="the baseline of another model"):
        load_baseline(directory, load_artifact(directory).manifest)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b"[1, 2]"])
def test_a_damaged_baseline_is_one_sentence(artifact: Path, tmp_path: Path, content: bytes) -> None:
    directory = shutil.copytree(artifact, tmp_path / "copy")
    (directory / BASELINE_FILE).write_bytes(content)

    with pytest.raises(ArtifactChangedError, match=r"^[^\n]+ is no baseline of Neighborwatch"):
        load_baseline(directory, load_artifact(directory).manifest)
