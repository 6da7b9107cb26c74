from pathlib import Path

import pytest
from pydantic import ValidationError

from bridge.settings import Settings


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)  # away from somebody's .env
    for name in Settings.model_fields:
        monkeypatch.delenv(f"BRIDGE_{name.upper()}", raising=False)


def test_every_setting_has_a_default_and_a_description() -> None:
    Settings()

    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_a_setting_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIDGE_GROUP_ID", "mine")

    assert Settings().group_id == "mine"


def test_a_setting_comes_from_a_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("BRIDGE_GROUP_ID=mine\nAPP_PORT=8000\nOTHER=1\n", encoding="utf-8")

    assert Settings().group_id == "mine"


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_an_empty_setting_is_the_default(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"BRIDGE_{name.upper()}", "")

    assert getattr(Settings(), name) == Settings.model_fields[name].get_default()


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().group_id = "another"  # type: ignore[misc] # that is the point


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("threshold", "0"),
        ("threshold", "1.1"),
        ("threshold", "nan"),
        ("http_port", "65536"),
        ("topic_partitions", "0"),
        ("transactions_topic", "not a topic"),
        ("security_protocol", "TLS"),
        ("webhook_url", "ftp://example.org"),
        ("artifact_sha256", "abc"),
        ("broker_timeout_seconds", "0"),
    ],
)
def test_a_wrong_value_is_refused(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"BRIDGE_{name.upper()}", value)

    with pytest.raises(ValidationError) as caught:
        Settings()
    assert {problem["loc"][0] for problem in caught.value.errors()} == {name}


@pytest.mark.parametrize(
    "name", ["predictions_topic", "alerts_topic", "dead_letter_topic", "processed_topic", "alerts_dead_letter_topic"]
)
def test_no_topic_has_two_uses(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"BRIDGE_{name.upper()}", "transactions")

    with pytest.raises(ValidationError, match="name transactions twice"):
        Settings()


def test_a_topic_that_is_off_is_no_output(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().output_topics == ("fraud_predictions", "fraud_alerts", "transactions_dead_letter")

    monkeypatch.setenv("BRIDGE_PROCESSED_TOPIC", "processed_transactions")
    assert Settings().output_topics[-1] == "processed_transactions"


def test_sasl_needs_a_user_and_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIDGE_SECURITY_PROTOCOL", "SASL_SSL")
    monkeypatch.setenv("BRIDGE_SASL_USERNAME", "me")

    with pytest.raises(ValidationError, match="needs BRIDGE_SASL_USERNAME and BRIDGE_SASL_PASSWORD"):
        Settings()


def test_oauth_needs_to_know_where_tokens_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "SASL_USERNAME": "me",
        "SASL_PASSWORD": "secret",
        "SASL_MECHANISM": "OAUTHBEARER",
    }.items():
        monkeypatch.setenv(f"BRIDGE_{name}", value)

    with pytest.raises(ValidationError, match="needs BRIDGE_SASL_OAUTH_TOKEN_URL"):
        Settings()


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SASL_PASSWORD", "WEBHOOK_AUTHORIZATION", "SSL_KEY_PASSWORD"):
        monkeypatch.setenv(f"BRIDGE_{name}", "hunter2")

    assert "hunter2" not in repr(Settings())
