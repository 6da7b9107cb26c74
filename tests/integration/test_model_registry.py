"""An artifact's way through a real MLflow server: trained, registered, pointed to, served, and refused when changed."""

import asyncio
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.__main__ import run_command
from app.registry import RegistryError
from app.scoring.manifest import read_manifest
from app.source import artifact_files
from tests.integration.broker import Broker
from tests.integration.conftest import StartProcess
from tests.integration.deployment import Deployment
from tests.integration.model_registry import ModelRegistry, model_registry, pairs
from tests.integration.process import Process
from tests.integration.topics import Topics
from tests.unit.app.training.conftest import make_frame

_LEGITIMATE = {"Time": 10.0, "V1": 0.0, "V2": 0.0, "Amount": 20.0}


@pytest.fixture(scope="module")
def csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "transactions.csv"
    make_frame().to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def empty_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelRegistry]:
    with model_registry(tmp_path_factory.mktemp("mlflow")) as running:
        yield running


@pytest.fixture(scope="module")
def trained(empty_registry: ModelRegistry, csv: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Versions 1 and 2 of `neighborwatch`, and version 1 of `guarded`; only the first of them was given an alias."""
    directories = [tmp_path_factory.mktemp("trained") / name for name in ("first", "second", "guarded")]
    for directory, options in zip(
        directories,
        (["--neighbors", "5", "--mlflow-alias", "champion"], ["--neighbors", "7"], ["--mlflow-model", "guarded"]),
        strict=True,
    ):
        where = ["--output", str(directory), "--mlflow", empty_registry.address]
        assert run_command(["train", str(csv), *where, *options]) == 0
    return directories


@pytest.fixture
def registry(empty_registry: ModelRegistry, trained: list[Path], monkeypatch: pytest.MonkeyPatch) -> ModelRegistry:
    """The server with the trained versions, and its address in the environment."""
    assert trained
    monkeypatch.setenv("MLFLOW_TRACKING_URI", empty_registry.address)
    return empty_registry


def test_a_run_has_every_figure_with_the_ends_of_its_interval(registry: ModelRegistry, trained: list[Path]) -> None:
    measured = read_manifest(trained[0]).metrics

    logged = pairs(registry.run_of("neighborwatch", "1")["data"]["metrics"])

    low, high = measured["intervals"]["average_precision"]
    assert logged["average_precision"] == measured["average_precision"]
    assert (logged["average_precision_low"], logged["average_precision_high"]) == (low, high)
    without_duplicates = measured["without_duplicates"]["average_precision"]
    assert logged["without_duplicates_average_precision"] == without_duplicates


def test_a_run_has_what_was_chosen(registry: ModelRegistry) -> None:
    runs = [registry.run_of("neighborwatch", version)["data"] for version in ("1", "2")]

    assert [pairs(run["params"])["neighbors"] for run in runs] == ["5", "7"]


def test_a_run_has_the_artifact_and_the_pictures(registry: ModelRegistry, trained: list[Path]) -> None:
    folder = registry.file("neighborwatch", "1", "manifest.json").parent

    assert sorted(file.name for file in folder.iterdir()) == sorted(file.name for file in trained[0].iterdir())
    assert (folder / "model.joblib").read_bytes() == (trained[0] / "model.joblib").read_bytes()
    assert (folder.parent / "pictures" / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_an_alias_is_moved_only_when_it_was_asked_for(registry: ModelRegistry) -> None:
    versions = [registry.ask("model-versions/get", name="neighborwatch", version=number) for number in ("1", "2")]

    assert [version["model_version"].get("aliases", []) for version in versions] == [["champion"], []]


@pytest.mark.usefixtures("registry")
def test_an_artifact_of_the_registry_is_evaluated_as_its_directory_is(
    trained: list[Path], csv: Path, tmp_path: Path
) -> None:
    for name, artifact in (("there", "models:/neighborwatch/2"), ("here", str(trained[1]))):
        assert run_command(["evaluate", artifact, str(csv), "--json", str(tmp_path / name)]) == 0

    assert (tmp_path / "there").read_bytes() == (tmp_path / "here").read_bytes()


@pytest.mark.usefixtures("registry")
def test_drift_takes_the_baseline_of_the_registry(csv: Path, tmp_path: Path) -> None:
    assert run_command(["drift", "models:/neighborwatch@champion", str(csv), "--json", str(tmp_path / "drift")]) == 0

    assert json.loads((tmp_path / "drift").read_text())["baseline_rows"] == 128


def _service(registry: ModelRegistry, source: str, directory: Path) -> Process:
    (directory / "tmp").mkdir(parents=True)
    settings = {"APP_ARTIFACT": source, "APP_PORT": "0", "TMPDIR": str(directory / "tmp")}
    address = {"MLFLOW_TRACKING_URI": registry.address}
    return Process("app", "serve", environment=settings | address, directory=directory)


async def _model(service: Process) -> dict[str, object]:
    """What a service says of its model, once it scores."""
    address = (await service.wait_for_log('"address": "([^"]+)"'))[1]
    async with httpx.AsyncClient(base_url=address) as client:
        for _ in range(600):
            if (await client.get("/health/ready")).is_success:
                break
            await asyncio.sleep(0.1)
        score = await client.post("/score", json=_LEGITIMATE)
        model: dict[str, object] = (await client.get("/model")).json()
    assert score.json()["model_version"] == model["model_version"]
    return model


async def test_the_service_takes_the_version_that_the_alias_points_to_when_it_starts(
    registry: ModelRegistry, trained: list[Path], tmp_path: Path
) -> None:
    answers = []
    for version in ("1", "2"):
        registry.point("neighborwatch", "moving", version)
        with _service(registry, "models:/neighborwatch@moving", tmp_path / version) as service:
            answers.append(await _model(service))
            copies = [file for file in (tmp_path / version / "tmp").rglob("*") if file.is_file()]
            assert copies == []  # what was loaded is deleted at once

    assert [answer["registered_as"] for answer in answers] == ["models:/neighborwatch/1", "models:/neighborwatch/2"]
    assert [answer["model_version"] for answer in answers] == [
        read_manifest(directory).model_version for directory in trained[:2]
    ]


async def test_a_file_that_was_changed_in_the_store_is_refused(registry: ModelRegistry, tmp_path: Path) -> None:
    model = registry.file("guarded", "1", "model.joblib")
    model.write_bytes(model.read_bytes() + b"more")

    with _service(registry, "models:/guarded/1", tmp_path / "service") as service:
        assert await service.wait_for_end() == 1
        (sentence,) = [line for line in service.log.splitlines() if not line.startswith("{")]

    assert sentence.startswith("models:/guarded/1/model.joblib is not the file that its manifest describes")


async def test_the_bridge_says_which_version_an_alias_was(
    registry: ModelRegistry, broker: Broker, topics: Topics, start_process: StartProcess, trained: list[Path]
) -> None:
    deployment = Deployment(
        topics, Path("models:/neighborwatch@champion"), is_embedded=not broker.supports_transactions
    )
    await deployment.create_topics()

    bridge = start_process("bridge", "run", **deployment.environment, MLFLOW_TRACKING_URI=registry.address)

    (line,) = [
        line
        for line in (await bridge.wait_for_log(r".*bridge runs.*"))[0].splitlines()
        if read_manifest(trained[0]).model_version in line
    ]
    assert "models:/neighborwatch/1" in line


@pytest.mark.parametrize("source", ["models:/neighborwatch@nobody", "models:/nothing@champion", "models:/nothing/1"])
def test_what_the_registry_does_not_have_is_one_sentence(registry: ModelRegistry, source: str) -> None:
    sentence = f"The model registry at {registry.address} has no {source}; look at its page for what it has."

    with pytest.raises(RegistryError, match=f"^{sentence}$"), artifact_files(Path(source)):
        pass


def test_a_model_of_another_kind_is_refused_before_it_is_fetched(registry: ModelRegistry) -> None:
    run = registry.run_of("neighborwatch", "2")["info"]
    with httpx.Client(base_url=f"{registry.address}/api/2.0/mlflow") as client:
        client.post("/registered-models/create", json={"name": "pictures"}).raise_for_status()
        source = {"name": "pictures", "source": f"{run['artifact_uri']}/pictures", "run_id": run["run_id"]}
        client.post("/model-versions/create", json=source).raise_for_status()

    with (
        pytest.raises(RegistryError, match=r"^models:/pictures/1 is no artifact of Neighborwatch, it has no manifest"),
        artifact_files(Path("models:/pictures/1")),
    ):
        pass


def test_a_server_that_keeps_silent_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")

        with pytest.raises(RegistryError, match="no answer in time"), artifact_files(Path("models:/neighborwatch/1")):
            pass


def test_training_asks_the_server_before_it_takes_its_time(
    csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"

    assert run_command(["train", str(csv), "--output", str(tmp_path / "model"), "--mlflow", address]) == 1

    (sentence,) = capsys.readouterr().err.splitlines()
    assert sentence.startswith(f"The model registry at {address} cannot be used (no connection)")
    assert list(tmp_path.iterdir()) == []
