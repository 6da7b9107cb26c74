"""What an artifact says of itself, to be read without the libraries of its model: many need the names alone."""

from pathlib import Path
from typing import Any

import msgspec

from app.scoring.errors import ArtifactMissingError, ManifestInvalidError
from app.scoring.transaction import RESERVED_NAMES

FORMAT_VERSION = 3
MANIFEST_FILE = "manifest.json"

_READABLE_VERSIONS = (2, FORMAT_VERSION)  # 3 added models without neighbours, and calibration


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What an artifact says of itself.

    Attributes:
        format_version: the version of this format.
        model_version: the first 12 digits of the sha256 of the model file.
        feature_names: the features of a transaction, in the order of training.
        context_names: those features that people want to read beside a prediction: the time and the amount.
        scikit_learn_version: of the process that trained it.
        numpy_version: of the process that trained it.
        sha256: of the model file, in hexadecimal digits.
        training: how it was trained; for people.
        metrics: what was measured on transactions later than those it was trained on; for people.
    """

    format_version: int
    model_version: str
    feature_names: tuple[str, ...]
    context_names: tuple[str, ...]
    scikit_learn_version: str
    numpy_version: str
    sha256: str
    training: dict[str, Any]
    metrics: dict[str, Any]


def read_manifest(directory: Path) -> Manifest:
    """The manifest alone, for those who need the names of the features and not the model.

    Raises:
        ArtifactMissingError: there is none.
        ManifestInvalidError: it is no manifest of a known format.
    """
    path = directory / MANIFEST_FILE
    try:
        manifest = msgspec.json.decode(read_file(path), type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ManifestInvalidError(f"{path} is not a manifest of Neighborwatch: {error}.") from error
    if manifest.format_version not in _READABLE_VERSIONS:
        raise ManifestInvalidError(
            f"{path} has format version {manifest.format_version}; this Neighborwatch reads "
            f"{' and '.join(map(str, _READABLE_VERSIONS))}.",
        )
    names = manifest.feature_names
    if not names or len(set(names)) != len(names) or RESERVED_NAMES & set(names):
        raise ManifestInvalidError(f"{path} names no features, one of them twice, or one with a reserved name.")
    if not set(manifest.context_names) <= set(names):
        raise ManifestInvalidError(f"{path} names a context feature that is none of its features.")
    return manifest


def read_file(path: Path) -> bytes:
    """The content of a file of an artifact.

    Raises:
        ArtifactMissingError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArtifactMissingError(
            f"The artifact's file {path} cannot be read ({error.strerror}); train a model with `python -m app train`, "
            "or point the artifact setting at a directory that has one.",
        ) from error
