"""The service's answers."""

import dataclasses
import json
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import httpx
import msgspec
import pytest
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from app.api.dependencies import ScoringService
from app.metrics import Metrics
from app.scoring.artifact import Artifact, load_artifact
from app.scoring.prediction import Prediction
from app.scoring.scorer import Scorer
from app.scoring.transaction import Transaction
from tests.artifacts import FEATURE_NAMES, FRAUD, LEGITIMATE

JSON = {"Content-Type": "application/json"}


def _body(**changes: Any) -> bytes:
    return json.dumps({**LEGITIMATE, **changes}).encode()


def _literal(name: str, text: bytes) -> bytes:
    return _body(**{name: "@"}).replace(b'"@"', text)


def test_a_fraud_is_called_fraud(client: httpx.Client) -> None:
    answer = client.post("/score", json={"transaction_id": "t-1", **FRAUD}).json()

    assert (answer["transaction_id"], answer["fraud_probability"], answer["is_fraud"]) == ("t-1", 1.0, True)


def test_the_answer_is_the_scorers_own(client: httpx.Client, artifact: Path) -> None:
    fields = {"Time": 1.0, "V1": 2.75, "V2": 3.125, "Amount": 310.01}
    scorer = Scorer(load_artifact(artifact))
    (expected,) = scorer.score([Transaction("same", tuple(fields[name] for name in FEATURE_NAMES))])

    assert client.post("/score", json=fields).json()["fraud_probability"] == expected.fraud_probability


def test_a_request_with_a_query_has_the_same_answer(client: httpx.Client) -> None:
    body = {"transaction_id": "t", "card_id": 7, "timestamp_received": "2026-01-01T00:00:00Z", **LEGITIMATE}

    assert client.post("/score?trace=1", json=body).content == client.post("/score", json=body).content


def test_an_answer_says_how_it_was_found(client: httpx.Client) -> None:
    assert client.post("/score", json=FRAUD).json()["method"] in {"certified", "searched", "full"}


def test_evidence_comes_on_request(client: httpx.Client, artifact: Path) -> None:
    transaction = Transaction("t-1", tuple(FRAUD[name] for name in FEATURE_NAMES))
    (expected,) = Scorer(load_artifact(artifact)).evidence([transaction])

    answer = client.post("/score?evidence=true", json={"transaction_id": "t-1", **FRAUD}).json()

    assert answer.pop("evidence") == msgspec.json.decode(msgspec.json.encode(expected))
    assert answer == client.post("/score", json={"transaction_id": "t-1", **FRAUD}).json()


@pytest.mark.parametrize("value", [1e200, -1e308])
def test_a_transaction_of_the_largest_numbers_is_explained(client: httpx.Client, value: float) -> None:
    answer = client.post("/explain", json=FRAUD | {"V1": value})

    assert answer.status_code == 200
    assert answer.json()["evidence"]["nearest_frauds"][0]["far"][0]["feature"] == "V1"


def test_an_explanation_is_the_evidence_with_words(client: httpx.Client) -> None:
    message = {"transaction_id": "t-1", **FRAUD}

    answer = client.post("/explain", json=message).json()

    assert answer.pop("words")[0] == "The fraud probability 1.000 reaches the threshold 0.8."
    assert answer == client.post("/score?evidence=true", json=message).json()


def test_a_body_in_chunks_has_the_same_answer(client: httpx.Client) -> None:
    body = _body(transaction_id="t")
    chunks = (body[first : first + 50] for first in range(0, len(body), 50))

    response = client.post("/score", content=chunks, headers=JSON)

    assert response.content == client.post("/score", content=body, headers=JSON).content


def test_a_missing_id_is_made(client: httpx.Client) -> None:
    assert len(client.post("/score", json=LEGITIMATE).json()["transaction_id"]) == 36


def test_unknown_fields_and_the_label_change_nothing(client: httpx.Client) -> None:
    plain = client.post("/score", json={"transaction_id": "t", **LEGITIMATE}).json()

    assert client.post("/score", json={"transaction_id": "t", **LEGITIMATE, "Class": 1, "note": "x"}).json() == plain


def test_a_batch_keeps_its_order(client: httpx.Client) -> None:
    batch = [{"transaction_id": str(number), **(FRAUD if number % 3 == 0 else LEGITIMATE)} for number in range(300)]

    answers = client.post("/score/batch", json={"transactions": batch}).json()["predictions"]

    assert [answer["transaction_id"] for answer in answers] == [str(number) for number in range(300)]
    assert [answer["is_fraud"] for answer in answers] == [number % 3 == 0 for number in range(300)]


