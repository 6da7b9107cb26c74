"""The peers' own virtual environments, made on demand from their pinned requirements."""

import hashlib
import subprocess
import sys
import venv
from pathlib import Path

from benchmarks.machine import ROOT

PEERS = ROOT / "benchmarks" / "peers"


class PeerMissingError(Exception):
    """A peer's environment cannot be made here; the message says why."""


def python_of(peer: str) -> Path:
    """The interpreter of a peer's environment, which is made or made again when its requirements changed.

    Raises:
        PeerMissingError: its packages cannot be installed.
    """
    directory = PEERS / peer / ".venv"
    requirements = PEERS / peer / "requirements.txt"
    python = directory / "bin" / "python"
    stamp = directory / f"installed-{hashlib.sha256(requirements.read_bytes()).hexdigest()[:16]}"
    if not stamp.exists():
        print(f"Making the environment of {peer}: about a minute", file=sys.stderr)
        venv.create(directory, with_pip=True, clear=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        done = subprocess.run(
            [*install, "--requirement", str(requirements)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise PeerMissingError(f"{peer} cannot be installed: {done.stderr.strip().splitlines()[-1]}")
        stamp.touch()
    return python


def versions_of(peer: str, *packages: str) -> dict[str, str]:
    """The versions that a peer's requirements pin."""
    lines = (PEERS / peer / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==", 1) for line in lines if "==" in line)
    return {package: pinned[package] for package in packages}
