"""docs/delivery.md says what was measured, and names commands that exist."""

import re

import pytest

import bridge.__main__
from bridge.settings import Settings
from chaos.outcome import DOCUMENT, block, load, quoted
from chaos.scenarios import SCENARIOS

_TEXT = DOCUMENT.read_text(encoding="utf-8")
_COMMANDS = re.findall(r"python -m bridge ([a-z]+)([^`\n#]*)", _TEXT)


def test_the_table_is_what_was_measured() -> None:
    saved = load()

    assert saved.keys() <= SCENARIOS.keys()
    assert quoted(_TEXT) == block([saved[name] for name in SCENARIOS if name in saved]), (
        "run `python -m chaos --document`"
    )


@pytest.mark.parametrize("name", load())
def test_every_result_is_as_it_should_be(name: str) -> None:
    outcome = load()[name]

    assert outcome.is_as_expected
    assert outcome.lost == 0
    assert outcome.claim == SCENARIOS[name].script.claim


def test_every_setting_that_is_named_exists() -> None:
    known = {f"BRIDGE_{name.upper()}" for name in Settings.model_fields}

    assert set(re.findall(r"\bBRIDGE_[A-Z0-9_]+", _TEXT)) <= known


@pytest.mark.parametrize(("command", "flags"), _COMMANDS, ids=str)
def test_every_command_and_flag_that_is_named_exists(
    command: str, flags: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        bridge.__main__.run_command([command, "--help"])

    assert ended.value.code == 0
    assert set(re.findall(r"--[a-z-]+", flags)) <= set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
