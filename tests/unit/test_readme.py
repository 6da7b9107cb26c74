"""What the documents say is so: settings, commands, figures and the requests that a reader pastes."""

import asyncio
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic_settings import BaseSettings

import app.__main__
import app.settings
import bridge.__main__
import bridge.settings
from app.scoring.manifest import read_manifest
from bridge.codec import Reason
from tests.integration.process import Process

_ROOT = Path(__file__).parents[2]
_README = (_ROOT / "README.md").read_text(encoding="utf-8")
_EXAMPLE = (_ROOT / ".env.example").read_text(encoding="utf-8")
_DOCUMENTS = {name: (_ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "CONTRIBUTING.md")}
_MODELS = (_ROOT / "docs" / "models.md").read_text(encoding="utf-8")
_SHIPPED_ARTIFACT = _ROOT / "model_artifacts" / "default"
_SETTINGS: dict[str, type[BaseSettings]] = {"APP": app.settings.Settings, "BRIDGE": bridge.settings.Settings}
_RUN: dict[str, Callable[[list[str]], int]] = {
    "app": app.__main__.run_command,
    "bridge": bridge.__main__.run_command,
}


@dataclass(frozen=True)
class _Setting:
    """A setting as the documents have it; default is empty where there is none."""

    name: str
    default: str
    description: str


def _settings(prefix: str) -> list[_Setting]:
    return [
        _Setting(f"{prefix}_{name.upper()}", _default_text(field.default), field.description or "")
        for name, field in _SETTINGS[prefix].model_fields.items()
    ]


def _default_text(default: object) -> str:
    if isinstance(default, bool):
        return str(default).lower()
    return "" if default is None else str(default)


