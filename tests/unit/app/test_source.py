"""Where an artifact comes from: what is said when that cannot be."""

import subprocess
import sys
from pathlib import Path

import pytest

from app.__main__ import run_command
from app.registry import RegistryError
from app.source import artifact_files


@pytest.fixture
def _closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address at which nobody answers."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://somebody:secret@127.0.0.1:1")


def test_a_directory_is_taken_as_it_is(artifact: Path) -> None:
    with artifact_files(artifact) as files:
        assert (files.directory, files.registered_as, str(files)) == (artifact, None, str(artifact))
        files.discard()

    assert (artifact / "manifest.json").is_file()


def test_without_an_address_a_registry_is_not_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    with (
        pytest.raises(RegistryError, match="set the environment variable MLFLOW_TRACKING_URI"),
        artifact_files(Path("models:/neighborwatch/1")),
    ):
        pass


@pytest.mark.usefixtures("_closed")
@pytest.mark.parametrize(
    "source", ["models:/neighborwatch", "models:/neighborwatch/latest", "models:/neighborwatch@", "models:/a/1/b"]
)
def test_what_names_no_version_is_one_sentence(source: str) -> None:
    with pytest.raises(RegistryError, match="names no version in a model registry"), artifact_files(Path(source)):
        pass


@pytest.mark.usefixtures("_closed")
def test_a_server_that_is_not_there_is_one_sentence_without_a_password() -> None:
    with pytest.raises(RegistryError) as caught, artifact_files(Path("models:/neighborwatch@champion")):
        pass

    sentence = str(caught.value)
    assert sentence.startswith("The model registry at http://127.0.0.1:1 cannot be used (no connection)")
    assert "secret" not in sentence


def test_a_missing_extra_is_one_sentence_and_exit_code_1() -> None:
    code = "import sys; sys.modules['mlflow'] = None; from app.__main__ import run_command; sys.exit(run_command())"
    command = [sys.executable, "-c", code, "serve"]
    environment = {"APP_ARTIFACT": "models:/neighborwatch@champion", "MLFLOW_TRACKING_URI": "http://127.0.0.1:1"}

    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)

    assert ended.returncode == 1
    (sentence,) = ended.stderr.splitlines()
    assert sentence.startswith("A model registry needs mlflow, which is not installed: run `pip install")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--mlflow-alias", "champion"], "say which with --mlflow"),
        (["--mlflow", "http://127.0.0.1:1", "--mlflow-model", "a/b"], "is no name"),
    ],
)
def test_a_target_that_cannot_be_is_one_sentence_and_exit_code_2(
    options: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["train", "transactions.csv", *options]) == 2

    (said,) = capsys.readouterr().err.splitlines()
    assert sentence in said
