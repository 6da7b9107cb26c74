import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

import app.settings
import bridge.settings

_ROOT = Path(__file__).parents[3]
_BASE = _ROOT / "deploy" / "kubernetes"
_KUSTOMIZATION = yaml.safe_load((_BASE / "kustomization.yaml").read_text(encoding="utf-8"))
_KUBERNETES = "1.37.0"

_OBJECTS: list[dict[str, Any]] = [
    document
    for file in _KUSTOMIZATION["resources"]
    for document in yaml.safe_load_all((_BASE / file).read_text(encoding="utf-8"))
]
_WORKLOADS = [entry for entry in _OBJECTS if entry["kind"] in ("Deployment", "StatefulSet")]


def _name(entry: dict[str, Any]) -> str:
    return f"{entry['kind']} {entry['metadata']['name']}"


def _only(kind: str, name: str) -> dict[str, Any]:
    (found,) = [entry for entry in _OBJECTS if _name(entry) == f"{kind} {name}"]
    return found


def _container(workload: dict[str, Any]) -> dict[str, Any]:
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    assert isinstance(container, dict)
    return container


@pytest.mark.parametrize("entry", [entry for entry in _OBJECTS if entry["kind"] != "ScaledObject"], ids=_name)
def test_it_is_what_the_schema_of_kubernetes_asks_for(entry: dict[str, Any]) -> None:
    reason = "its schemas are not installed; they are in the extra kubernetes"
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason=reason)

    kubernetes_validate.validate(entry, _KUBERNETES, strict=True)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on this machine")
def test_kustomize_puts_everything_together() -> None:
    ended = subprocess.run(["kubectl", "kustomize", _BASE], capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stderr
    made = list(yaml.safe_load_all(ended.stdout))
    assert len(made) == len(_OBJECTS) + 1  # the settings
    assert {entry["metadata"].get("namespace", entry["metadata"]["name"]) for entry in made} == {"neighborwatch"}


@pytest.mark.parametrize("workload", _WORKLOADS, ids=_name)
def test_a_container_runs_with_the_least_that_it_needs(workload: dict[str, Any]) -> None:
    pod, container = workload["spec"]["template"]["spec"], _container(workload)

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"]["memory"]


@pytest.mark.parametrize("name", ["StatefulSet bridge", "Deployment app", "Deployment alerts"])
def test_what_listens_is_asked_for_its_health(name: str) -> None:
    container = _container(_only(*name.split()))

    paths = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
    assert paths == {
        "startup": {"path": "/health/live", "port": "http"},
        "liveness": {"path": "/health/live", "port": "http"},
        "readiness": {"path": "/health/ready", "port": "http"},
    }


def test_a_bridge_has_the_name_of_its_pod_in_the_group() -> None:
    assert _container(_only("StatefulSet", "bridge"))["env"] == [
        {"name": "BRIDGE_GROUP_INSTANCE_ID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    ]


def test_a_bridge_is_given_the_time_to_finish_that_its_settings_allow() -> None:
    grace_seconds = _only("StatefulSet", "bridge")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]

    assert grace_seconds > bridge.settings.Settings.model_fields["broker_timeout_seconds"].default


def test_scaling_asks_for_the_group_and_the_topic_of_the_settings() -> None:
    fields = bridge.settings.Settings.model_fields
    spec = _only("ScaledObject", "bridge")["spec"]
    (trigger,) = spec["triggers"]

    assert spec["scaleTargetRef"] == {"kind": "StatefulSet", "name": "bridge"}
    assert trigger["metadata"]["consumerGroup"] == fields["group_id"].default
    assert trigger["metadata"]["topic"] == fields["transactions_topic"].default
    assert trigger["metadata"]["bootstrapServers"] == _settings()["BRIDGE_BOOTSTRAP_SERVERS"]
    assert spec["maxReplicaCount"] == fields["topic_partitions"].default


def test_every_setting_that_is_given_exists() -> None:
    known = {f"BRIDGE_{name.upper()}" for name in bridge.settings.Settings.model_fields}
    known |= {f"APP_{name.upper()}" for name in app.settings.Settings.model_fields}

    assert _settings().keys() <= known


def _settings() -> dict[str, str]:
    lines = (_BASE / "settings.env").read_text(encoding="utf-8").splitlines()
    return {name: value for name, _, value in (line.partition("=") for line in lines)}