def _blocks(language: str, text: str = _README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("prefix", ["APP", "BRIDGE"])
def test_the_table_has_every_setting_as_the_code_has_it(prefix: str) -> None:
    rows = [line for line in _README.splitlines() if line.startswith(f"| `{prefix}_")]

    assert rows == [
        f"| `{setting.name}` | {f'`{setting.default}`' if setting.default else 'empty'} | {setting.description} |"
        for setting in _settings(prefix)
    ]


def test_the_example_has_every_setting_as_the_code_has_it() -> None:
    found = re.findall(r"^# (.+)\n#((?:APP|BRIDGE)_[A-Z0-9_]+)=(.*)$", _EXAMPLE, flags=re.MULTILINE)

    assert [_Setting(name, default, description) for description, name, default in found] == [
        *_settings("APP"),
        *_settings("BRIDGE"),
    ]


@pytest.mark.parametrize("prefix", ["APP", "BRIDGE"])
def test_the_example_with_every_line_switched_on_means_the_defaults(
    prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = _SETTINGS[prefix]
    for setting in _settings(prefix):
        monkeypatch.delenv(setting.name, raising=False)
    monkeypatch.chdir(tmp_path)
    defaults = settings()
    (tmp_path / ".env").write_text(re.sub(r"^#([A-Z])", r"\1", _EXAMPLE, flags=re.MULTILINE))

    assert settings() == defaults


@pytest.mark.parametrize("document", _DOCUMENTS)
def test_every_setting_that_is_named_exists(document: str) -> None:
    known = {setting.name for prefix in _SETTINGS for setting in _settings(prefix)}

    assert set(re.findall(r"\b(?:APP|BRIDGE)_[A-Z0-9_]+", _DOCUMENTS[document])) <= known


def test_the_settings_of_a_secured_broker_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = _blocks("dotenv")
    for setting in _settings("BRIDGE"):
        monkeypatch.delenv(setting.name, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text(block)

    taken = bridge.settings.Settings()

    assert [f"BRIDGE_{name.upper()}" for name in taken.model_dump(exclude_unset=True)] == sorted(
        (line.partition("=")[0] for line in block.splitlines()), key=[s.name for s in _settings("BRIDGE")].index
    )


@pytest.mark.parametrize("document", _DOCUMENTS)
def test_every_target_of_make_that_is_named_exists(document: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):.*##", (_ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", _DOCUMENTS[document], flags=re.MULTILINE))

    assert {"demo", "test"} & named
    assert named <= targets


def _commands(text: str) -> list[tuple[str, str, list[str]]]:
    """Every `python -m app …` and `python -m bridge …` of a document: package, command and flags."""
    whole_lines = text.replace("\\\n", " ")
    found = re.findall(r"python -m (app|bridge) ([a-z-]+)([^`\n#]*)", whole_lines)
    return [(package, command, re.findall(r"--[a-z-]+", rest)) for package, command, rest in found]


@pytest.mark.parametrize(("package", "command", "flags"), _commands(_README) + _commands(_MODELS), ids=str)
def test_every_command_and_flag_that_is_named_exists(
    package: str, command: str, flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        _RUN[package]([command, "--help"])

    assert ended.value.code == 0
    words = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    assert set(flags) <= words


def test_every_reason_of_a_dead_letter_is_named() -> None:
    (sentence,) = re.findall(r"The reasons: (.*?)\.\n\n", _README, flags=re.DOTALL)

    assert re.findall(r"`([a-z0-9_]+)`", sentence) == [reason.value for reason in Reason]


@pytest.mark.parametrize("document", _DOCUMENTS)
def test_every_link_leads_somewhere(document: str) -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", _DOCUMENTS[document]) if "://" not in link]

    assert [link for link in links if not (_ROOT / link).is_file()] == []


def test_the_figures_of_the_shipped_model_are_its_manifests() -> None:
    manifest = read_manifest(_SHIPPED_ARTIFACT)
    training, metrics = manifest.training, manifest.metrics
    sentences = " ".join(_README.split())

    assert f"was trained on {training['train_rows']:,} synthetic transactions" in sentences
    assert f"On the {training['test_rows']:,} later ones of the sample" in sentences
    assert f"average precision is {metrics['average_precision']:.2f}," in sentences
    assert metrics["false_positives"] == 1
    caught, frauds = metrics["true_positives"], training["test_frauds"]
    assert f"with {caught} of {frauds} frauds caught and 1 false alert" in sentences
    assert f"{caught} caught, {frauds - caught} missed, 1 false" in sentences


def test_training_on_the_sample_works_as_it_stands_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (line,) = [
        line for block in _blocks("bash") for line in block.replace("\\\n", " ").splitlines() if " train " in line
    ]
    monkeypatch.chdir(_ROOT)
    arguments = [str(tmp_path) if word == "model_artifacts/mine" else word for word in shlex.split(line)[3:]]

    assert app.__main__.run_command(arguments) == 0
    assert "average precision" in capsys.readouterr().out
    assert read_manifest(tmp_path).training["test_frauds"] == 16
    assert "Sixteen frauds in the later part" in _README


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the service answers, with the shipped artifact and no settings but a free port."""
    environment = {"APP_ARTIFACT": str(_SHIPPED_ARTIFACT), "APP_PORT": "0"}
    with Process("app", "serve", environment=environment, directory=tmp_path_factory.mktemp("service")) as service:
        yield asyncio.run(service.wait_for_log('"address": "([^"]+)"'))[1]


def _pasted(block: str, address: str) -> str:
    assert "http://127.0.0.1:8000" in block
    return block.replace("http://127.0.0.1:8000", address)


def _answer_in_readme() -> dict[str, Any]:
    (block,) = _blocks("json")
    answer: dict[str, Any] = json.loads(block)
    return answer


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not on this machine")
def test_the_curl_line_gives_the_answer_that_stands_there(address: str) -> None:
    (block,) = [block for block in _blocks("bash") if block.startswith("curl")]

    ended = subprocess.run(["bash", "-c", _pasted(block, address)], capture_output=True, text=True, check=True)

    assert json.loads(ended.stdout) == _answer_in_readme()


def test_the_httpx_lines_give_the_same_answer(address: str) -> None:
    (block,) = _blocks("python")

    ended = subprocess.run([sys.executable, "-c", _pasted(block, address)], capture_output=True, text=True, check=True)

    *answers, verdict, voters, fraud = ended.stdout.splitlines()
    one, batch = map(json.loads, answers)
    assert f"{verdict}\n{voters}\n{fraud}" in [block.strip() for block in _blocks("text")]
    assert one == _answer_in_readme()
    assert batch == {"predictions": [_answer_in_readme()] * 2}
