"""docker-compose.yml as a user brings it up, beside whatever else runs: a project and ports of its own."""

import json
import os
import shlex
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[2]
_PROJECT = "neighborwatch-test"
_BUILD_SECONDS = 1200.0
_START_SECONDS = 600.0
_COMMAND_SECONDS = 300.0
_ATTEMPT_PAUSE_SECONDS = 2.0
_PORTS = (
    "NEIGHBORWATCH_KAFKA_PORT",
    "NEIGHBORWATCH_APP_PORT",
    "NEIGHBORWATCH_PROMETHEUS_PORT",
    "NEIGHBORWATCH_GRAFANA_PORT",
)


class DeploymentError(Exception):
    """What did not go as it should, in a sentence."""


class Deployment:
    """The compose file's services, in containers of the engine that is there."""

    def __init__(self, engine: str, compose: Sequence[str]) -> None:
        self.engine = engine
        self._compose = [*compose, "-p", _PROJECT]
        self._environment = {
            **os.environ,
            **{name: str(_free_port()) for name in _PORTS},
            "NEIGHBORWATCH_IMAGE": f"{_PROJECT}:latest",
        }

    def answer_over_http(self, path: str, body: Any = None) -> Any:
        """What the scoring service answers at its published port; with a body the request is a POST."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._environment['NEIGHBORWATCH_APP_PORT']}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310 - the same
            return json.load(response)

    def build(self) -> None:
        self._call("build", "bridge", seconds=_BUILD_SECONDS)

    def up(self, *arguments: str) -> None:
        self._call("--profile", "sample", "up", "-d", *arguments, seconds=_START_SECONDS)

    def down(self) -> None:
        """Remove everything of the project, volumes too."""
        # The bridges first: podman-compose forgets those that a scaled service has more than its file says.
        bridges = self.containers("bridge", "-a")
        if bridges:
            self._engine("rm", "-f", *bridges)
        self._call("--profile", "sample", "--profile", "command", "down", "-v", seconds=_COMMAND_SECONDS)

    def run(self, *arguments: str) -> "subprocess.Popen[str]":
        """One command in a container of its own, started and not waited for."""
        return subprocess.Popen(
            [*self._compose, "--profile", "command", "run", "--rm", "--no-deps", "-T", "command", *arguments],
            cwd=_ROOT,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def answer(self, *arguments: str) -> Any:
        """What a command that ends with JSON on standard output says, whatever its exit code."""
        process = self.run(*arguments)
        output, errors = process.communicate(timeout=_COMMAND_SECONDS)
        _, brace, rest = output.partition("{")  # some engines say a few words of their own before
        try:
            return json.loads(brace + rest)
        except ValueError as error:
            raise DeploymentError(f"{' '.join(arguments)} gave no JSON: {_tail(output + errors)}") from error

    def containers(self, service: str, *options: str) -> list[str]:
        """The running ones, by name; with `-a` the others too."""
        return self._engine(
            "ps",
            *options,
            *("--filter", f"label=com.docker.compose.project={_PROJECT}"),
            *("--filter", f"label=com.docker.compose.service={service}"),
            *("--format", "{{.Names}}"),
        ).split()

    def kill(self, container: str) -> None:
        """End it at once; the engine does not start again what was killed so."""
        self._engine("kill", "--signal", "KILL", container)

    def logs(self, container: str) -> str:
        ended = subprocess.run(
            [self.engine, "logs", container], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        return ended.stdout

    def python(self, container: str, program: str) -> str:
        """What a Python program prints in the container."""
        return self._engine("exec", container, "python", "-c", program)

    def has_program(self, container: str, program: str) -> bool:
        command = [self.engine, "exec", container, "sh", "-c", f"command -v {program}"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def _engine(self, *arguments: str) -> str:
        return _finished([self.engine, *arguments], None, _COMMAND_SECONDS)

    def _call(self, *arguments: str, seconds: float) -> None:
        _finished([*self._compose, *arguments], self._environment, seconds)


def find_deployment() -> Deployment:
    """With the engine of this machine, or the one that NEIGHBORWATCH_COMPOSE names.

    Raises:
        DeploymentError: there is none.
    """
    named = shlex.split(os.environ.get("NEIGHBORWATCH_COMPOSE", ""))
    for engine, compose in ((Path(named[0]).name.partition("-")[0], named),) if named else _KNOWN:
        if shutil.which(engine) and shutil.which(compose[0]) and _works([*compose, "version"]):
            return Deployment(engine, compose)
    raise DeploymentError(
        "This machine has neither Docker with compose nor podman with podman-compose; install one, or set "
        "NEIGHBORWATCH_COMPOSE to the command that brings up a compose file."
    )


_KNOWN = (("docker", ["docker", "compose"]), ("podman", ["podman-compose"]), ("podman", ["podman", "compose"]))


def wait_until(is_so: Callable[[], bool], what: str, seconds: float) -> None:
    """Ask again and again.

    Raises:
        DeploymentError: it did not become so in time.
    """
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise DeploymentError(f"It was waited for {seconds:g} s, and still not so: {what}.")
        time.sleep(_ATTEMPT_PAUSE_SECONDS)


def _works(command: Sequence[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _finished(command: Sequence[str], environment: dict[str, str] | None, seconds: float) -> str:
    try:
        ended = subprocess.run(
            command, cwd=_ROOT, env=environment, capture_output=True, text=True, check=False, timeout=seconds
        )
    except subprocess.TimeoutExpired as error:
        raise DeploymentError(f"{shlex.join(command)} took more than {seconds:g} s.") from error
    if ended.returncode:
        raise DeploymentError(
            f"{shlex.join(command)} ended with {ended.returncode}: {_tail(ended.stdout + ended.stderr)}"
        )
    return ended.stdout


def _tail(text: str) -> str:
    return " | ".join(text.strip().splitlines()[-5:])


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
