"""Where an artifact comes from: a directory of this machine, or a model registry.

Shared by the service, the bridge and the commands of training. What comes from a registry is put into a directory that
is fresh and nobody else's, verified like any other, and deleted as soon as it is loaded.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.registry import ADDRESS_VARIABLE, SCHEME, Registry, RegistryError, parse_reference
from app.scoring.errors import ArtifactError
from app.scoring.manifest import Manifest, read_manifest

if TYPE_CHECKING:
    from app.scoring.artifact import Artifact


@dataclass(frozen=True)
class ArtifactFiles:
    """The files of an artifact, not yet verified.

    Attributes:
        directory: where they are.
        registered_as: the version that an alias pointed to, such as models:/neighborwatch/3; None: not of a registry.
    """

    directory: Path
    registered_as: str | None = None

    def __str__(self) -> str:
        return self.registered_as or str(self.directory)

    def manifest(self) -> Manifest:
        """See `read_manifest`."""
        return read_manifest(self.directory)

    def load(self, pinned_sha256: str | None = None) -> "Artifact":
        """See `load_artifact`."""
        from app.scoring.artifact import load_artifact  # noqa: PLC0415 - many need the names alone, and at once

        return load_artifact(self.directory, pinned_sha256)

    def discard(self) -> None:
        """Delete them if they are a copy; what was loaded needs them no more."""
        if self.registered_as is not None:
            shutil.rmtree(self.directory, ignore_errors=True)


@contextmanager
def artifact_files(source: Path) -> Iterator[ArtifactFiles]:
    """The files of an artifact, for as long as they are needed.

    Args:
        source: a directory; or models:/name@alias or models:/name/3, in the registry at MLFLOW_TRACKING_URI. A path in
            both cases, as settings and arguments have it.

    Raises:
        RegistryError: the registry cannot be used, or has no such artifact.
    """
    if not str(source).startswith(SCHEME):
        yield ArtifactFiles(source)
        return
    address = os.environ.get(ADDRESS_VARIABLE)
    if not address:
        raise RegistryError(
            f"{source} is in a model registry, whose address is not known; set the environment variable "
            f"{ADDRESS_VARIABLE}.",
        )
    reference = parse_reference(str(source))
    registry = Registry(address)
    version = registry.find(reference)
    # Its maker's alone, so that nobody changes a file between its arrival and its verification.
    fresh = Path(tempfile.mkdtemp(prefix="neighborwatch-"))
    try:
        files = ArtifactFiles(
            registry.download(reference.model, version, fresh), f"{SCHEME}{reference.model}/{version}"
        )
        with _named(files):
            yield files
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


@contextmanager
def _named(files: ArtifactFiles) -> Iterator[None]:
    """Name the version in what is said of its files: their directory means nothing to anybody."""
    try:
        yield
    except ArtifactError as error:
        raise type(error)(str(error).replace(str(files.directory), str(files))) from error
