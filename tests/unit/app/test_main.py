"""The service as a real process."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.artifacts import LEGITIMATE


@contextmanager
def _service(directory: Path, **settings: str) -> Iterator[subprocess.Popen[str]]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("APP_")} | settings
    command = [sys.executable, "-m", "app", "serve"]
    with subprocess.Popen(command, env=environment, cwd=directory, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def _address(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    for line in process.stderr:
        found = re.search('"address": "([^"]+)"', line)
        if found:
            return found[1]
    raise AssertionError("the service did not start")


def _wait_until_ready(address: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{address}/health/ready").is_success:
                return
        except httpx.HTTPError:
            time.sleep(0.05)
    raise AssertionError("the service did not become ready")


def test_it_scores_over_http_and_exits_0_at_sigterm(artifact: Path, tmp_path: Path) -> None:
    with _service(tmp_path, APP_ARTIFACT=str(artifact), APP_PORT="0") as process:
        address = _address(process)
        _wait_until_ready(address)

        assert httpx.post(f"{address}/score", json=LEGITIMATE).json()["is_fraud"] is False

        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def _refused(process: subprocess.Popen[str]) -> str:
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    (sentence,) = [line for line in errors.splitlines() if not line.startswith("{")]
    return sentence


def test_a_missing_artifact_is_one_sentence(tmp_path: Path) -> None:
    with _service(tmp_path, APP_ARTIFACT=str(tmp_path)) as process:
        assert "cannot be read" in _refused(process)


def test_a_changed_artifact_is_one_sentence(artifact: Path, tmp_path: Path) -> None:
    shutil.copytree(artifact, tmp_path / "changed")
    (tmp_path / "changed" / "model.joblib").write_bytes(b"something else")
    with _service(tmp_path, APP_ARTIFACT=str(tmp_path / "changed"), APP_PORT="0") as process:
        assert "is not the file that its manifest describes" in _refused(process)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"scikit_learn_version": "1.2.0"}, "was made by scikit-learn 1.2.0"),
        ({"feature_names": ["V1", "V2", "V3", "V4"], "context_names": []}, "was trained on other features"),
        ({"format_version": 1_000}, "has format version 1000"),
    ],
    ids=["scikit-learn", "features", "format"],
)
def test_an_artifact_that_does_not_fit_is_one_sentence(
    artifact: Path, tmp_path: Path, changes: dict[str, object], sentence: str
) -> None:
    manifest = Path(shutil.copytree(artifact, tmp_path / "other")) / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | changes))
    with _service(tmp_path, APP_ARTIFACT=str(tmp_path / "other"), APP_PORT="0") as process:
        assert sentence in _refused(process)


def test_another_artifact_than_the_pinned_one_is_one_sentence(artifact: Path, tmp_path: Path) -> None:
    with _service(tmp_path, APP_ARTIFACT=str(artifact), APP_ARTIFACT_SHA256="0" * 64, APP_PORT="0") as process:
        assert "but the settings demand 000000000000" in _refused(process)


def test_a_taken_port_is_one_sentence(artifact: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with _service(tmp_path, APP_ARTIFACT=str(artifact), APP_PORT=port) as process:
            assert f"The port 127.0.0.1:{port} cannot be used" in _refused(process)


def test_a_wrong_setting_is_one_sentence(tmp_path: Path) -> None:
    with _service(tmp_path, APP_THRESHOLD="2") as process:
        assert _refused(process).startswith("APP_THRESHOLD: ")
