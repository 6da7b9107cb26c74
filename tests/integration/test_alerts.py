"""The alert consumer as a real process, with a real webhook."""

import asyncio
import json
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiokafka import ConsumerRecord
from prometheus_client import Metric

from tests.integration.broker import Broker
from tests.integration.deployment import Deployment
from tests.integration.process import Process
from tests.integration.scrape import documented, scrape, shown, value, without_bounds
from tests.integration.topics import Message, Topics
from tests.integration.webhook import Webhook, webhook

_KEY = b"card-4711"
_REFUSED, _UNAVAILABLE = ("refused", "unavailable")


def _alert(transaction_id: str) -> Message:
    neighbors = [
        {"reference_id": 401, "distance": 0.25, "is_fraud": True},
        {"reference_id": 12, "distance": 1.5, "is_fraud": False},
    ]
    value = {
        "transaction_id": transaction_id,
        "fraud_probability": 0.875,
        "is_fraud": True,
        "threshold": 0.8,
        "model_version": "v1",
        "Time": 10.0,
        "Amount": 500.0,
        "timestamp_received": "2026-01-02T03:04:05Z",
        "scored_at": "2026-01-02T03:04:06Z",
        "source": {"topic": "transactions", "partition": 0, "offset": 17},
        "severity": "high",
        "evidence": {"neighbors": neighbors},
        "card_id": "card-4711",
    }
    return Message(json.dumps(value).encode(), _KEY, [("traceparent", b"00-abc")])


_ALERTS = {name: _alert(name) for name in ("accepted", "late", _REFUSED, _UNAVAILABLE, "last")}
_NO_ALERT = Message(b"[1, 2]", _KEY)


@dataclass(frozen=True)
class Outcome:
    """What became of the alerts."""

    facts: list[dict[str, Any]]
    log: str
    webhook: Webhook
    dead_letters: list[ConsumerRecord]
    n_committed: int
    metrics: dict[str, Metric]

    def dead_letter_of(self, message: Message) -> ConsumerRecord:
        (letter,) = [letter for letter in self.dead_letters if letter.value == message.value]
        return letter


def _deployment(broker: Broker, artifact: Path) -> Deployment:
    return Deployment(Topics(broker.connection), artifact, is_embedded=not broker.supports_transactions)


async def _n_committed(deployment: Deployment) -> int:
    committed = await deployment.topics.committed(deployment.alerts_group, deployment.alerts)
    return sum(offset or 0 for offset in committed.values())


async def _until(is_so: Callable[[], bool]) -> None:
    while not is_so():  # noqa: ASYNC110 - the webhook lives in another thread; pytest's timeout ends a vain wait
        await asyncio.sleep(0.02)


