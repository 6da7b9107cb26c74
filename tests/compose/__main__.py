"""`make compose-test`: builds the image, brings docker-compose.yml up, streams, scales, kills, and audits.

It needs Docker or podman, and is no part of `make test` because machines that test seldom have one. Where a build has
to be told more, say how: NEIGHBORWATCH_COMPOSE="podman-compose --podman-build-args='--network host'".
"""

import argparse
import csv
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.compose.deployment import Deployment, DeploymentError, find_deployment, wait_until

_SAMPLE = Path(__file__).parents[2] / "data" / "sample_transactions.csv"
_SAMPLE_ROWS = 10_000
_MORE_ROWS = 20_000
_RATE_PER_SECOND = 500
_BRIDGES = 3
_PATIENCE_SECONDS = 300.0
_UID = "10001"

_READY = "from urllib.request import urlopen; print(urlopen('http://127.0.0.1:{port}/health/ready', timeout=4).status)"
_SCRAPE = (
    "from urllib.request import urlopen; print(urlopen('http://127.0.0.1:8001/metrics', timeout=4).read().decode())"
)
_WRITE = """
import os, pathlib
for place in ("/", "/srv/neighborwatch", "/opt/venv", "/tmp"):
    try:
        (pathlib.Path(place) / "written").touch()
        print(place)
    except OSError:
        pass
print(os.getuid())
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.compose", description=__doc__)
    parser.add_argument("--no-build", action="store_true", help="take the image of the last run")
    parser.add_argument("--keep", action="store_true", help="leave the containers running")
    parsed = parser.parse_args()
    try:
        deployment = find_deployment()
        if not parsed.no_build:
            _say(f"Building the image with {deployment.engine} …")
            deployment.build()
    except DeploymentError as error:
        print(error, file=sys.stderr)
        return 1
    try:
        _play(deployment)
    except (DeploymentError, subprocess.TimeoutExpired) as error:
        _say(f"FAILED: {error}")
        _last_words(deployment)
        return 1
    finally:
        if not parsed.keep:
            deployment.down()
    _say("Everything is as it should be.")
    return 0


def _play(deployment: Deployment) -> None:
    deployment.up("kafka", "topics", "app", "bridge", "alerts")
    _wait_until_ready(deployment, "bridge", 8001)
    _wait_until_ready(deployment, "app", 8000)
    _wait_until_ready(deployment, "alerts", 8002)
    _say("Up: the service, the bridge and the alert consumer are ready.")
    _check_confinement(deployment)
    _check_service(deployment)

    deployment.up("--no-deps", "producer")
    wait_until(lambda: _consumed(deployment) > 0, "the bridge answers", _PATIENCE_SECONDS)
    _scale(deployment)
    verdict = _audit(deployment, _SAMPLE_ROWS)
    _say(f"The sample is through: {_sums(verdict)}.")

    produce = ("bridge", "produce", "data/sample_transactions.csv")
    more = deployment.run(*produce, "--loop", "--limit", str(_MORE_ROWS), "--rate", str(_RATE_PER_SECOND))
    consumed = _consumed(deployment)
    wait_until(lambda: _consumed(deployment) > consumed + _RATE_PER_SECOND, "more is answered", _PATIENCE_SECONDS)
    victim = _owner(deployment)
    deployment.kill(victim)
    _say(f"{victim}, which owned a partition, is killed while transactions flow.")
    if more.wait(_PATIENCE_SECONDS) != 0:
        raise DeploymentError("The producer failed.")
    verdict = _audit(deployment, _SAMPLE_ROWS + _MORE_ROWS)
    if victim in deployment.containers("bridge"):
        raise DeploymentError(f"{victim} runs, so that nothing was tested.")
    _say(f"Two bridges have finished the work of three: {_sums(verdict)}.")
    _check_alerts(deployment, verdict["alerts"])


def _check_confinement(deployment: Deployment) -> None:
    (bridge,) = deployment.containers("bridge")
    found = deployment.python(bridge, _WRITE).split()
    if found != ["/tmp", _UID]:  # noqa: S108 - the one place where it may write
        raise DeploymentError(f"The bridge could write in, and runs as user: {found}.")
    compilers = [name for name in ("cc", "gcc", "g++", "clang", "make") if deployment.has_program(bridge, name)]
    if compilers:
        raise DeploymentError(f"The image has {', '.join(compilers)}.")
    _say(f"The bridge runs as user {_UID}, can write in /tmp only, and its image has no compiler.")


def _check_service(deployment: Deployment) -> None:
    features = deployment.answer_over_http("/model")["feature_names"]
    with _SAMPLE.open(encoding="utf-8", newline="") as file:
        frauds = [row for row in csv.DictReader(file) if row["Class"] == "1"]
    transactions = [{name: float(fraud[name]) for name in features} for fraud in frauds]
    predictions = deployment.answer_over_http("/score/batch", {"transactions": transactions})["predictions"]
    seen = sum(prediction["is_fraud"] for prediction in predictions)
    if not seen:
        raise DeploymentError(f"The service sees none of the sample's {len(frauds)} frauds.")
    _say(f"The service answers on its published port, and sees {seen} of the sample's {len(frauds)} frauds.")


def _scale(deployment: Deployment) -> None:
    deployment.up("--no-deps", "--no-recreate", "--scale", f"bridge={_BRIDGES}", "bridge")
    wait_until(
        lambda: [_owned(deployment, name) for name in deployment.containers("bridge")] == [1] * _BRIDGES,
        f"{_BRIDGES} bridges own a partition each",
        _PATIENCE_SECONDS,
    )
    _say(f"Scaled to {_BRIDGES} bridges, each with a partition of its own.")


def _audit(deployment: Deployment, count: int) -> Any:
    """The verdict of `prove` when everything is answered."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        verdict = deployment.answer("bridge", "prove", "--rescore", "all", "--json", "-")
        if not verdict["is_proved"]:
            raise DeploymentError(f"Not proved: {json.dumps(verdict)[:2_000]}.")
        if verdict["transactions"] == count and not verdict["waiting"]:
            return verdict
        if verdict["transactions"] > count or time.monotonic() > deadline:
            raise DeploymentError(f"{count:,} transactions should be answered; instead: {_sums(verdict)}.")


