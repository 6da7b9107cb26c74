"""The bridge as a real process: what comes out for what goes in, how it starts and how it stops."""

import json
import shutil
import signal
from pathlib import Path

import pytest

from app.scoring.artifact import load_artifact
from app.scoring.scorer import Scorer
from app.scoring.transaction import Transaction
from tests.artifacts import FEATURE_NAMES, FRAUD, LEGITIMATE
from tests.integration.broker import Broker
from tests.integration.conftest import StartProcess
from tests.integration.deployment import READY, Deployment, ids, transaction, values
from tests.integration.process import Process
from tests.integration.topics import Message, Topics


@pytest.fixture
async def deployment(broker: Broker, topics: Topics, artifact: Path) -> Deployment:
    deployment = Deployment(topics, artifact, is_embedded=not broker.supports_transactions)
    await deployment.create_topics()
    return deployment


async def _run(deployment: Deployment, start_process: StartProcess, **settings: str) -> Process:
    process = start_process("bridge", "run", **(deployment.environment | settings))
    await process.wait_for_log(READY)
    return process


async def test_every_transaction_gets_one_prediction_under_its_key_in_order(
    deployment: Deployment, start_process: StartProcess
) -> None:
    messages = [transaction(key=f"card-{number % 17}".encode()) for number in range(1_000)]
    await deployment.topics.produce(deployment.transactions, *messages)

    await _run(deployment, start_process)
    predictions = await deployment.wait_for_answers(1_000)

    transactions = await deployment.topics.read(deployment.transactions)
    assert [(record.partition, record.key) for record in predictions] == [
        (record.partition, record.key) for record in transactions
    ]
    assert ids(predictions) == ids(transactions)


async def test_a_prediction_has_the_fields_of_the_contract(deployment: Deployment, start_process: StartProcess) -> None:
    message = transaction(FRAUD, transaction_id="t-1", timestamp_received="2026-01-02T03:04:05+00:00", card_id="c-1")
    await deployment.topics.produce(deployment.transactions, message)

    await _run(deployment, start_process)
    (prediction,) = values(await deployment.wait_for_answers(1))

    manifest = load_artifact(Path(deployment.environment["BRIDGE_ARTIFACT"])).manifest
    assert prediction.pop("scored_at")
    assert prediction.pop("source").keys() == {"topic", "partition", "offset"}
    assert prediction == {
        "transaction_id": "t-1",
        "fraud_probability": 1.0,
        "is_fraud": True,
        "threshold": 0.8,
        "model_version": manifest.model_version,
        "method": "searched",
        "Time": FRAUD["Time"],
        "Amount": FRAUD["Amount"],
        "timestamp_received": "2026-01-02T03:04:05Z",
        "card_id": "c-1",
    }


async def test_an_alert_is_published_if_and_only_if_the_threshold_is_reached(
    deployment: Deployment, start_process: StartProcess
) -> None:
    between = {"Time": 0.0, "V1": 3.0, "V2": 3.0, "Amount": 250.0}
    mixed = [transaction(fields) for fields in (LEGITIMATE, FRAUD, between, LEGITIMATE, FRAUD) * 20]
    await deployment.topics.produce(deployment.transactions, *mixed)

    await _run(deployment, start_process)
    predictions = values(await deployment.wait_for_answers(100))

    flagged = {value["transaction_id"] for value in predictions if value["fraud_probability"] >= 0.8}
    assert len(flagged) >= 40
    assert set(ids(await deployment.topics.wait_for(deployment.alerts, len(flagged)))) == flagged


async def test_an_alert_shows_the_neighbours_that_decided(deployment: Deployment, start_process: StartProcess) -> None:
    await deployment.topics.produce(deployment.transactions, transaction(FRAUD))

    await _run(deployment, start_process)
    (alert,) = values(await deployment.topics.wait_for(deployment.alerts, 1))

    neighbors = alert["evidence"]["neighbors"]
    assert [neighbor["is_fraud"] for neighbor in neighbors] == [True] * 5
    assert sorted(neighbors, key=lambda neighbor: neighbor["distance"]) == neighbors
    assert all(neighbor["reference_id"] >= 400 for neighbor in neighbors)
    assert alert["severity"] == "critical"


async def test_the_probability_is_the_scorers_own(deployment: Deployment, start_process: StartProcess) -> None:
    fields = {"Time": 5.5, "V1": 2.75, "V2": 3.125, "Amount": 310.01}
    await deployment.topics.produce(deployment.transactions, transaction(fields))

    await _run(deployment, start_process)
    (prediction,) = values(await deployment.wait_for_answers(1))

    scorer = Scorer(load_artifact(Path(deployment.environment["BRIDGE_ARTIFACT"])))
    (expected,) = scorer.score([Transaction("same", tuple(fields[name] for name in FEATURE_NAMES))])
    assert prediction["fraud_probability"] == expected.fraud_probability


async def test_headers_travel_to_the_prediction_the_alert_and_the_dead_letter(
    deployment: Deployment, start_process: StartProcess
) -> None:
    trace = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    headers = [("traceparent", trace), ("tracestate", b"vendor=1"), ("raw", b"\xff")]
    fraud = Message(transaction(FRAUD).value, headers=headers)
    await deployment.topics.produce(deployment.transactions, fraud, Message(b"no transaction", headers=headers))

    await _run(deployment, start_process)
    (prediction,) = await deployment.wait_for_answers(1)
    (alert,) = await deployment.topics.wait_for(deployment.alerts, 1)
    (dead_letter,) = await deployment.topics.wait_for(deployment.dead_letters, 1)

    assert list(prediction.headers) == list(alert.headers) == headers
    assert list(dead_letter.headers[:3]) == headers