@pytest.fixture(scope="module")
def outcome(broker: Broker, artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    """One stream of alerts, one for each way a webhook can answer; the tests look at what became of them."""
    with webhook() as receiver:
        receiver.statuses = {"late": [500, 200], _REFUSED: [400], _UNAVAILABLE: [503]}
        directory = tmp_path_factory.mktemp("alerts")
        yield asyncio.run(_take_everything(_deployment(broker, artifact), receiver, directory))


async def _take_everything(deployment: Deployment, receiver: Webhook, directory: Path) -> Outcome:
    topics = deployment.topics
    await deployment.create_topics()
    await topics.produce(deployment.alerts, _NO_ALERT, *_ALERTS.values())
    settings = {
        "BRIDGE_WEBHOOK_URL": receiver.url,
        "BRIDGE_WEBHOOK_AUTHORIZATION": "Bearer hunter2",
        "BRIDGE_WEBHOOK_ATTEMPTS": "2",
    }
    with Process("bridge", "alerts", environment=deployment.environment | settings, directory=directory) as process:
        metrics = await _scrape_in_the_end((await process.wait_for_log('"http": "([^"]+)"'))[1])
        process.send(signal.SIGTERM)
        assert await process.wait_for_end() == 0
        facts = [json.loads(line) for line in process.log.splitlines()]
    return Outcome(
        [fact for fact in facts if fact["event"] == "fraud alert"],
        process.log,
        receiver,
        await topics.read(deployment.alerts_dead_letters),
        await _n_committed(deployment),
        metrics,
    )


async def _scrape_in_the_end(address: str) -> dict[str, Metric]:
    while True:  # pytest's timeout ends a count that does not come
        families = scrape(address)
        lags = [sample.value for sample in families["alerts_lag_records"].samples]
        if value(families, "alerts_seen_total") == len(_ALERTS) + 1 and lags and not any(lags):
            return families
        await asyncio.sleep(0.1)


def test_an_alert_is_one_line_with_what_an_analyst_needs(outcome: Outcome) -> None:
    (fact,) = [fact for fact in outcome.facts if fact["transaction_id"] == "accepted"]

    assert {
        "level": "warning",
        "fraud_probability": 0.875,
        "severity": "high",
        "model_version": "v1",
        "Time": 10.0,
        "Amount": 500.0,
        "timestamp_received": "2026-01-02T03:04:05Z",
        "frauds_among_neighbors": "1 of 2",
        "nearest_distance": 0.25,
    }.items() <= fact.items()
    assert fact["source"].rpartition(" ")[0].endswith("]")


def test_every_alert_is_logged_once(outcome: Outcome) -> None:
    assert [fact["transaction_id"] for fact in outcome.facts] == list(_ALERTS)


def test_neither_cards_nor_secrets_are_logged(outcome: Outcome) -> None:
    assert "card-4711" not in outcome.log
    assert "hunter2" not in outcome.log


def test_the_webhook_gets_the_alert_as_it_is(outcome: Outcome) -> None:
    (post,) = outcome.webhook.posts_of("accepted")

    assert post.body == _ALERTS["accepted"].value
    assert post.headers["Content-Type"] == "application/json"
    assert post.headers["Authorization"] == "Bearer hunter2"


def test_a_webhook_that_fails_is_asked_again_with_the_same_key(outcome: Outcome) -> None:
    first, second = outcome.webhook.posts_of("late")

    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]
    assert first.body == second.body


def test_alerts_have_keys_of_their_own(outcome: Outcome) -> None:
    keys = {name: outcome.webhook.posts_of(name)[0].headers["Idempotency-Key"] for name in _ALERTS}

    assert len(set(keys.values())) == len(_ALERTS)


def test_an_alert_that_was_taken_is_no_dead_letter(outcome: Outcome) -> None:
    values = [letter.value for letter in outcome.dead_letters]

    assert [name for name in ("accepted", "late", "last") if _ALERTS[name].value in values] == []


@pytest.mark.parametrize(
    ("message", "n_posts", "reason", "explanation"),
    [
        (_ALERTS[_REFUSED], 1, b"webhook_refused", b"The webhook refused the alert: status 400."),
        (_ALERTS[_UNAVAILABLE], 2, b"webhook_unavailable", b"The webhook did not take the alert: status 503."),
        (_NO_ALERT, 0, b"not_an_alert", b"The record is not an alert."),
    ],
    ids=[_REFUSED, _UNAVAILABLE, "no alert"],
)
def test_what_is_not_taken_is_a_dead_letter(
    message: Message, n_posts: int, reason: bytes, explanation: bytes, outcome: Outcome
) -> None:
    letter = outcome.dead_letter_of(message)
    headers = dict(letter.headers)

    assert len([post for post in outcome.webhook.posts if post.body == message.value]) == n_posts
    assert (letter.key, list(letter.headers)[: len(message.headers)]) == (message.key, list(message.headers))
    assert (headers["neighborwatch-reason"], headers["neighborwatch-message"]) == (reason, explanation)
    assert {"neighborwatch-source", "neighborwatch-time", "neighborwatch-version"} <= headers.keys()


