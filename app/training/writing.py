"""Files and artifacts that are there whole or not at all."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.scoring.manifest import MANIFEST_FILE
from app.training.errors import TrainingError


def write_whole(path: Path, content: bytes) -> None:
    """Write beside the file and then put it in its place.

    Raises:
        TrainingError: it cannot be written.
    """
    unfinished = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(content)
        unfinished.replace(path)
    except OSError as error:
        raise TrainingError(f"{path} cannot be written ({error.strerror}); choose another place.") from error


@contextmanager
def whole_directory(directory: Path) -> Iterator[Path]:
    """A directory to write an artifact into, which takes its place at the end, or not at all when writing fails.

    A directory that was not there appears in one step. In one that was, files are replaced one by one, the manifest
    last: an artifact that is interrupted between two of them is refused at loading by its digest.

    Raises:
        TrainingError: it cannot be written.
    """
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    except OSError as error:
        raise TrainingError(f"{directory} cannot be written ({error.strerror}); choose another place.") from error
    try:
        unfinished.chmod(0o755)  # a temporary directory is its maker's alone
        yield unfinished
        if directory.exists():
            for path in sorted(unfinished.iterdir(), key=lambda path: path.name == MANIFEST_FILE):
                path.replace(directory / path.name)
        else:
            unfinished.rename(directory)
    except OSError as error:
        raise TrainingError(f"{directory} cannot be written ({error.strerror}); choose another place.") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
