"""`POST /score` under wrk: requests a second beside a model server, and beside routes that do nothing."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec

from benchmarks.environments import PeerMissingError, python_of, versions_of
from benchmarks.figures import Ratio, Recorder, Result
from benchmarks.machine import ROOT, clean_environment, commit, machine, now, versions
from benchmarks.progress import rounds, tell
from benchmarks.workload import Workload, prepare
from bridge.embedded import HOST, end_tied, free_port, start_tied
from tests.integration.broker import tail

OURS, MLSERVER = "Neighborwatch", "MLServer, scikit-learn runtime"
EMPTY, EMPTY_METRICS, EMPTY_LIBRARY = (
    "no-op route",
    "no-op route, the same metrics",
    "no-op route, instrumentator as it comes",
)
NAME, UNIT = "requests", "requests/s"

_CONNECTIONS = 16
_START_SECONDS = 90.0
_BODIES = 2_000


class LoadGeneratorError(Exception):
    """There is no wrk on this machine."""


class ServiceError(Exception):
    """A contestant's server did not start or answered with errors; the message has the end of its log."""


@dataclass(frozen=True)
class Service:
    """A contestant's server: how it is started on a port, where it is asked, and what it is asked with."""

    name: str
    command: list[str]
    settings: Mapping[str, str]
    port: int
    path: str
    bodies: Path
    versions: Mapping[str, str]

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.port}{self.path}"


@dataclass(frozen=True)
class Plan:
    """How often and how long each contestant is asked."""

    rounds: int
    seconds: int
    contestants: tuple[str, ...]


_FULL = Plan(rounds=5, seconds=8, contestants=(OURS, EMPTY_METRICS, EMPTY, EMPTY_LIBRARY, MLSERVER))
_QUICK = Plan(rounds=3, seconds=3, contestants=(OURS, EMPTY_METRICS, MLSERVER))


def run(work: Path, *, is_quick: bool) -> Result:
    plan = _QUICK if is_quick else _FULL
    wrk = shutil.which("wrk")
    if wrk is None:
        raise LoadGeneratorError("The load generator is not installed: apt-get install wrk.")
    tell("rest: preparing the model and the transactions")
    workload = prepare(work)
    recorder = Recorder()
    services = [each for each in _services(workload, work, recorder.notes) if each.name in plan.contestants]
    with contextlib.ExitStack() as stack:
        for service in services:
            tell(f"rest: starting {service.name}")
            stack.enter_context(serving(service))
        for _ in rounds(plan.rounds, "rest"):
            for service in services:
                answer = _load(wrk, service, plan.seconds)
                speed = answer["requests"] / answer["microseconds"] * 1e6
                tell(f"    {service.name}: {speed:,.0f} {UNIT}")
                recorder.add(NAME, service.name, speed, UNIT)
                recorder.add("p50", service.name, answer["p50_us"] / 1e3, "ms")
                recorder.add("p99", service.name, answer["p99_us"] / 1e3, "ms")
    shown = subprocess.run([wrk, "-v"], capture_output=True, text=True, check=False).stdout.split("\n", 1)[0]
    return Result(
        benchmark="rest",
        made_at=now(),
        commit=commit(),
        is_quick=is_quick,
        machine=machine() | {"load_generator": shown.partition(" Copyright")[0], "connections": _CONNECTIONS},
        data_set=workload.data_set,
        contestants={service.name: dict(service.versions) for service in services},
        figures=recorder.figures(),
        ratios=_ratios(recorder),
        notes=recorder.notes,
    )


def ours(workload: Workload, work: Path) -> Service:
    """The service of this project, and the transactions that it is asked for."""
    bodies = work / "bodies.jsonl"
    bodies.write_bytes(b"\n".join(workload.bodies(_BODIES)) + b"\n")
    port = free_port()
    settings = {"APP_ARTIFACT": str(workload.artifact), "APP_PORT": str(port), "APP_LOG_LEVEL": "warning"}
    own = versions("fastapi", "uvicorn", "httptools", "uvloop", "pydantic")
    return Service(OURS, [sys.executable, "-m", "app", "serve"], settings, port, "/score", bodies, own)


