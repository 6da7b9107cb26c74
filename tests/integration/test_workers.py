"""The service with several processes: whichever is asked tells the sums, and none takes its counts to the grave."""

import asyncio
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from app.scoring.manifest import read_manifest
from tests.artifacts import FRAUD, LEGITIMATE
from tests.integration.process import Process
from tests.integration.scrape import documented, scrape, shown, value, without_bounds

_N_WORKERS = 2
_N_REQUESTS = 40


class _Service:
    """A supervisor and its workers."""

    def __init__(self, process: Process, directory: Path) -> None:
        self.process = process
        self.address = ""
        self._directory = directory

    @property
    def counts(self) -> Path:
        """Where the workers keep what they count."""
        (directory,) = self._directory.glob("neighborwatch-metrics-*")
        return directory

    @property
    def workers(self) -> set[int]:
        """Those that live and have come to their application."""
        if not list(self._directory.glob("neighborwatch-metrics-*")):
            return set()
        return {int(file.stem.rpartition("_")[2]) for file in self.counts.glob("gauge_live*.db")}

    async def start(self) -> None:
        """Wait until all answer."""
        self.address = (await self.process.wait_for_log('"address": "([^"]+)"'))[1]
        await self.until_it_has(_N_WORKERS)

    async def until_it_has(self, n_workers: int, without: int | None = None) -> None:
        """Wait until this many workers answer; a new one is connected to its supervisor some while before."""
        while len(self.workers - {without}) < n_workers or without in self.workers:  # noqa: ASYNC110 # pytest's timeout
            await asyncio.sleep(0.05)
        async with httpx.AsyncClient() as client:
            while not (await client.get(f"{self.address}/health/ready")).is_success:  # noqa: ASYNC110 # the same
                await asyncio.sleep(0.05)

    async def ask(self, n_requests: int) -> None:
        """On a connection each, so that both workers get some."""
        for number in range(n_requests):
            async with httpx.AsyncClient() as client:
                body = FRAUD if number % 4 == 0 else LEGITIMATE
                (await client.post(f"{self.address}/score", json=body)).raise_for_status()


@contextmanager
def _service(artifact: Path, directory: Path) -> Iterator[_Service]:
    environment = {"APP_ARTIFACT": str(artifact), "APP_PORT": "0", "APP_WORKERS": str(_N_WORKERS)}
    environment["TMPDIR"] = str(directory)
    with Process("app", "serve", environment=environment, directory=directory / "service") as process:
        service = _Service(process, directory)
        asyncio.run(service.start())
        yield service


@pytest.fixture(scope="module")
def service(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Service]:
    """One that goes on; each test counts from where it finds it."""
    with _service(artifact, tmp_path_factory.mktemp("workers")) as running:
        yield running


async def test_a_scrape_has_the_sums_of_all_workers_whichever_answers_it(service: _Service) -> None:
    before = scrape(service.address)

    await service.ask(_N_REQUESTS)

    for name, count in (
        ("http_requests_total", _N_REQUESTS),
        ("http_request_duration_seconds_count", _N_REQUESTS),
        ("app_transactions_scored_total", _N_REQUESTS),
        ("app_transactions_called_fraud_total", _N_REQUESTS / 4),
    ):
        scraped = {value(scrape(service.address), name) - value(before, name) for _ in range(6)}
        assert (name, scraped) == (name, {count})


async def test_the_table_of_the_service_is_what_several_workers_show(service: _Service) -> None:
    await service.ask(1)

    assert without_bounds(shown(scrape(service.address))) == sorted(documented("The service"))


def test_there_is_one_model_and_the_processes_are_added_up(service: _Service, artifact: Path) -> None:
    families = scrape(service.address)

    (info,) = families["app_model_info"].samples
    assert (info.labels, info.value) == ({"model_version": read_manifest(artifact).model_version}, 1)
    of_each = [psutil.Process(pid).memory_info().rss for pid in (service.process.pid, *service.workers)]
    assert value(families, "process_resident_memory_bytes") == pytest.approx(sum(of_each), rel=0.2)


async def test_a_worker_that_is_killed_is_replaced_and_what_it_counted_stays(service: _Service) -> None:
    await service.ask(_N_REQUESTS)
    before = scrape(service.address)
    victim = min(service.workers)

    psutil.Process(victim).kill()
    await service.until_it_has(_N_WORKERS, without=victim)
    await service.ask(_N_REQUESTS)

    after = scrape(service.address)
    for name in ("http_requests_total", "app_score_seconds_count"):
        assert (name, value(after, name) - value(before, name)) == (name, _N_REQUESTS)
    assert value(after, "app_model_info") == 1
    assert value(after, "process_cpu_seconds_total") > value(before, "process_cpu_seconds_total")


def test_nobody_else_sees_what_is_counted(service: _Service) -> None:
    assert stat.S_IMODE(service.counts.stat().st_mode) == stat.S_IRWXU


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_workers_and_counts_end_with_the_supervisor(number: signal.Signals, artifact: Path, tmp_path: Path) -> None:
    with _service(artifact, tmp_path) as service:
        workers = [psutil.Process(pid) for pid in service.workers]

        service.process.send(number)

        _, alive = psutil.wait_procs(workers, 30)
        assert alive == []
        assert asyncio.run(service.process.wait_for_end()) == (0 if number == signal.SIGTERM else -number)
    assert list(tmp_path.glob("neighborwatch-metrics-*")) == []


async def test_an_artifact_that_cannot_be_used_is_one_sentence_of_all_workers(artifact: Path, tmp_path: Path) -> None:
    settings = {"APP_ARTIFACT": str(artifact), "APP_ARTIFACT_SHA256": "0" * 64, "APP_PORT": "0", "APP_WORKERS": "2"}
    with Process("app", "serve", environment=settings, directory=tmp_path) as process:
        assert await process.wait_for_end() == 1

    (sentence,) = [line for line in process.log.splitlines() if not line.startswith("{")]
    assert "but the settings demand 000000000000" in sentence
