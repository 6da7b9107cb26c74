"""The addresses of the service."""

from typing import Annotated

from fastapi import FastAPI, Query
from pydantic import BaseModel

from app.api.dependencies import Scoring
from app.api.errors import problem_responses
from app.api.json_route import JsonRoute
from app.api.schemas import (
    BatchAnswer,
    EvidencedAnswer,
    ExplanationAnswer,
    HealthAnswer,
    ModelAnswer,
    PredictionAnswer,
    RequestModels,
    prediction_fields,
    to_evidence_answer,
    to_transaction,
)
from app.scoring.evidence import in_words
from app.scoring.prediction import Prediction

_WithEvidence = Annotated[
    bool,
    Query(description="Add why the transaction has its probability; costs a search, or some evaluations of the model"),
]


def install_routes(app: FastAPI, models: RequestModels) -> None:
    """Add the addresses to the application itself: a router that is included costs every request a second search."""

    async def score(
        transaction: BaseModel, scoring: Scoring, *, evidence: _WithEvidence = False
    ) -> PredictionAnswer | EvidencedAnswer:
        """Score one transaction."""
        asked = to_transaction(transaction, models.feature_fields)
        prediction = await scoring.score_one(asked)
        if not evidence:
            return _answer(prediction)
        proof = to_evidence_answer(await scoring.evidence(asked))
        return EvidencedAnswer(**prediction_fields(prediction), evidence=proof)

    async def explain(transaction: BaseModel, scoring: Scoring) -> ExplanationAnswer:
        """Score one transaction and say why: the neighbours that voted, or the features that raise the probability."""
        asked = to_transaction(transaction, models.feature_fields)
        prediction = await scoring.score_one(asked)
        evidence = await scoring.evidence(asked)
        return ExplanationAnswer(
            **prediction_fields(prediction),
            evidence=to_evidence_answer(evidence),
            words=in_words(prediction, evidence),
        )

    async def score_batch(batch: BaseModel, scoring: Scoring) -> BatchAnswer:
        """Score up to a thousand transactions at once; the answers come in their order."""
        messages = batch.__dict__["transactions"]
        predictions = await scoring.score([to_transaction(message, models.feature_fields) for message in messages])
        return BatchAnswer(predictions=[_answer(prediction) for prediction in predictions])

    # The models are made from the artifact, so the routes learn of them only now.
    score.__annotations__["transaction"] = models.transaction
    explain.__annotations__["transaction"] = models.transaction
    score_batch.__annotations__["batch"] = models.batch
    refusals = problem_responses(413, 415, 422, 500, 503)
    for path, endpoint in (("/score", score), ("/explain", explain), ("/score/batch", score_batch)):
        app.router.add_api_route(
            path, endpoint, methods=["POST"], tags=["scoring"], responses=refusals, route_class_override=JsonRoute
        )
    app.get("/model", tags=["model"], responses=problem_responses(503))(model)
    app.get("/health/live", tags=["health"])(live)
    app.get("/health/ready", tags=["health"], responses=problem_responses(503))(ready)


async def model(scoring: Scoring) -> ModelAnswer:
    """The public part of the artifact's manifest."""
    manifest = scoring.scorer.manifest
    return ModelAnswer(
        model_version=manifest.model_version,
        registered_as=scoring.registered_as,
        feature_names=list(manifest.feature_names),
        threshold=scoring.scorer.threshold,
        scikit_learn_version=manifest.scikit_learn_version,
        training=manifest.training,
        metrics=manifest.metrics,
    )


async def live() -> HealthAnswer:
    """Whether the event loop turns."""
    return HealthAnswer(status="live")


async def ready(_: Scoring) -> HealthAnswer:
    """Whether transactions can be scored; status 503 says why not."""
    return HealthAnswer(status="ready")


def _answer(prediction: Prediction) -> PredictionAnswer:
    return PredictionAnswer.model_construct(**prediction_fields(prediction))
