"""What the integration tests stand on: a broker, topics of their own, and real processes."""

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from tests.integration import broker as brokers
from tests.integration.broker import Broker, LocalBroker, NoBrokerError, SecuredBroker
from tests.integration.process import Process
from tests.integration.topics import Topics

_processes = pytest.StashKey[list[Process]]()


class StartProcess(Protocol):
    """Start `python -m` with these arguments; the settings default to the shared broker's address and nothing else."""

    def __call__(self, *arguments: str, **environment: str) -> Process: ...


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "real_kafka(reason): what the embedded broker cannot do, and why")


def pytest_report_collectionfinish(config: pytest.Config, items: list[pytest.Item]) -> str | None:
    # Not pytest_report_header: pytest asks only the conftest.py files above this directory for that.
    if config.option.collectonly or not any("broker" in fixture for item in items for fixture in _fixtures(item)):
        return None
    try:
        choice = brokers.shared_choice()
    except NoBrokerError as error:
        return f"broker: none. {error}"
    return f"broker: {choice.name}. {choice.reason}"


def pytest_runtest_setup(item: pytest.Item) -> None:
    marker = item.get_closest_marker("real_kafka")
    if marker is None:
        return
    stands_alone = "broker" not in _fixtures(item)
    choice = brokers.own_choice() if stands_alone else brokers.shared_choice()
    if choice.kind == "embedded":
        pytest.skip(f"{marker.kwargs['reason']} ({choice.reason})")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        report.sections.extend((str(process), process.report()) for process in item.stash.get(_processes, []))
    return report


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    """The broker that tests share; nobody stops it."""
    choice = brokers.shared_choice()
    if choice.kind == "given":
        yield Broker(brokers.given_bootstrap())
        return
    with brokers.local_broker(choice) as running:
        yield running


@pytest.fixture
def own_broker() -> Iterator[LocalBroker]:
    """A broker that this test may stop, kill and freeze."""
    with brokers.local_broker(brokers.own_choice()) as running:
        yield running


@pytest.fixture(scope="session")
def secured_broker() -> Iterator[SecuredBroker]:
    """Apache Kafka behind TLS and passwords; tests with it carry the marker real_kafka."""
    with SecuredBroker() as running:
        yield running


@pytest.fixture
def topics(broker: Broker) -> Topics:
    """Topics of this test on the shared broker."""
    return Topics(broker.connection)


@pytest.fixture
def own_topics(own_broker: LocalBroker) -> Topics:
    """Topics on the broker that is this test's own."""
    return Topics(own_broker.connection)


@pytest.fixture
def start_process(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StartProcess]:
    """Real processes, with settings from keyword arguments; what still runs when the test ends is killed."""
    started: list[Process] = request.node.stash.setdefault(_processes, [])

    def start(*arguments: str, **environment: str) -> Process:
        process = Process(*arguments, environment=environment, directory=tmp_path / f"process-{len(started)}")
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()


def _fixtures(item: pytest.Item) -> set[str]:
    return set(getattr(item, "fixturenames", ()))