@pytest.mark.parametrize("size", [0, 1_001])
def test_a_batch_has_1_to_1000_transactions(client: httpx.Client, size: int) -> None:
    assert client.post("/score/batch", json={"transactions": [LEGITIMATE] * size}).status_code == 422


@pytest.mark.parametrize(
    "body",
    [
        b"not JSON",
        b"",
        b"[]",
        b"null",
        b'{"V1": "\xff"}',
        _literal("V1", b"NaN"),
        _literal("V1", b"Infinity"),
        _literal("V1", b"1e999"),
        _literal("V1", b"9" * 400),
        _literal("V1", b"[" * 10_000 + b"]" * 10_000),
        b"[" * 10_000 + b"]" * 10_000,
        _body(V1="1.5"),
        _body(V1=True),
        _body(V1=None),
        _body(transaction_id=""),
        _body(timestamp_received="2026-01-01T00:00:00"),
        json.dumps({"Time": 1}).encode(),
    ],
)
def test_what_cannot_be_scored_is_a_problem_with_status_422(client: httpx.Client, body: bytes) -> None:
    response = client.post("/score", content=body, headers=JSON)

    assert (response.status_code, response.headers["content-type"]) == (422, "application/problem+json")


def test_a_problem_names_the_feature(client: httpx.Client) -> None:
    problem = client.post("/score", content=_body(V2="x"), headers=JSON).json()

    assert [error["location"] for error in problem["errors"]] == [["V2"]]


def test_a_problem_never_repeats_what_was_sent(client: httpx.Client) -> None:
    secret = "4111-1111-1111-1111"

    response = client.post("/score", json={**LEGITIMATE, "V1": secret, "card_id": {"number": secret}})

    assert response.status_code == 422
    assert secret not in response.text


def test_a_body_over_the_limit_is_refused(client: httpx.Client) -> None:
    response = client.post("/score", content=_body(note="x" * 200_000), headers=JSON)

    assert (response.status_code, response.headers["content-type"]) == (413, "application/problem+json")


def test_a_body_over_the_limit_is_refused_without_its_length(client: httpx.Client) -> None:
    chunks = (b"x" * 50_000 for _ in range(6))

    assert client.post("/score", content=chunks, headers=JSON).status_code == 413


def test_another_type_of_body_is_refused(client: httpx.Client) -> None:
    response = client.post("/score", content=_body(), headers={"Content-Type": "text/plain"})

    assert (response.status_code, response.headers["content-type"]) == (415, "application/problem+json")


def test_an_unknown_address_is_a_problem(client: httpx.Client) -> None:
    assert client.get("/nothing").json()["title"] == "Not Found"


def test_a_wrong_method_is_a_problem_that_names_the_right_one(client: httpx.Client) -> None:
    response = client.get("/score")

    assert (response.status_code, response.headers["allow"]) == (405, "POST")


async def test_it_is_not_ready_before_the_model_is_loaded(application: FastAPI) -> None:
    transport = httpx.ASGITransport(application)  # runs no lifespan
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await client.get("/health/ready")).status_code == 503
        assert (await client.post("/score", json=LEGITIMATE)).status_code == 503


def test_it_is_ready_with_the_model(client: httpx.Client) -> None:
    assert client.get("/health/ready").json() == {"status": "ready"}


def test_the_model_tells_of_itself(client: httpx.Client) -> None:
    assert client.get("/model").json()["feature_names"] == list(FEATURE_NAMES)


def test_metrics_count_what_was_scored(client: httpx.Client) -> None:
    before = client.get("/metrics").text
    client.post("/score/batch", json={"transactions": [FRAUD, LEGITIMATE]})
    after = client.get("/metrics").text

    assert _value(after, "app_transactions_scored_total") - _value(before, "app_transactions_scored_total") == 2
    assert (
        _value(after, "app_transactions_called_fraud_total") - _value(before, "app_transactions_called_fraud_total")
        == 1
    )


def _value(metrics: str, name: str) -> float:
    (line,) = [line for line in metrics.splitlines() if line.startswith(f"{name} ")]
    return float(line.split()[1])


def test_metrics_count_how_answers_were_found(client: httpx.Client) -> None:
    name = 'app_answers_found_total{method="searched"}'
    before = client.get("/metrics").text
    answer = client.post("/score", json=FRAUD).json()
    after = client.get("/metrics").text

    assert answer["method"] == "searched"
    assert _value(after, name) - _value(before, name) == 1