async def test_scaled_features_are_published_when_their_topic_is_set(
    deployment: Deployment, start_process: StartProcess
) -> None:
    await deployment.topics.produce(deployment.transactions, transaction(FRAUD, transaction_id="t-1"))

    await _run(deployment, start_process, BRIDGE_PROCESSED_TOPIC=deployment.processed)
    (processed,) = values(await deployment.topics.wait_for(deployment.processed, 1))

    assert processed["transaction_id"] == "t-1"
    assert processed["scaled_features"].keys() == {"V1", "V2", "Amount"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_commits_what_was_answered_and_exits_0(
    deployment: Deployment, start_process: StartProcess, number: signal.Signals
) -> None:
    process = await _run(deployment, start_process)
    await deployment.topics.produce(deployment.transactions, *[transaction() for _ in range(2_000)])
    await deployment.wait_for_answers(1)

    process.send(number)
    assert await process.wait_for_end() == 0

    answered = await deployment.topics.read(deployment.predictions)
    committed = await deployment.topics.committed(deployment.group, deployment.transactions)
    assert sum(offset or 0 for offset in committed.values()) == len(answered)


async def test_a_stopped_bridge_is_replaced_at_once(deployment: Deployment, start_process: StartProcess) -> None:
    first = await _run(deployment, start_process, BRIDGE_SESSION_TIMEOUT_MS="60000")
    first.send(signal.SIGTERM)
    assert await first.wait_for_end() == 0

    # A member that had not left would keep its partitions for the minute of its session.
    second = start_process("bridge", "run", **deployment.environment)
    await second.wait_for_log(READY, timeout_seconds=30)


async def test_a_killed_bridge_loses_nothing(deployment: Deployment, start_process: StartProcess) -> None:
    settings = {"BRIDGE_SESSION_TIMEOUT_MS": "6000", "BRIDGE_MAX_POLL_RECORDS": "50"}
    await deployment.topics.produce(deployment.transactions, *[transaction() for _ in range(3_000)])
    first = await _run(deployment, start_process, **settings)
    await deployment.wait_for_answers(100)
    first.kill()

    await _run(deployment, start_process, **settings)
    await deployment.wait_for_answers(3_000)

    expected = set(ids(await deployment.topics.read(deployment.transactions)))
    answered: set[str] = set()
    while answered != expected:  # pytest's timeout ends a loss
        answered = set(ids(await deployment.topics.read(deployment.predictions)))


async def test_two_bridges_share_a_group_and_lose_nothing(deployment: Deployment, start_process: StartProcess) -> None:
    await _run(deployment, start_process)
    await deployment.topics.produce(deployment.transactions, *[transaction() for _ in range(1_000)])
    await _run(deployment, start_process)
    await deployment.topics.produce(deployment.transactions, *[transaction() for _ in range(1_000)])

    await deployment.wait_for_answers(2_000)

    expected = set(ids(await deployment.topics.read(deployment.transactions)))
    answered: set[str] = set()
    while answered != expected:  # a rebalance may double answers; pytest's timeout ends a loss
        answered = set(ids(await deployment.topics.read(deployment.predictions)))


async def test_missing_topics_end_it_with_a_sentence(
    topics: Topics, artifact: Path, start_process: StartProcess
) -> None:
    deployment = Deployment(topics, artifact)
    process = start_process("bridge", "run", **deployment.environment)

    assert await process.wait_for_end() == 1
    assert "BRIDGE_CREATE_TOPICS=true" in process.log.splitlines()[-1]


async def test_missing_topics_are_made_on_request(
    broker: Broker, topics: Topics, artifact: Path, start_process: StartProcess
) -> None:
    deployment = Deployment(topics, artifact, is_embedded=not broker.supports_transactions)
    await _run(deployment, start_process, BRIDGE_CREATE_TOPICS="true", BRIDGE_TOPIC_PARTITIONS="5")

    assert set(await topics.end_offsets(deployment.predictions)) == {0, 1, 2, 3, 4}


def _missing(directory: Path) -> None:
    (directory / "model.joblib").unlink()


def _changed_by_one_byte(directory: Path) -> None:
    model = bytearray((directory / "model.joblib").read_bytes())
    model[len(model) // 2] ^= 1
    (directory / "model.joblib").write_bytes(model)


def _of_another_version(directory: Path) -> None:
    _edit_manifest(directory, scikit_learn_version="1.2.3")


def _with_other_features(directory: Path) -> None:
    _edit_manifest(directory, feature_names=["Time", "V1", "V3", "Amount"])


def _edit_manifest(directory: Path, **changes: object) -> None:
    path = directory / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (_missing, "cannot be read"),
        (_changed_by_one_byte, "is not the file that its manifest describes"),
        (_of_another_version, "was made by scikit-learn 1.2.3"),
        (_with_other_features, "was trained on other features"),
    ],
)
async def test_a_wrong_artifact_ends_it_with_one_sentence(
    damage: object, sentence: str, artifact: Path, tmp_path: Path, start_process: StartProcess
) -> None:
    wrong = tmp_path / "artifact"
    shutil.copytree(artifact, wrong)
    assert callable(damage)
    damage(wrong)

    process = start_process("bridge", "run", BRIDGE_ARTIFACT=str(wrong))

    assert await process.wait_for_end() == 1
    assert sentence in process.log
    assert len(process.log.strip().splitlines()) == 1
