"""A FastAPI route that takes the same body and does nothing.

`python -m benchmarks.peers.no_operation PORT METRICS FEATURE_NAMES`

METRICS is none, library (prometheus-fastapi-instrumentator as it comes) or ours (the middleware of our service).
"""

import json
import sys
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from prometheus_fastapi_instrumentator import Instrumentator
from pydantic import AwareDatetime, BaseModel, Field, create_model

from app.api.request_metrics import RequestMetrics

_Feature = Annotated[float, Field(strict=True, allow_inf_nan=False)]


class Answer(BaseModel):
    """The same fields as our service's."""

    transaction_id: str
    fraud_probability: float
    is_fraud: bool
    threshold: float
    model_version: str


def create_app(feature_names: list[str], metrics: str) -> FastAPI:
    app = FastAPI()
    features: dict[str, Any] = dict.fromkeys(feature_names, (_Feature, ...))
    transaction = create_model(
        "Transaction",
        transaction_id=(str, ...),
        timestamp_received=(AwareDatetime | None, None),
        card_id=(str | None, None),
        **features,
    )

    async def score(body: BaseModel) -> Answer:
        return Answer(
            transaction_id=body.__dict__["transaction_id"],
            fraud_probability=0.0,
            is_fraud=False,
            threshold=0.8,
            model_version="none",
        )

    score.__annotations__["body"] = transaction
    app.post("/score")(score)
    registry = CollectorRegistry()
    if metrics == "library":
        Instrumentator(registry=registry).instrument(app)
    if metrics == "ours":
        app.add_middleware(RequestMetrics, addresses=["/score"], excluded=[], registry=registry)
    return app


if __name__ == "__main__":
    port, metrics, names = sys.argv[1:4]
    uvicorn.run(create_app(json.loads(names), metrics), port=int(port), access_log=False, log_level="warning")