def test_every_alert_is_committed_in_the_end(outcome: Outcome) -> None:
    assert outcome.n_committed == len(_ALERTS) + 1


def test_the_table_of_the_alert_consumer_is_what_it_shows(outcome: Outcome) -> None:
    assert sorted(documented("The alert consumer")) == without_bounds(shown(outcome.metrics))


@pytest.mark.parametrize(
    ("sample_name", "count"),
    [
        ("alerts_seen_total", 6),
        ("alerts_notified_total", 3),
        ("alerts_failed_total", 3),
        ("alerts_attempts_failed_total", 4),
        ("alerts_notify_seconds_count", 5),
        ("alerts_latency_seconds_count", 6),
    ],
)
def test_what_became_of_the_alerts_is_counted(sample_name: str, count: int, outcome: Outcome) -> None:
    assert value(outcome.metrics, sample_name) == count


async def test_an_alert_is_committed_only_after_the_webhook_said_yes(
    broker: Broker, artifact: Path, tmp_path: Path
) -> None:
    deployment = _deployment(broker, artifact)
    await deployment.create_topics()
    await deployment.topics.produce(deployment.alerts, _ALERTS["accepted"])
    settings = deployment.environment | {"BRIDGE_WEBHOOK_TIMEOUT_SECONDS": "20", "BRIDGE_SESSION_TIMEOUT_MS": "6000"}
    with webhook() as receiver:
        settings["BRIDGE_WEBHOOK_URL"] = receiver.url
        receiver.may_answer.clear()
        with Process("bridge", "alerts", environment=settings, directory=tmp_path / "first") as process:
            await _until(lambda: len(receiver.posts) == 1)
            process.send(signal.SIGINT)
            await asyncio.sleep(0.2)
            assert process.is_running  # the request is in hand
            process.send(signal.SIGINT)
            assert await process.wait_for_end() == 130
        assert await _n_committed(deployment) == 0

        with Process("bridge", "alerts", environment=settings, directory=tmp_path / "second") as process:
            await _until(lambda: len(receiver.posts) == 2)
            process.kill()
        assert await _n_committed(deployment) == 0

        receiver.may_answer.set()
        with Process("bridge", "alerts", environment=settings, directory=tmp_path / "third") as process:
            await _until(lambda: len(receiver.posts) == 3)
            process.send(signal.SIGTERM)
            assert await process.wait_for_end() == 0
        assert await _n_committed(deployment) == 1
    assert len({post.headers["Idempotency-Key"] for post in receiver.posts}) == 1


async def test_a_webhook_that_is_down_turns_it_red_and_holds_no_stop_up(
    broker: Broker, artifact: Path, tmp_path: Path
) -> None:
    deployment = _deployment(broker, artifact)
    await deployment.create_topics()
    await deployment.topics.produce(deployment.alerts, _ALERTS["accepted"])
    with webhook() as receiver:
        receiver.statuses = {"accepted": [503]}
        settings = deployment.environment | {"BRIDGE_WEBHOOK_URL": receiver.url, "BRIDGE_WEBHOOK_ATTEMPTS": "10"}
        with Process("bridge", "alerts", environment=settings, directory=tmp_path) as process:
            await _until(lambda: len(receiver.posts) == 2)
            address = (await process.wait_for_log('"http": "([^"]+)"'))[1]
            async with httpx.AsyncClient() as client:
                ready = await client.get(f"{address}/health/ready")
            await _until(lambda: bool(scrape(address)["alerts_lag_records"].samples))
            (lag,) = [sample.value for sample in scrape(address)["alerts_lag_records"].samples if sample.value]
            process.send(signal.SIGTERM)
            assert await process.wait_for_end() == 0

    assert (ready.status_code, ready.json()["reason"]) == (503, "the webhook does not take alerts: status 503")
    assert lag == 1
    assert len(receiver.posts) < 10
    assert await _n_committed(deployment) == 0
    assert await deployment.topics.read(deployment.alerts_dead_letters) == []
