"""`python -m bridge prove` over topics in which something is wrong on purpose."""

import dataclasses
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bridge import prove
from bridge.audit import Defect
from bridge.offset_range import parse_bound
from bridge.prove import Plan
from bridge.verdict import Verdict
from tests.artifacts import make_artifact
from tests.integration.broker import Broker
from tests.integration.conftest import StartProcess
from tests.integration.deployment import Deployment
from tests.integration.forgery import Forgery, changed, source, traffic
from tests.integration.topics import Message, Topics


@pytest.fixture
async def deployment(broker: Broker, topics: Topics, artifact: Path) -> Deployment:
    deployment = Deployment(topics, artifact, is_embedded=not broker.supports_transactions)
    await topics.create("transactions", "predictions", "alerts", "dead-letters")
    return deployment


@pytest.fixture
async def forgery(deployment: Deployment, artifact: Path) -> Forgery:
    """Right answers to 200 transactions of one partition."""
    return await Forgery.of(deployment, artifact, *traffic(200, partition=1))


async def _audit(forgery: Forgery, **plan: Any) -> Verdict:
    await forgery.publish()
    return await prove.audit(forgery.settings, dataclasses.replace(Plan(rescore=None), **plan))


def _iso(moment_ms: int) -> str:
    return datetime.fromtimestamp(moment_ms / 1000, UTC).isoformat()


def _found(verdict: Verdict) -> dict[Defect, list[int]]:
    """The offsets of the transactions that are named, by defect."""
    assert all(report.count == len(report.examples) for report in verdict.defects)
    return {report.defect: [example.source.offset for example in report.examples] for report in verdict.defects}


async def test_right_answers_are_proved(deployment: Deployment, artifact: Path) -> None:
    forgery = await Forgery.of(deployment, artifact, *traffic(400))
    verdict = await _audit(forgery)

    assert verdict.is_proved
    assert verdict.defects == ()
    assert (verdict.transactions, verdict.predictions, verdict.dead_letters, verdict.alerts) == (400, 380, 20, 40)
    assert (verdict.rescored, verdict.largest_difference) == (400, 0)


async def test_a_lost_transaction_is_named(forgery: Forgery) -> None:
    lost = source(forgery.predictions.pop(51))["offset"]
    verdict = await _audit(forgery)

    assert not verdict.is_proved
    assert _found(verdict) == {Defect.LOST: [lost]}


async def test_a_lost_dead_letter_is_named(forgery: Forgery) -> None:
    del forgery.dead_letters[2]

    assert _found(await _audit(forgery)) == {Defect.LOST: [51]}


async def test_a_doubled_prediction_is_named_near_and_far_from_the_first(forgery: Forgery) -> None:
    near, far = forgery.predictions[9], forgery.predictions[3]
    forgery.predictions.insert(10, near)
    forgery.predictions.append(far)

    assert _found(await _audit(forgery)) == {Defect.DOUBLED: [source(far)["offset"], source(near)["offset"]]}


async def test_doubles_are_counted_and_allowed_on_request(forgery: Forgery) -> None:
    forgery.predictions[10:10] = forgery.predictions[5:10]
    forgery.alerts[1:1] = forgery.alerts[:1]
    verdict = await _audit(forgery, allows_doubles=True)

    assert verdict.is_proved
    assert verdict.doubled == 5
    assert [report.is_allowed for report in verdict.defects] == [True, True]


async def test_a_prediction_of_a_dead_letter_is_a_double(forgery: Forgery) -> None:
    forgery.predictions[11] = changed(
        forgery.predictions[11], source={"topic": forgery.deployment.transactions, "partition": 1, "offset": 11}
    )
    found = _found(await _audit(forgery))

    assert found[Defect.DOUBLED] == [11]
    assert found[Defect.LOST] == [12]


async def test_a_prediction_without_its_transaction_is_named(forgery: Forgery) -> None:
    place = {"topic": forgery.deployment.transactions, "partition": 1, "offset": 4_000}
    forgery.predictions.append(changed(forgery.predictions[0], source=place))
    forgery.predictions.append(changed(forgery.predictions[0], source=place | {"partition": 7, "offset": 0}))

    assert _found(await _audit(forgery)) == {Defect.WITHOUT_INPUT: [4_000, 0]}


async def test_swapped_predictions_are_named(forgery: Forgery) -> None:
    predictions = forgery.predictions
    predictions[30], predictions[37] = predictions[37], predictions[30]
    late = [source(message)["offset"] for message in predictions[31:38]]

    assert _found(await _audit(forgery)) == {Defect.OUT_OF_ORDER: sorted(late)}


async def test_a_missing_alert_is_named(forgery: Forgery) -> None:
    missing = source(forgery.alerts.pop(4))["offset"]

    assert _found(await _audit(forgery)) == {Defect.MISSING_ALERT: [missing]}


async def test_an_alert_too_many_is_named(forgery: Forgery) -> None:
    forgery.alerts.insert(1, forgery.predictions[5])

    assert _found(await _audit(forgery)) == {Defect.ALERT_TOO_MANY: [5]}


async def test_a_doubled_alert_is_named(forgery: Forgery) -> None:
    forgery.alerts.append(forgery.alerts[2])

    assert _found(await _audit(forgery)) == {Defect.DOUBLED_ALERT: [source(forgery.alerts[2])["offset"]]}


