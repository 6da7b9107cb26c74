"""`python -m app`: what it explains, and how it ends."""

import subprocess
import sys
from pathlib import Path

import pytest

from app.__main__ import run_command

_COMMANDS = ("serve", "train", "synthesize")


def _ends_with(arguments: list[str]) -> int | str | None:
    with pytest.raises(SystemExit) as ended:
        run_command(arguments)
    return ended.value.code


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert _ends_with(["--help"]) == 0

    text = capsys.readouterr().out
    assert all(command in text for command in _COMMANDS)


@pytest.mark.parametrize("command", _COMMANDS)
def test_each_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _ends_with([command, "--help"]) == 0
    assert f"python -m app {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [[], ["fly"], ["train"], ["train", "x.csv", "--neighbors", "0"], ["synthesize"], ["serve", "--port", "1"]],
    ids=" ".join,
)
def test_wrong_usage_exits_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert _ends_with(arguments) == 2
    assert "usage: python -m app" in capsys.readouterr().err


def test_data_that_cannot_be_used_is_one_sentence_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "transactions.csv"
    file.write_text("Time,Amount\n1,2\n")

    assert run_command(["train", str(file)]) == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert sentence.startswith(f"{file} has no column Class")


def test_what_is_synthesized_can_be_trained_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "transactions.csv"
    synthesized = run_command(["synthesize", "--rows", "2000", "--fraud-rate", "0.05", "--output", str(file)])
    trained = run_command(["train", str(file), "--output", str(tmp_path / "artifact")])

    assert (synthesized, trained) == (0, 0)
    assert (tmp_path / "artifact" / "manifest.json").is_file()
    assert "average precision" in capsys.readouterr().out


def _without(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process that has no such module."""
    code = f"import sys; sys.modules['{module}'] = None; from app.__main__ import run_command; sys.exit(run_command())"
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("arguments", [["train", "x.csv"], ["synthesize", "--output", "x.csv"], ["train", "--help"]])
def test_a_missing_extra_is_one_sentence_and_exit_code_1(arguments: list[str]) -> None:
    ended = _without("pandas", *arguments)

    assert ended.returncode == 1
    assert ended.stderr.splitlines() == ["This command needs pandas, which is not installed: run `make install`."]


@pytest.mark.parametrize("arguments", [["--help"], ["serve", "--help"]])
def test_the_service_does_without_the_libraries_of_training(arguments: list[str]) -> None:
    assert _without("pandas", *arguments).returncode == 0


def test_ctrl_c_exits_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("app.main.serve", interrupted)

    assert run_command(["serve"]) == 130
