import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import app.settings
import bridge.settings

_ROOT = Path(__file__).parents[3]
_DOCKERFILE = (_ROOT / "Dockerfile").read_text(encoding="utf-8")
_COMPOSE = yaml.safe_load((_ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
_SERVICES: dict[str, dict[str, Any]] = _COMPOSE["services"]
_OURS = ("app", "bridge", "alerts", "producer", "command")
_KNOWN_SETTINGS = {
    f"{prefix}_{name.upper()}"
    for prefix, settings in (("APP", app.settings.Settings), ("BRIDGE", bridge.settings.Settings))
    for name in settings.model_fields
}


@pytest.mark.parametrize("name", _OURS)
def test_our_services_run_with_the_least_that_they_need(name: str) -> None:
    service = _SERVICES[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("name", _SERVICES)
def test_every_service_has_limits_and_says_whether_it_is_restarted(name: str) -> None:
    service = _SERVICES[name]

    assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory"}
    assert service["restart"] in ("unless-stopped", "on-failure", "no")
    assert service["logging"]["options"]["max-size"]


@pytest.mark.parametrize("name", sorted(set(_SERVICES) - {"topics"}))
def test_every_service_that_goes_on_says_how_it_is(name: str) -> None:
    assert _SERVICES[name]["healthcheck"].keys() & {"test", "disable"}


def test_ports_are_published_on_this_machine_only() -> None:
    ports = [port for service in _SERVICES.values() for port in service.get("ports", ())]

    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_the_bridge_can_be_scaled() -> None:
    bridge_service = _SERVICES["bridge"]

    assert "container_name" not in bridge_service
    assert "ports" not in bridge_service
    assert 'BRIDGE_GROUP_INSTANCE_ID="$${HOSTNAME:?}"' in " ".join(bridge_service["entrypoint"])


def test_everybody_may_have_the_stream_without_the_rest() -> None:
    optional = {name: service["profiles"] for name, service in _SERVICES.items() if "profiles" in service}

    assert optional == {
        "producer": ["sample"],
        "command": ["command"],
        "prometheus": ["monitoring"],
        "grafana": ["monitoring"],
    }


def test_every_setting_that_is_named_exists() -> None:
    named = set(re.findall(r"\b(?:APP|BRIDGE)_[A-Z0-9_]+", str(_COMPOSE) + _DOCKERFILE))

    assert named <= _KNOWN_SETTINGS


def test_every_variable_of_the_composed_deployment_is_in_the_example_with_its_default() -> None:
    text = (_ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    used = dict(re.findall(r"\$\{(NEIGHBORWATCH_[A-Z_]+):-([^}]*)\}", text))
    example = (_ROOT / ".env.example").read_text(encoding="utf-8")

    assert dict(re.findall(r"^#(NEIGHBORWATCH_[A-Z_]+)=(.*)$", example, flags=re.MULTILINE)) == used


def test_the_topics_that_are_made_are_those_of_the_settings() -> None:
    made = dict(re.findall(r"\$\{(BRIDGE_[A-Z_]+):-([a-z_]*)\}", _SERVICES["topics"]["environment"]["TOPICS"]))

    fields = {f"BRIDGE_{name.upper()}": field for name, field in bridge.settings.Settings.model_fields.items()}
    assert made == {name: fields[name].default for name in made}
    assert {name for name in fields if name.endswith("_TOPIC")} == made.keys()


def test_the_image_runs_as_nobody_in_particular() -> None:
    final_stage = _DOCKERFILE.rpartition("\nFROM ")[2]

    assert "\nUSER 10001:10001\n" in final_stage
    assert "constraints.txt" not in final_stage


def test_only_what_the_image_is_made_of_is_sent_to_the_builder() -> None:
    lines = (_ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    sent = {line.removeprefix("!") for line in lines if line.startswith("!")}
    copied = {
        word
        for words in re.findall(r"^COPY (?!--)(.*) \S+$", _DOCKERFILE, flags=re.MULTILINE)
        for word in words.split()
    }

    assert "*" in lines
    assert sent == {"pyproject.toml", "constraints.txt", "LICENSE", "app", "bridge", *_SAMPLE_AND_MODEL}
    assert {word.partition("/")[0] for word in copied} == {path.partition("/")[0] for path in sent}


_SAMPLE_AND_MODEL = ("data/sample_transactions.csv", "model_artifacts/default")
