"""`train --mlflow`: what was trained, how and how well, on an MLflow server, and the artifact in its model registry."""

import argparse
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.registry import SCHEME, Registry
from app.scoring.manifest import Manifest
from app.training.errors import TrainingError
from app.training.pictures import Picture

_ARTIFACT, _PICTURES = "artifact", "pictures"  # folders of a run
_NAME = re.compile(r"[\w. -]+")
_LONGEST_PARAMETER = 500  # characters, of older servers; newer ones take more


@dataclass(frozen=True)
class Target:
    """Where a model is registered: the address of the server, the model's name, and an alias, if one is wanted."""

    address: str
    model: str
    alias: str | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--mlflow", default=None, metavar="URI", help="log to this MLflow server, and register there")
    parser.add_argument(
        "--mlflow-model", default="neighborwatch", metavar="NAME", help="name in its registry (neighborwatch)"
    )
    parser.add_argument(
        "--mlflow-alias",
        default=None,
        metavar="ALIAS",
        help="point this alias, such as champion, to the new version; without it none moves, because that is a "
        "decision about what is served",
    )


def target_of(arguments: argparse.Namespace) -> Target | None:
    """The target of a command line; None where it names none.

    Raises:
        TrainingError: there is an alias and no server, or a name that cannot be one.
    """
    if arguments.mlflow is None:
        if arguments.mlflow_alias is not None:
            raise TrainingError("--mlflow-alias moves an alias on a server; say which with --mlflow.")
        return None
    for option, name in (("--mlflow-model", arguments.mlflow_model), ("--mlflow-alias", arguments.mlflow_alias)):
        if name is not None and not _NAME.fullmatch(name):
            raise TrainingError(f"{option} {name!r} is no name that {SCHEME} can have; use letters, digits, - and _.")
    return Target(arguments.mlflow, arguments.mlflow_model, arguments.mlflow_alias)


class Tracking:
    """A server that a training is logged to.

    Raises:
        RegistryError: it cannot be used; asked at once, before a training takes its time.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._registry = Registry(target.address)
        self._client = self._registry.client
        with self._registry.asking():
            self._client.search_registered_models(max_results=1)

    def publish(self, files: Sequence[Path], manifest: Manifest, pictures: Sequence[Picture]) -> str:
        """Log a run and register its artifact.

        Args:
            files: of the artifact, and none that merely lie beside them.
            manifest: of the artifact.
            pictures: of its measurement.

        Returns:
            A sentence with what `APP_ARTIFACT` may be now.

        Raises:
            RegistryError: the server refused or did not answer; the run is then marked as failed.
        """
        target, client = self._target, self._client
        with self._registry.asking():
            run = client.create_run(self._experiment(), run_name=manifest.model_version)
            try:
                self._log(run.info.run_id, files, manifest, pictures)
                version = self._register(f"{run.info.artifact_uri}/{_ARTIFACT}", run.info.run_id, manifest)
            except BaseException:
                client.set_terminated(run.info.run_id, status="FAILED")
                raise
            client.set_terminated(run.info.run_id)
            if target.alias is None:
                return f"Registered as {SCHEME}{target.model}/{version}; no alias was moved, see --mlflow-alias."
            client.set_registered_model_alias(target.model, target.alias, version)
        return f"Registered as {SCHEME}{target.model}/{version}, which {SCHEME}{target.model}@{target.alias} is now."

    def _experiment(self) -> str:
        found = self._client.get_experiment_by_name(self._target.model)
        return str(found.experiment_id if found else self._client.create_experiment(self._target.model))

    def _log(self, run_id: str, files: Sequence[Path], manifest: Manifest, pictures: Sequence[Picture]) -> None:
        for name, value in parameters_of(manifest):
            self._client.log_param(run_id, name, value)
        for name, number in metrics_of(manifest.metrics):
            self._client.log_metric(run_id, name, number)
        for file in files:
            self._client.log_artifact(run_id, str(file), _ARTIFACT)
        with tempfile.TemporaryDirectory(prefix="neighborwatch-") as drawn:
            for picture in pictures:
                (Path(drawn) / f"{picture.name}.png").write_bytes(picture.png)
            self._client.log_artifacts(run_id, drawn, _PICTURES)

    def _register(self, source: str, run_id: str, manifest: Manifest) -> str:
        model = self._target.model
        if not self._client.search_registered_models(f"name = '{model}'", max_results=1):
            self._client.create_registered_model(model)
        tags = {"model_version": manifest.model_version, "sha256": manifest.sha256}
        made = self._client.create_model_version(model, source, run_id, tags=tags, await_creation_for=None)
        return str(made.version)


def parameters_of(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """What was chosen, and what it was trained on; a search's table stays in the manifest."""
    yield "model_version", manifest.model_version
    yield "n_features", str(len(manifest.feature_names))
    for name, value in manifest.training.items():
        if isinstance(value, dict):
            yield from ((f"{name}_{key}", str(one)) for key, one in value.items() if not isinstance(one, list | dict))
        else:
            yield name, str(value)[:_LONGEST_PARAMETER]


def metrics_of(metrics: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Every figure by its name, and the ends of its interval as `…_low` and `…_high`."""
    for name, value in metrics.items():
        if name == "intervals":
            for figure, (low, high) in value.items():
                yield f"{prefix}{figure}_low", float(low)
                yield f"{prefix}{figure}_high", float(high)
        elif isinstance(value, dict):
            yield from metrics_of(value, f"{prefix}{name}_")
        elif isinstance(value, int | float):
            yield prefix + name, float(value)
