"""The service with a model that has no neighbours: the same addresses, the same schema."""

from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from app.api.schemas import ExplanationAnswer
from app.main import create_app
from app.scoring.artifact import load_artifact
from app.scoring.scorer import Scorer
from app.scoring.transaction import Transaction
from app.settings import Settings
from tests.artifacts import FEATURE_NAMES, FRAUD

_MESSAGE = {"transaction_id": "t-1", **FRAUD}


@pytest.fixture(scope="module")
def application(boosted_artifact: Path) -> FastAPI:
    """In place of the one with neighbours, so that the client asks this one."""
    return create_app(Settings(artifact=boosted_artifact))


def test_the_answer_is_the_scorers_own(client: httpx.Client, boosted_artifact: Path) -> None:
    scorer = Scorer(load_artifact(boosted_artifact))
    (expected,) = scorer.score([Transaction("t-1", tuple(FRAUD[name] for name in FEATURE_NAMES))])

    answer = client.post("/score", json=_MESSAGE).json()

    assert answer["fraud_probability"] == expected.fraud_probability > 0.8
    assert answer["method"] == "model"
    assert answer == client.post("/score/batch", json={"transactions": [_MESSAGE]}).json()["predictions"][0]


def test_evidence_says_what_is_not_available_and_what_raises_the_probability(client: httpx.Client) -> None:
    evidence = client.post("/score?evidence=true", json=_MESSAGE).json()["evidence"]

    assert (evidence["neighbors"], evidence["nearest_frauds"]) == ([], [])
    assert evidence["not_available"].startswith("Neighbours are not available for this model")
    assert {influence["feature"] for influence in evidence["influences"]} == {"V1", "V2", "Amount"}


def test_an_explanation_has_it_in_words(client: httpx.Client) -> None:
    answer = client.post("/explain", json=_MESSAGE).json()

    ExplanationAnswer.model_validate(answer)
    assert "the probability would be" in answer["words"][1]
    assert answer["words"][-1] == answer["evidence"]["not_available"]


def test_how_it_was_found_is_counted(client: httpx.Client) -> None:
    client.post("/score", json=_MESSAGE)

    lines = client.get("/metrics").text.splitlines()
    (count,) = [line.split()[1] for line in lines if line.startswith('app_answers_found_total{method="model"}')]
    assert float(count) >= 1


def test_the_document_is_the_same_for_every_model(client: httpx.Client, artifact: Path) -> None:
    document = client.get("/openapi.json").json()
    nearest = create_app(Settings(artifact=artifact)).openapi()

    assert document["components"] == nearest["components"]
    assert document["paths"] == nearest["paths"]
