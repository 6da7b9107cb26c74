"""The processes of the demo: each is started as a user starts it, logs to a file, and ends with the demo."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from bridge.embedded import end_tied, start_tied
from bridge.errors import BridgeError

_READY_SECONDS = 90.0
_GRACE_SECONDS = 15.0


class ProcessError(BridgeError):
    """A process ended too early or never became ready; its message names its log."""


class Processes:
    """Real processes, `python -m …`, with a log file each."""

    def __init__(self, environment: Mapping[str, str], directory: Path) -> None:
        self._environment = environment
        self._directory = directory
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *arguments: str) -> None:
        with self.log_file(name).open("wb") as log:
            command = [sys.executable, "-m", *arguments]
            self._running[name] = start_tied(command, log.fileno(), {**os.environ, **self._environment})

    def log_file(self, name: str) -> Path:
        return self._directory / f"{name}.log"

    def has_ended(self, name: str) -> bool:
        """Whether the process is done.

        Raises:
            ProcessError: it ended with an error.
        """
        exit_code = self._running[name].poll()
        if exit_code:
            raise ProcessError(f"{name} ended with exit code {exit_code}{self._last_words(name)}")
        return exit_code is not None

    async def wait_until_ready(self, name: str, address: str) -> None:
        """Wait for status 200 at the process's readiness address.

        Raises:
            ProcessError: it ended, or was not ready in time.
        """
        deadline = time.monotonic() + _READY_SECONDS
        async with httpx.AsyncClient(timeout=5) as client:
            while time.monotonic() < deadline:
                if self.has_ended(name):
                    break
                with contextlib.suppress(httpx.HTTPError):
                    if (await client.get(f"{address}/health/ready")).is_success:
                        return
                await asyncio.sleep(0.1)
        raise ProcessError(f"{name} did not become ready{self._last_words(name)}")

    def end_all(self) -> None:
        """Ask every process to stop, the first started last, and end those that do not."""
        for process in reversed(self._running.values()):
            end_tied(process, _GRACE_SECONDS)

    def _last_words(self, name: str) -> str:
        lines = self.log_file(name).read_text(errors="replace").strip().splitlines()
        return f": {lines[-1]} (all of it: {self.log_file(name)})" if lines else "."


class LogTail:
    """The facts that a process adds to its log, which is one JSON object a line."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._position = 0

    def new_facts(self) -> Iterator[dict[str, Any]]:
        with self._file.open("rb") as log:
            log.seek(self._position)
            for line in log:
                if not line.endswith(b"\n"):
                    return  # it is being written
                self._position += len(line)
                with contextlib.suppress(ValueError):
                    fact = json.loads(line)
                    if isinstance(fact, dict):
                        yield fact
