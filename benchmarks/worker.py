"""A scoring process of a contestant, asked over its standard input."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.machine import ROOT, clean_environment


class WorkerError(Exception):
    """A contestant's process ended before it answered; the message has its last words."""


class Worker:
    """Starts it and waits until its model is ready; a context manager that ends it."""

    def __init__(self, name: str, python: Path | str, arguments: Sequence[str]) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [str(python), "-m", *arguments],
            cwd=ROOT,
            env=clean_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.facts = self._read()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def microseconds_a_row(self, batch: int, rows: int, save: Path | None = None) -> float:
        """Score so many rows in batches of this size."""
        if self._process.stdin is None:
            raise WorkerError(f"{self.name} has no input.")
        self._process.stdin.write(json.dumps({"batch": batch, "rows": rows, "save": save and str(save)}) + "\n")
        self._process.stdin.flush()
        answer = self._read()
        return float(answer["seconds"]) / int(answer["rows"]) * 1e6

    def _read(self) -> dict[str, Any]:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            _, errors = self._process.communicate()
            raise WorkerError(f"{self.name} ended: {errors.strip().splitlines()[-1:]}")
        facts: dict[str, Any] = json.loads(line)
        return facts
