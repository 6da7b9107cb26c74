"""`python -m bridge` as a user types it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bridge.__main__ import run_command
from bridge.settings import Settings

COMMANDS = ("run", "produce", "alerts", "dead-letters", "report", "prove", "rescore", "doctor", "demo")


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)  # away from somebody's .env
    for name in Settings.model_fields:
        monkeypatch.delenv(f"BRIDGE_{name.upper()}", raising=False)


def _bridge(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ) | settings
    command = [sys.executable, "-m", "bridge", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


def test_help_names_every_command() -> None:
    done = _bridge("--help")

    assert done.returncode == 0
    assert [command for command in COMMANDS if command not in done.stdout] == []


def test_a_broken_world_is_one_sentence_and_exit_code_1(artifact: Path) -> None:
    done = _bridge("produce", "nothing.csv", BRIDGE_ARTIFACT=str(artifact))

    assert done.returncode == 1
    assert done.stderr.startswith("nothing.csv cannot be read")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run_command([command, "--help"])

    assert ended.value.code == 0
    assert f"usage: python -m bridge {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "line",
    [
        "",
        "nothing",
        "produce",
        "produce x.csv --rate 0",
        "produce x.csv --limit -1",
        "dead-letters",
        "dead-letters replay --yes --dry-run",
        "demo --limit -1",
        "demo --rate nan",
    ],
)
def test_wrong_usage_is_exit_code_2(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run_command(line.split())

    assert ended.value.code == 2
    assert "usage: python -m bridge" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("HTTP_PORT", "many", "BRIDGE_HTTP_PORT: Input should be a valid integer"),
        ("ALERTS_TOPIC", "transactions", "the BRIDGE_…_TOPIC settings name transactions twice"),
        ("SECURITY_PROTOCOL", "SASL_SSL", "BRIDGE_SECURITY_PROTOCOL with SASL needs"),
    ],
)
def test_a_wrong_setting_is_one_sentence(
    name: str, value: str, sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(f"BRIDGE_{name}", value)

    assert run_command(["run"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(sentence)