def _services(workload: Workload, work: Path, notes: list[str]) -> Iterator[Service]:
    service = ours(workload, work)
    yield service
    bodies, own = service.bodies, service.versions
    names = json.dumps(list(workload.feature_names))
    for name, metrics in ((EMPTY_METRICS, "ours"), (EMPTY, "none"), (EMPTY_LIBRARY, "library")):
        port = free_port()
        command = [sys.executable, "-m", "benchmarks.peers.no_operation", str(port), metrics, names]
        yield Service(name, command, {}, port, "/score", bodies, own)
    try:
        yield _mlserver(workload, work)
    except PeerMissingError as error:
        notes.append(f"Not measured: {error}")


def _mlserver(workload: Workload, work: Path) -> Service:
    python, port = python_of("mlserver"), free_port()
    directory = work / "mlserver"
    directory.mkdir(exist_ok=True)
    model = directory / "model.joblib"
    fit = [str(python), "-m", "benchmarks.peers.model", str(workload.arrays), str(model)]
    subprocess.run(fit, cwd=ROOT, env=clean_environment(), check=True)
    settings = {
        "host": HOST,
        "http_port": port,
        "grpc_port": free_port(),
        "metrics_port": free_port(),
        "metrics_dir": str(directory / "metrics"),
        "debug": False,
    }
    (directory / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    description = {
        "name": "fraud",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": "./model.joblib", "version": "1"},
    }
    (directory / "model-settings.json").write_text(json.dumps(description), encoding="utf-8")
    bodies = work / "bodies-mlserver.jsonl"
    rows = workload.later.features[:_BODIES].tolist()
    bodies.write_bytes(b"\n".join(msgspec.json.encode(_inference(row)) for row in rows) + b"\n")
    command = [str(python.with_name("mlserver")), "start", str(directory)]
    pinned = versions_of("mlserver", "mlserver", "mlserver-sklearn", "scikit-learn", "numpy")
    return Service(MLSERVER, command, {}, port, "/v2/models/fraud/infer", bodies, pinned)


def _inference(row: list[float]) -> dict[str, Any]:
    """A request of the Open Inference Protocol for the probabilities of one transaction."""
    return {
        "inputs": [{"name": "features", "shape": [1, len(row)], "datatype": "FP64", "data": row}],
        "outputs": [{"name": "predict_proba"}],
    }


@contextlib.contextmanager
def serving(service: Service) -> Iterator[subprocess.Popen[bytes]]:
    """While the context lasts, its server, which answers.

    Raises:
        ServiceError: it does not.
    """
    log = service.bodies.with_name(f"{service.port}.log")
    with log.open("wb") as output:
        process = start_tied(service.command, output.fileno(), clean_environment(**service.settings), directory=ROOT)
    try:
        body = service.bodies.read_bytes().split(b"\n", 1)[0]
        deadline = time.monotonic() + _START_SECONDS
        while not _answers(service, body):
            if process.poll() is not None or time.monotonic() > deadline:
                raise ServiceError(f"{service.name} does not answer: {tail(log, 5)}")
            time.sleep(0.2)
        yield process
    finally:
        end_tied(process, 5)


def _answers(service: Service, body: bytes) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        headers = {"Content-Type": "application/json"}
        return httpx.post(service.address, content=body, headers=headers, timeout=30).is_success
    return False


def _load(wrk: str, service: Service, seconds: int) -> dict[str, float]:
    options = ["-t1", f"-c{_CONNECTIONS}", "--timeout", "30s", "--script", str(ROOT / "benchmarks" / "post.lua")]
    environment = {**os.environ, "BODIES": str(service.bodies)}
    answer: dict[str, float] = {}
    for duration in (1, seconds):  # the first second is not measured
        command = [wrk, *options, f"-d{duration}s", service.address]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        answer = json.loads(done.stdout.strip().splitlines()[-1])
    if answer["errors"]:
        raise ServiceError(f"{service.name} gave {answer['errors']:,.0f} errors.")
    return answer


def _ratios(recorder: Recorder) -> list[Ratio]:
    goals = (
        ("`POST /score`, times MLServer with the same model", MLSERVER, 15, 25),
        ("`POST /score`, of a route that does nothing", EMPTY_METRICS, 0.7, 0.85),
    )
    return [
        Ratio(
            name=name,
            spread=recorder.ratio((NAME, OURS), (NAME, under)),
            must=must,
            aim=aim,
            better="more",
            compared=f"{OURS} / {under}, {UNIT}",
        )
        for name, under, must, aim in goals
        if recorder.has((NAME, OURS), (NAME, under))
    ]
