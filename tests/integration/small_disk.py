"""A broker whose disk is small, and its own, so that it can be filled without harm to anybody else."""

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from tests.integration.broker import KafkaBroker, NoBrokerError

_CHUNK_BYTES = 2**16
_END_SECONDS = 60.0


def can_be_mounted() -> bool:
    """Whether a small disk can be had here: a container's root often may not mount either."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return False
    with tempfile.TemporaryDirectory(prefix="neighborwatch-disk-") as directory:
        try:
            _run("mount", "-t", "tmpfs", "-o", "size=1m", "neighborwatch", directory)
        except NoBrokerError:
            return False
        _run("umount", directory)
    return True


class SmallDiskBroker(KafkaBroker):
    """Apache Kafka with its data in a file system of its own, in memory."""

    def __init__(self, size_mib: int = 64) -> None:
        """Mount it; `close` unmounts it."""
        super().__init__()
        self.data_directory.mkdir()
        _run("mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "neighborwatch", str(self.data_directory))

    def fill(self) -> None:
        """Take what is left of the disk."""
        with self._ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(_CHUNK_BYTES))

    def empty(self) -> None:
        """Give it back."""
        self._ballast.unlink()

    def wait_for_end(self) -> None:
        """Wait until the broker has ended by itself.

        Raises:
            TimeoutError: it goes on.
        """
        deadline = time.monotonic() + _END_SECONDS
        while self._process is not None and self._process.poll() is None:
            if time.monotonic() > deadline:
                raise TimeoutError(f"The broker goes on for {_END_SECONDS:g} s with its disk full.")
            time.sleep(0.05)
        self.kill()

    def close(self) -> None:
        """End it and remove its disk."""
        self.kill()
        _run("umount", "--lazy", str(self.data_directory))
        super().close()

    @property
    def _ballast(self) -> Path:
        return self.data_directory / "ballast"


def _run(*command: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True)
    except subprocess.CalledProcessError as error:
        raise NoBrokerError(f"{command[0]} failed: {error.stderr.decode(errors='replace').strip()}") from error
