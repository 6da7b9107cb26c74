"""What every test may ask for."""

from pathlib import Path

import pytest

from tests.artifacts import make_artifact, make_whole_artifact


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a small model; tests copy it before they change it."""
    directory = tmp_path_factory.mktemp("artifact")
    make_artifact(directory)
    return directory


@pytest.fixture(scope="session")
def boosted_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a small model without neighbours; tests copy it before they change it."""
    directory = tmp_path_factory.mktemp("boosted-artifact")
    make_whole_artifact(directory, "gradient-boosting")
    return directory
