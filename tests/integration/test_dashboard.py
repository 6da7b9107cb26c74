"""Every panel of the dashboard and every rule, evaluated by a real Prometheus that scrapes real processes."""

import asyncio
import json
import math
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from bridge.embedded import HOST, end_tied, free_port, start_tied
from tests.artifacts import FRAUD, LEGITIMATE
from tests.integration.broker import Broker
from tests.integration.deployment import Deployment, transaction
from tests.integration.process import Process
from tests.integration.topics import Message, Topics

_DEPLOY = Path(__file__).parents[2] / "deploy"
_DASHBOARD = json.loads((_DEPLOY / "grafana" / "dashboards" / "neighborwatch.json").read_text(encoding="utf-8"))
_QUERIES = [
    (panel["title"], target["expr"].replace("$__rate_interval", "5m"))
    for panel in _DASHBOARD["panels"]
    if panel["type"] != "row"
    for target in panel["targets"]
]
_WAIT_SECONDS = 30.0
_PROMETHEUS = shutil.which("prometheus")

pytestmark = pytest.mark.skipif(_PROMETHEUS is None, reason="Prometheus is not on this machine; Debian has it")


class _Prometheus:
    """Asks it."""

    def __init__(self, address: str) -> None:
        self._address = address

    def values(self, query: str) -> list[float]:
        answer = httpx.get(f"{self._address}/api/v1/query", params={"query": query}).json()
        assert answer["status"] == "success", answer
        return [float(series["value"][1]) for series in answer["data"]["result"]]

    def wait_for(self, query: str) -> list[float]:
        """The numbers that it gives, once it gives some."""
        deadline = time.monotonic() + _WAIT_SECONDS
        while True:
            numbers = [number for number in self.values(query) if not math.isnan(number)]
            if numbers or time.monotonic() > deadline:
                return numbers
            time.sleep(0.2)

    def rules(self) -> list[dict[str, Any]]:
        groups = httpx.get(f"{self._address}/api/v1/rules").json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]


@contextmanager
def _prometheus(targets: dict[str, str], directory: Path) -> Iterator[_Prometheus]:
    """With the rules that are shipped, and the jobs of the configuration that is shipped, every second."""
    port = free_port()
    configuration = yaml.safe_load((_DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    jobs = {job["job_name"] for job in configuration["scrape_configs"]} - {"prometheus"}
    assert jobs == targets.keys()
    configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    configuration["rule_files"] = [str(_DEPLOY / "prometheus" / "rules" / "*.yml")]
    configuration["scrape_configs"] = [
        {"job_name": job, "static_configs": [{"targets": [address.removeprefix("http://")]}]}
        for job, address in targets.items()
    ]
    file = directory / "prometheus.yml"
    file.write_text(yaml.safe_dump(configuration), encoding="utf-8")
    options = (
        f"--config.file={file}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address={HOST}:{port}",
    )
    with (directory / "log").open("wb") as log:
        process = start_tied([str(_PROMETHEUS), *options], log.fileno(), {})
        try:
            _wait_until_ready(process, f"http://{HOST}:{port}")
            yield _Prometheus(f"http://{HOST}:{port}")
        finally:
            end_tied(process, 5)


def _wait_until_ready(process: subprocess.Popen[bytes], address: str) -> None:
    deadline = time.monotonic() + _WAIT_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if httpx.get(f"{address}/-/ready").is_success:
                return
        except httpx.HTTPError:
            time.sleep(0.1)
    raise AssertionError(f"Prometheus did not become ready; exit code {process.poll()}")


@pytest.fixture(scope="module")
def prometheus(broker: Broker, artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Prometheus]:
    """It has seen all processes before and after transactions, frauds, a broken record and requests went through."""
    directory = tmp_path_factory.mktemp("prometheus")
    deployment = Deployment(Topics(broker.connection), artifact, is_embedded=not broker.supports_transactions)
    asyncio.run(deployment.create_topics())
    service_settings = {"APP_ARTIFACT": str(artifact), "APP_PORT": "0"}
    with ExitStack() as stack:
        processes = {
            job: stack.enter_context(Process(*words, environment=settings, directory=directory / job))
            for job, words, settings in (
                ("bridge", ("bridge", "run"), deployment.environment),
                ("alerts", ("bridge", "alerts"), deployment.environment),
                ("app", ("app", "serve"), service_settings),
            )
        }
        targets = {
            job: asyncio.run(process.wait_for_log('"(?:http|address)": "([^"]+)"'))[1]
            for job, process in processes.items()
        }
        running = stack.enter_context(_prometheus(targets, directory))
        running.wait_for("count(up == 1) == 3 and on () (sum(bridge_assigned_partitions) == 3)")
        asyncio.run(_let_some_through(deployment, targets["app"]))
        running.wait_for("sum(bridge_records_consumed_total) == 43 and on () (sum(alerts_seen_total) == 2)")
        yield running


async def _let_some_through(deployment: Deployment, service: str) -> None:
    messages = [transaction(timestamp_received="2026-01-02T03:04:05Z") for _ in range(40)]
    frauds = [transaction(FRAUD) for _ in range(2)]
    await deployment.topics.produce(deployment.transactions, *messages, *frauds, Message(b"no transaction"))
    async with httpx.AsyncClient() as client:
        for body in (LEGITIMATE, FRAUD):
            (await client.post(f"{service}/score", json=body)).raise_for_status()


@pytest.mark.parametrize(
    ("panel", "query"), _QUERIES, ids=[f"{title}-{number}" for number, (title, _) in enumerate(_QUERIES)]
)
def test_no_panel_is_empty(panel: str, query: str, prometheus: _Prometheus) -> None:
    assert prometheus.wait_for(query), f"{panel} has nothing to show: {query}"


def test_every_rule_can_be_evaluated(prometheus: _Prometheus) -> None:
    rules = prometheus.rules()

    assert {rule["health"] for rule in rules} == {"ok"}
    assert len(rules) > 20


def test_no_alert_that_wakes_somebody_fires_while_all_is_well(prometheus: _Prometheus) -> None:
    fires = [rule["name"] for rule in prometheus.rules() if rule.get("state") == "firing"]

    assert [name for name in fires if name.endswith(("Absent", "Down"))] == []