def _check_alerts(deployment: Deployment, count: int) -> None:
    (alerts,) = deployment.containers("alerts")
    wait_until(
        lambda: deployment.logs(alerts).count('"event": "fraud alert"') >= count, f"{count} alerts", _PATIENCE_SECONDS
    )
    _say(f"The alert consumer has logged all {count} alerts.")


def _wait_until_ready(deployment: Deployment, service: str, port: int) -> None:
    def is_ready() -> bool:
        names = deployment.containers(service)
        try:
            return bool(names) and all("200" in deployment.python(name, _READY.format(port=port)) for name in names)
        except DeploymentError:  # its port is not open yet, or says no
            return False

    wait_until(is_ready, f"{service} is ready", _PATIENCE_SECONDS)


def _metric(deployment: Deployment, container: str, name: str) -> int:
    try:
        scrape = deployment.python(container, _SCRAPE)
    except DeploymentError:  # it has only just started
        return 0
    return sum(int(float(line.split()[-1])) for line in scrape.splitlines() if line.startswith(f"{name} "))


def _owned(deployment: Deployment, container: str) -> int:
    return _metric(deployment, container, "bridge_assigned_partitions")


def _owner(deployment: Deployment) -> str:
    owner = next((name for name in deployment.containers("bridge") if _owned(deployment, name)), None)
    if owner is None:
        raise DeploymentError("No bridge owns a partition.")
    return owner


def _consumed(deployment: Deployment) -> int:
    bridges = deployment.containers("bridge")
    return sum(_metric(deployment, container, "bridge_records_consumed_total") for container in bridges)


def _sums(verdict: Any) -> str:
    facts = ("transactions", "predictions", "dead_letters", "alerts", "lost", "doubled", "out_of_order", "waiting")
    sums = ", ".join(f"{verdict[fact]:,} {fact.replace('_', ' ')}" for fact in facts)
    return f"{sums}, {verdict['rescored']:,} scored again"


def _last_words(deployment: Deployment) -> None:
    for service in ("kafka", "topics", "bridge", "alerts", "app", "producer"):
        for container in deployment.containers(service):
            for line in deployment.logs(container).splitlines()[-8:]:
                _say(f"  {container}: {line}")


def _say(sentence: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {sentence}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