def test_requests_are_measured_by_address(client: httpx.Client) -> None:
    client.post("/score", json=LEGITIMATE)

    assert 'handler="/score"' in client.get("/metrics").text


def test_the_document_has_the_artifacts_features(client: httpx.Client) -> None:
    schema = client.get("/openapi.json").json()["components"]["schemas"]["Transaction"]

    assert set(FEATURE_NAMES) <= set(schema["properties"])
    assert set(schema["required"]) == set(FEATURE_NAMES)


@pytest.mark.parametrize(
    ("path", "name"), [("/score", "Transaction"), ("/explain", "Transaction"), ("/score/batch", "Batch")]
)
def test_the_documents_examples_work_when_pasted(client: httpx.Client, path: str, name: str) -> None:
    (example,) = client.get("/openapi.json").json()["components"]["schemas"][name]["examples"]

    assert client.post(path, json=example).status_code == 200


def test_every_error_answer_is_documented_as_a_problem(client: httpx.Client) -> None:
    responses = client.get("/openapi.json").json()["paths"]["/score"]["post"]["responses"]

    assert {"413", "415", "422", "500", "503"} <= set(responses)
    for status, response in responses.items():
        if status != "200":
            assert list(response["content"]) == ["application/problem+json"]


@settings(max_examples=100, deadline=None)
@given(
    body=st.one_of(st.binary(max_size=300), st.recursive(st.none() | st.floats() | st.text(), st.lists).map(json.dumps))
)
def test_no_body_breaks_it(client: httpx.Client, body: bytes | str) -> None:
    assert client.post("/score", content=body, headers=JSON).status_code == 422


class _HeldScorer(Scorer):
    """Scores when it is let go, so that a test can look at what else goes on."""

    def __init__(self, artifact: Artifact) -> None:
        super().__init__(artifact)
        self.started = threading.Event()
        self.released = threading.Event()

    def score(self, transactions: Sequence[Transaction]) -> list[Prediction]:
        self.started.set()
        assert self.released.wait(60)
        return super().score(transactions)


async def test_others_are_answered_while_a_score_is_computed(application: FastAPI, artifact: Path) -> None:
    scorer = _HeldScorer(load_artifact(artifact))
    async with application.router.lifespan_context(application) as state:
        assert state is not None
        held = dataclasses.replace(state["scoring"], scorer=scorer)
        transport = httpx.ASGITransport(_with_state(application, held))
        async with (
            httpx.AsyncClient(transport=transport, base_url="http://test") as client,
            anyio.create_task_group() as group,
        ):
            group.start_soon(lambda: client.post("/score", json=FRAUD))
            await anyio.to_thread.run_sync(scorer.started.wait, 60)

            assert (await client.get("/health/live")).status_code == 200

            scorer.released.set()


async def test_what_takes_no_search_does_not_wait_until_a_search_has_ended(application: FastAPI) -> None:
    artifact = load_artifact(Path("model_artifacts/default"))
    n_features = len(artifact.manifest.feature_names)
    certified, searched = Transaction("c", (0.0,) * n_features), Transaction("s", (1e6,) * n_features)
    scorer = _HeldScorer(artifact)
    async with application.router.lifespan_context(application) as state, anyio.create_task_group() as group:
        assert state is not None
        scoring = dataclasses.replace(state["scoring"], scorer=scorer)
        group.start_soon(scoring.score_one, searched)
        await anyio.to_thread.run_sync(scorer.started.wait, 60)

        assert (await scoring.score_one(certified)).method == "certified"

        scorer.released.set()


async def test_what_takes_no_search_is_answered_without_a_thread(application: FastAPI) -> None:
    artifact = load_artifact(Path("model_artifacts/default"))
    features = dict.fromkeys(artifact.manifest.feature_names, 0.0)
    async with application.router.lifespan_context(application) as state:
        assert state is not None
        no_threads = ThreadPoolExecutor(1)
        no_threads.shutdown()
        scoring = dataclasses.replace(state["scoring"], scorer=Scorer(artifact), searcher=no_threads)
        transaction = Transaction("t", tuple(features.values()))

        prediction = await scoring.score_one(transaction)

        assert [prediction] == scoring.scorer.score([transaction])


def _with_state(application: FastAPI, scoring: ScoringService) -> Any:
    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        await application({**scope, "state": {"scoring": scoring}}, receive, send)

    return wrapped


def test_metrics_of_two_applications_do_not_meet() -> None:
    first, second = CollectorRegistry(), CollectorRegistry()
    Metrics(first, "a").scored.inc()
    Metrics(second, "b")

    assert second.get_sample_value("app_transactions_scored_total") == 0
