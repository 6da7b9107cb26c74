"""Where and of what a result was made."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parent.parent
_WRITTEN = (":!benchmarks/results", ":!chaos/results", ":!docs", ":!README.md")

_TUNING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")  # would choose another kernel than the machine's own


def machine() -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "processor": _processor(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
    }


def busy_percent() -> float:
    """How much of the processors other work takes now; a figure taken on a busy machine says little."""
    return psutil.cpu_percent(2.0)


def commit() -> str:
    """The commit that was measured; with a mark when files differ from it, those that measuring writes aside."""
    described = _git("describe", "--always", "--abbrev=12", "--exclude=*")
    is_changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", *_WRITTEN)
    return f"{described}-dirty" if is_changed else described or "unknown"


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions(*packages: str) -> dict[str, str]:
    return {package: metadata.version(package) for package in packages}


def clean_environment(**settings: str) -> dict[str, str]:
    """The environment of a measured process: nobody's settings but these, and no tuning of the linear algebra."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("APP_", "BRIDGE_", "PYTHON")) and name not in _TUNING
    }
    return kept | settings


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = {line.partition(":")[2].strip() for line in lines if line.startswith("model name")}
    return ", ".join(sorted(names)) or platform.processor()


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()
