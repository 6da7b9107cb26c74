"""The table of metrics says what a scrape of both processes shows, and what is counted is what went through."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client import Metric

from tests.artifacts import FRAUD, LEGITIMATE
from tests.integration.broker import Broker
from tests.integration.deployment import Deployment, transaction
from tests.integration.process import Process
from tests.integration.scrape import documented, scrape, shown, value, without_bounds
from tests.integration.topics import Message, Topics

_N_LEGITIMATE = 40
_N_FRAUD = 3


async def _scrape_after_a_stream(deployment: Deployment, process: Process) -> dict[str, Metric]:
    address = (await process.wait_for_log('"http": "([^"]+)"'))[1]
    await deployment.topics.produce(
        deployment.transactions,
        *[transaction(timestamp_received="2026-01-02T03:04:05Z") for _ in range(_N_LEGITIMATE)],
        *[transaction(FRAUD) for _ in range(_N_FRAUD)],
        Message(b"no transaction"),
    )
    while True:  # pytest's timeout ends a count that does not come
        families = scrape(address)
        n_records = value(families, "bridge_records_consumed_total")
        if n_records == _N_LEGITIMATE + _N_FRAUD + 1 and families["bridge_lag_seconds"].samples:
            return families
        await asyncio.sleep(0.1)


@pytest.fixture(scope="module")
def of_the_bridge(
    broker: Broker, artifact: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Metric]]:
    deployment = Deployment(Topics(broker.connection), artifact, is_embedded=not broker.supports_transactions)
    asyncio.run(deployment.create_topics())
    directory = tmp_path_factory.mktemp("bridge")
    with Process("bridge", "run", environment=deployment.environment, directory=directory) as process:
        yield asyncio.run(_scrape_after_a_stream(deployment, process))


@pytest.fixture(scope="module")
def of_the_service(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Metric]]:
    environment = {"APP_ARTIFACT": str(artifact), "APP_PORT": "0"}
    with Process("app", "serve", environment=environment, directory=tmp_path_factory.mktemp("service")) as process:
        address = asyncio.run(process.wait_for_log('"address": "([^"]+)"'))[1]
        httpx.post(f"{address}/score", json=LEGITIMATE).raise_for_status()
        yield scrape(address)


def test_the_table_of_the_bridge_is_what_it_shows(of_the_bridge: dict[str, Metric]) -> None:
    assert sorted(documented("The bridge")) == without_bounds(shown(of_the_bridge))


def test_the_table_of_the_service_is_what_it_shows(of_the_service: dict[str, Metric]) -> None:
    assert sorted(documented("The service")) == without_bounds(shown(of_the_service))


@pytest.mark.parametrize(
    ("sample_name", "count"),
    [
        ("bridge_predictions_published_total", _N_LEGITIMATE + _N_FRAUD),
        ("bridge_answers_found_total", _N_LEGITIMATE + _N_FRAUD),
        ("bridge_alerts_published_total", _N_FRAUD),
        ("bridge_dead_letters_published_total", 1),
        ("bridge_fraud_probability_count", _N_LEGITIMATE + _N_FRAUD),
        ("bridge_fraud_probability_sum", _N_FRAUD),
        ("bridge_latency_seconds_count", _N_LEGITIMATE),
        ("bridge_record_latency_seconds_count", _N_LEGITIMATE + _N_FRAUD + 1),
        ("bridge_poll_records_sum", _N_LEGITIMATE + _N_FRAUD + 1),
        ("bridge_assigned_partitions", 3),
    ],
)
def test_what_went_through_is_counted(sample_name: str, count: float, of_the_bridge: dict[str, Metric]) -> None:
    assert value(of_the_bridge, sample_name) == pytest.approx(count)


@pytest.mark.parametrize("step", ["answer", "decode", "score", "encode", "delivery", "publish", "commit"])
def test_every_poll_has_the_time_of_every_step(step: str, of_the_bridge: dict[str, Metric]) -> None:
    n_polls = value(of_the_bridge, "bridge_poll_records_count")

    assert value(of_the_bridge, f"bridge_{step}_seconds_count") == n_polls
    assert value(of_the_bridge, f"bridge_{step}_seconds_sum") > 0
