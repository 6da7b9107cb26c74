"""A model registry of MLflow: where versions of an artifact are kept, and which one an alias points to.

MLflow's client is in the extra `mlflow` and is imported only when a registry is asked for. It has settings of its own,
environment variables MLFLOW_…: address, user, token, certificates. They are read by the client and nowhere else.
"""

import importlib
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from app.scoring.errors import ArtifactError
from app.scoring.manifest import MANIFEST_FILE

SCHEME = "models:/"
ADDRESS_VARIABLE = "MLFLOW_TRACKING_URI"

_REFERENCE = re.compile(r"models:/+(?P<model>[^/@:]+)(?:/(?P<version>[0-9]+)|@(?P<alias>[^/@:]+))")

# Whoever sets one of these has decided otherwise.
_DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # seconds; MLflow's own 120 and 7 retries would be minutes of silence at start
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",  # nobody else learns that a model was loaded
    "MLFLOW_CONFIGURE_LOGGING": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


class RegistryError(ArtifactError):
    """The registry, or what it has under a name, cannot be used; its message is one sentence, as of every artifact."""


class Reference(NamedTuple):
    """`models:/model@alias` or `models:/model/version`, taken apart; one of the two is empty."""

    model: str
    version: str
    alias: str


class Registry:
    """The registry at an address.

    Raises:
        RegistryError: MLflow's client is not installed, or there is no address. So does every method when the server
            does not answer, refuses, or does not have what it is asked for.
    """

    def __init__(self, address: str) -> None:
        for name, value in _DEFAULTS.items():
            os.environ.setdefault(name, value)
        try:
            self._mlflow: Any = importlib.import_module("mlflow")
            importlib.import_module("mlflow.artifacts")
        except ModuleNotFoundError as error:
            raise RegistryError(
                f"A model registry needs {error.name}, which is not installed: run `pip install "
                "'neighborwatch[mlflow]'`, or `make install` where the sources are.",
            ) from error
        for name in ("mlflow", "urllib3"):
            logging.getLogger(name).setLevel(logging.ERROR)  # what matters is raised, and said in one sentence
        self._address = address
        self._shown = _without_password(address)
        with self.asking():
            self.client: Any = self._mlflow.MlflowClient(tracking_uri=address)

    def find(self, reference: Reference) -> str:
        """The number of the version that a reference points to now."""
        with self.asking(missing=f"has no {_written(reference)}; look at its page for what it has"):
            if reference.version:
                return str(self.client.get_model_version(reference.model, reference.version).version)
            return str(self.client.get_model_version_by_alias(reference.model, reference.alias).version)

    def download(self, model: str, version: str, directory: Path) -> Path:
        """Fetch the files of a version, all or none, to a directory below the given one."""
        with self.asking():
            place = {
                "artifact_uri": self.client.get_model_version_download_uri(model, version),
                "tracking_uri": self._address,
            }
            names = {Path(file.path).name for file in self._mlflow.artifacts.list_artifacts(**place)}
        if MANIFEST_FILE not in names:
            raise RegistryError(
                f"{SCHEME}{model}/{version} is no artifact of Neighborwatch, it has no {MANIFEST_FILE}; register one "
                "with `python -m app train … --mlflow`, or name another version.",
            )
        with self.asking():
            return Path(self._mlflow.artifacts.download_artifacts(**place, dst_path=str(directory)))

    @contextmanager
    def asking(self, missing: str = "does not have what it was asked for") -> Iterator[None]:
        """Turn what MLflow's client raises into one sentence."""
        try:
            yield
        except Exception as error:
            # Besides MlflowException these are errors of a dozen libraries: of storage, of HTTP, of a database.
            code = getattr(error, "error_code", "")
            if code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE") and "not found" in str(error):
                raise RegistryError(f"The model registry at {self._shown} {missing}.") from error
            raise RegistryError(
                f"The model registry at {self._shown} cannot be used ({_reason(error)}); see that it runs, and that "
                f"{ADDRESS_VARIABLE} or --mlflow is its address.",
            ) from error


def parse_reference(source: str) -> Reference:
    """Take a reference apart.

    Raises:
        RegistryError: it is none.
    """
    found = _REFERENCE.fullmatch(source)
    if found is None:
        raise RegistryError(
            f"{source} names no version in a model registry; write {SCHEME}name@alias, or {SCHEME}name/3.",
        )
    return Reference(found["model"], found["version"] or "", found["alias"] or "")


def _written(reference: Reference) -> str:
    return f"{SCHEME}{reference.model}" + (f"@{reference.alias}" if reference.alias else f"/{reference.version}")


def _without_password(address: str) -> str:
    parts = urlsplit(address)
    return address.replace(f"{parts.netloc.rpartition('@')[0]}@", "", 1) if "@" in parts.netloc else address


def _reason(error: BaseException) -> str:
    """Why, in a few words: the names of what lies deepest, because MLflow's own messages are paragraphs."""
    kinds = {kind.__name__ for one in _chain(error) for kind in type(one).__mro__}
    if "NewConnectionError" in kinds:  # refused, or no such host; urllib3 derives it from its timeouts
        return "no connection"
    if kinds & {"Timeout", "TimeoutError"}:
        return "no answer in time"
    if "ConnectionError" in kinds:
        return "no connection"
    status = getattr(getattr(error, "response", None), "status_code", None)
    words = getattr(error, "error_code", None) or type(error).__name__
    return f"status {status}" if status else str(words).lower().replace("_", " ")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
