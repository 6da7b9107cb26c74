"""A real MLflow server, with its database and its store of artifacts in files of this machine."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.integration.process import Process

_QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


@dataclass(frozen=True)
class ModelRegistry:
    """Where it answers, and where its artifacts lie."""

    address: str
    store: Path

    def ask(self, path: str, **query: str) -> Any:
        """What its REST interface answers."""
        answer = httpx.get(f"{self.address}/api/2.0/mlflow/{path}", params=query)
        return answer.raise_for_status().json()

    def point(self, model: str, alias: str, version: str) -> None:
        """Let an alias point to a version, as somebody does who has compared them."""
        body = {"name": model, "alias": alias, "version": version}
        httpx.post(f"{self.address}/api/2.0/mlflow/registered-models/alias", json=body).raise_for_status()

    def run_of(self, model: str, version: str) -> Any:
        """The run that a version came of."""
        version_answer = self.ask("model-versions/get", name=model, version=version)
        return self.ask("runs/get", run_id=version_answer["model_version"]["run_id"])["run"]

    def file(self, model: str, version: str, name: str) -> Path:
        """A file of a version, in the store."""
        return self.store / self._run_folder(model, version) / "artifacts" / "artifact" / name

    def _run_folder(self, model: str, version: str) -> str:
        info = self.run_of(model, version)["info"]
        return f"{info['experiment_id']}/{info['run_id']}"


@contextmanager
def model_registry(directory: Path) -> Iterator[ModelRegistry]:
    """Start it, and end it."""
    port = _free_port()
    store = directory / "store"
    arguments = ["--backend-store-uri", f"sqlite:///{directory / 'mlflow.db'}", "--artifacts-destination", str(store)]
    arguments += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    with Process("mlflow", "server", *arguments, environment=_QUIET, directory=directory) as process:
        asyncio.run(process.wait_for_log("Application startup complete"))
        yield ModelRegistry(f"http://127.0.0.1:{port}", store)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def pairs(listed: Any) -> dict[str, Any]:
    """Metrics or parameters of a run by name."""
    return {one["key"]: one["value"] for one in listed}
