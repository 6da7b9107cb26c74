"""Where the service's settings come from, and what is refused."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.settings import Settings


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the environment nor a file of whoever runs the tests."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(f"APP_{name.upper()}", raising=False)


def test_it_listens_on_this_machine_only_unless_told_otherwise() -> None:
    assert Settings().host == "127.0.0.1"


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_PORT", "9000")
    monkeypatch.setenv("APP_THRESHOLD", "0.5")

    settings = Settings()

    assert (settings.port, settings.threshold) == (9000, 0.5)


def test_a_file_is_read_and_the_environment_goes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("APP_PORT=9000\nAPP_HOST=0.0.0.0\nBRIDGE_GROUP_ID=another\n")
    monkeypatch.setenv("APP_PORT", "9001")

    settings = Settings()

    assert (settings.port, settings.host) == (9001, "0.0.0.0")  # noqa: S104 - nothing listens


@pytest.mark.parametrize("name", [name.upper() for name in Settings.model_fields])
def test_a_setting_that_is_left_empty_has_its_default(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    defaults = Settings()
    monkeypatch.setenv(f"APP_{name}", "")

    assert Settings() == defaults


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("THRESHOLD", "0"),
        ("THRESHOLD", "1.01"),
        ("THRESHOLD", "nan"),
        ("PORT", "65536"),
        ("PORT", "-1"),
        ("PORT", "http"),
        ("MAX_BODY_BYTES", "0"),
        ("MAX_BATCH", "0"),
        ("LOG_LEVEL", "loud"),
        ("ARTIFACT_SHA256", "abc"),
        ("ARTIFACT_SHA256", "g" * 64),
    ],
)
def test_what_cannot_be_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"APP_{name}", value)

    with pytest.raises(ValidationError) as caught:
        Settings()
    assert [problem["loc"] for problem in caught.value.errors()] == [(name.lower(),)]


@given(st.floats(0, 1, exclude_min=True))
def test_every_threshold_above_0_and_up_to_1_is_taken(threshold: float) -> None:
    assert Settings(threshold=threshold).threshold == threshold


def test_it_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().port = 1  # type: ignore[misc]
