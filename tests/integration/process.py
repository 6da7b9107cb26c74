"""A real process of Neighborwatch, as a user starts it, with what it says kept in files."""

import asyncio
import os
import re
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from bridge import embedded
from tests.integration.broker import tail

_OURS = ("BRIDGE_", "APP_")


class Process:
    """`python -m ...`, started at once; a context manager that ends it and everything it started."""

    def __init__(self, *arguments: str, environment: Mapping[str, str], directory: Path) -> None:
        """Start it in this directory, with these settings and none from the tester's own environment."""
        directory.mkdir(parents=True, exist_ok=True)
        self.arguments = arguments
        self.output_file = directory / "stdout"
        self.log_file = directory / "stderr"
        with self.output_file.open("wb") as output, self.log_file.open("wb") as errors:
            self._process = embedded.start_tied(
                [sys.executable, "-m", *arguments],
                output.fileno(),
                {**_clean_environment(), **environment},
                errors=errors.fileno(),
                directory=directory,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    @property
    def output(self) -> str:
        """What it wrote to standard output until now."""
        return self.output_file.read_text(encoding="utf-8", errors="replace")

    @property
    def log(self) -> str:
        """What it wrote to standard error until now."""
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, as a user or an orchestrator does."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it at once (SIGKILL), with everything that it started."""
        embedded.end_tied(self._process)

    async def wait_for_log(self, pattern: str, timeout_seconds: float = 60) -> re.Match[str]:
        """The first match in its log; it must still run, or have logged it before it ended."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            was_running = self.is_running
            found = re.search(pattern, self.log)
            if found is not None:
                return found
            if not was_running:
                raise AssertionError(f"{self} ended with {self._process.returncode} before it logged {pattern!r}")
            if time.monotonic() > deadline:
                raise AssertionError(f"{self} did not log {pattern!r} in {timeout_seconds:g} s")
            await asyncio.sleep(0.05)

    async def wait_for_end(self, timeout_seconds: float = 60) -> int:
        """Its exit code; minus the signal's number if a signal ended it."""
        deadline = time.monotonic() + timeout_seconds
        while self.is_running:
            if time.monotonic() > deadline:
                raise AssertionError(f"{self} did not end in {timeout_seconds:g} s")
            await asyncio.sleep(0.05)
        return int(self._process.returncode)

    def report(self) -> str:
        """What it said last, for a test that failed."""
        return f"standard error:\n{tail(self.log_file)}\nstandard output:\n{tail(self.output_file)}"

    def __str__(self) -> str:
        return f"python -m {' '.join(self.arguments)} (process {self.pid})"


def model_of(bridge: Process) -> psutil.Process:
    """The process that holds the bridge's model."""
    children = psutil.Process(bridge.pid).children()
    (model,) = [child for child in children if "bridge.model_process" in child.cmdline()]
    return model


def _clean_environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    return kept | {"PYTHONUNBUFFERED": "1"}