async def test_an_alert_with_another_probability_than_its_prediction_is_named(forgery: Forgery) -> None:
    forgery.alerts[0] = changed(forgery.alerts[0], fraud_probability=0.93)

    assert _found(await _audit(forgery)) == {Defect.ALERT_DIFFERS: [3]}


async def test_a_wrong_probability_is_named(forgery: Forgery) -> None:
    forgery.predictions[6] = changed(forgery.predictions[6], fraud_probability=0.0001)
    verdict = await _audit(forgery)

    assert _found(verdict) == {Defect.WRONG_PROBABILITY: [6]}
    assert verdict.largest_difference == pytest.approx(0.0001)


async def test_a_wrong_probability_outside_the_sample_is_not_found(forgery: Forgery) -> None:
    forgery.predictions[6] = changed(forgery.predictions[6], fraud_probability=0.0001)
    verdict = await _audit(forgery, rescore=10)

    assert verdict.is_proved
    assert verdict.rescored == 10


async def test_a_wrong_flag_is_named(forgery: Forgery) -> None:
    forgery.predictions[6] = changed(forgery.predictions[6], is_fraud=True)

    assert _found(await _audit(forgery)) == {Defect.WRONG_FLAG: [6]}


async def test_a_wrong_key_is_named(forgery: Forgery) -> None:
    forgery.predictions[6] = dataclasses.replace(forgery.predictions[6], key=b"card-9")

    assert _found(await _audit(forgery)) == {Defect.WRONG_KEY: [6]}


async def test_a_readable_transaction_that_became_a_dead_letter_is_named(forgery: Forgery) -> None:
    letter = forgery.dead_letters[0]
    headers = [(name, value.replace(b"-11", b"-12")) for name, value in letter.headers]
    forgery.dead_letters.insert(1, dataclasses.replace(letter, headers=headers, key=forgery.predictions[11].key))
    assert source(forgery.predictions.pop(11))["offset"] == 12

    assert _found(await _audit(forgery)) == {Defect.WRONG_READING: [12]}


async def test_an_output_that_cannot_be_read_is_named(forgery: Forgery) -> None:
    forgery.predictions.append(Message(b"no prediction", partition=2))
    verdict = await _audit(forgery)

    assert [report.defect for report in verdict.defects] == [Defect.UNREADABLE_OUTPUT]
    assert verdict.defects[0].examples[0].source.topic == forgery.deployment.predictions


async def test_another_model_than_the_one_that_answered_is_named(forgery: Forgery, tmp_path: Path) -> None:
    make_artifact(tmp_path / "other", n_neighbors=3)
    verdict = await _audit(forgery, artifact=tmp_path / "other", rescore=10)

    assert [(report.defect, report.count) for report in verdict.defects] == [(Defect.OTHER_MODEL, verdict.rescored)]


@pytest.mark.real_kafka(reason="the embedded broker has no transactions")
async def test_aborted_transactions_are_invisible(forgery: Forgery) -> None:
    await forgery.publish_and_abort(*forgery.predictions)
    verdict = await _audit(forgery)
    await forgery.publish_and_abort(forgery.predictions[0])

    assert verdict.is_proved
    assert verdict.predictions == 190


async def test_outputs_of_other_topics_are_left_alone(forgery: Forgery) -> None:
    place = {"topic": "another", "partition": 1, "offset": 5}
    forgery.predictions.insert(5, changed(forgery.predictions[0], source=place))

    assert (await _audit(forgery)).is_proved


async def test_a_defect_outside_the_range_is_not_judged(forgery: Forgery) -> None:
    del forgery.predictions[51]
    before = await _audit(forgery, first=parse_bound("1:0"), last=parse_bound("1:52"))
    behind = await prove.audit(forgery.settings, Plan(first=parse_bound("60"), last=parse_bound("200")))
    across = await prove.audit(forgery.settings, Plan(first=parse_bound("40")))

    assert (before.is_proved, before.transactions) == (True, 52)
    assert (behind.is_proved, behind.transactions) == (True, 140)
    assert (across.lost, across.transactions) == (1, 160)


async def test_a_range_of_time_is_a_range_of_offsets(deployment: Deployment, artifact: Path) -> None:
    forgery = await Forgery.of(deployment, artifact, *traffic(100, partition=1))
    middle = (await deployment.topics.read(deployment.transactions))[-1].timestamp + 1
    await deployment.topics.produce(deployment.transactions, *traffic(1, partition=1))
    verdict = await _audit(forgery, last=parse_bound(_iso(middle)))

    assert verdict.is_proved
    assert verdict.transactions == 100


async def test_the_command_says_what_it_found_and_exits_1(
    forgery: Forgery, start_process: StartProcess, tmp_path: Path
) -> None:
    lost = source(forgery.predictions.pop(51))["offset"]
    await forgery.publish()
    file = tmp_path / "verdict.json"
    process = start_process("bridge", "prove", "--json", str(file), **forgery.deployment.environment)

    assert await process.wait_for_end() == 1
    assert process.output.startswith("NOT PROVED.")
    assert f"{forgery.deployment.transactions}[1] offset {lost}" in process.output
    written = json.loads(file.read_text())
    assert written["defects"][0]["examples"][0]["source"]["offset"] == lost
    assert written["lost"] == 1


async def test_the_command_exits_0_when_all_is_right(forgery: Forgery, start_process: StartProcess) -> None:
    await forgery.publish()
    process = start_process("bridge", "prove", "--json", **forgery.deployment.environment)

    assert await process.wait_for_end() == 0
    assert json.loads(process.output)["is_proved"] is True
    assert process.log.startswith("Proved.")
