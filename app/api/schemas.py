"""The request and response models; those of a transaction are built once, from the features that the artifact names."""

import uuid
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, create_model

from app.scoring.manifest import Manifest
from app.scoring.prediction import Evidence, Method, Prediction
from app.scoring.transaction import Transaction

_Feature = Annotated[float, Field(strict=True, allow_inf_nan=False)]
_Id = Annotated[str, Field(min_length=1, max_length=256)]


class PredictionAnswer(BaseModel):
    """The answer to one transaction."""

    transaction_id: str
    fraud_probability: float = Field(ge=0, le=1)
    is_fraud: bool = Field(description="Whether the probability reaches the threshold")
    threshold: float
    model_version: str
    method: Method = Field(description="How the answer was found; all ways are exact, and what differs is the cost")


class NeighborAnswer(BaseModel):
    """One of the k known transactions nearest to the one that was scored."""

    reference_id: int = Field(description="Its row in the training part, counted from 0")
    distance: float = Field(description="Euclidean, between the scaled features")
    is_fraud: bool
    context: dict[str, float] = Field(description="Its time and amount")


class FeatureComparisonAnswer(BaseModel):
    """One feature beside that of a known fraud, both scaled."""

    feature: str
    transaction: float = Field(description="Of the transaction that was scored")
    fraud: float = Field(description="Of the known fraud")
    usual: float = Field(description="The mean of the known legitimate transactions")
    share: float = Field(description="How much of the nearness, or of the farness, is this feature's", ge=0, le=1)


class NearFraudAnswer(BaseModel):
    """One of the nearest known frauds, and why it is as near and as far as it is."""

    reference_id: int
    distance: float
    near: list[FeatureComparisonAnswer] = Field(description="What brings it near, the strongest first")
    far: list[FeatureComparisonAnswer] = Field(description="What keeps it away, the strongest first")


class InfluenceAnswer(BaseModel):
    """What one feature does to the probability: the model is asked again with the usual value in its place."""

    feature: str
    transaction: float = Field(description="Of the transaction that was scored, unscaled")
    usual: float = Field(description="The median of the known legitimate transactions, unscaled")
    probability_if_usual: float = Field(description="What the model would say, were this feature usual", ge=0, le=1)


class EvidenceAnswer(BaseModel):
    """Why a transaction has its probability."""

    neighbors: list[NeighborAnswer] = Field(
        description="Those that voted, nearest first; none where the model keeps no transactions"
    )
    nearest_frauds: list[NearFraudAnswer] = Field(
        description="The nearest known frauds, whether they voted or not; none where the model keeps no transactions"
    )
    influences: list[InfluenceAnswer] = Field(
        [],
        description="Of a model without neighbours: the features without which the probability would be lower, the "
        "strongest first",
    )
    not_available: str | None = Field(
        None, description="A sentence that says what this model cannot show; null where it shows everything"
    )


class EvidencedAnswer(PredictionAnswer):
    """The answer to one transaction, with its evidence."""

    evidence: EvidenceAnswer


class ExplanationAnswer(EvidencedAnswer):
    """The answer to one transaction, with its evidence in numbers and in words."""

    words: list[str] = Field(description="The same as sentences")


class BatchAnswer(BaseModel):
    """The answers to a batch, in its order."""

    predictions: list[PredictionAnswer]


class ModelAnswer(BaseModel):
    """The public part of the artifact's manifest."""

    model_config = ConfigDict(protected_namespaces=())

    model_version: str
    registered_as: str | None = Field(description="Version in the model registry that it was loaded from, if it was")
    feature_names: list[str]
    threshold: float
    scikit_learn_version: str
    training: dict[str, Any]
    metrics: dict[str, Any]


class HealthAnswer(BaseModel):
    """Whether the process is well."""

    status: str


@dataclass(frozen=True)
class RequestModels:
    """The models of one artifact's requests."""

    transaction: type[BaseModel]
    batch: type[BaseModel]
    feature_fields: tuple[str, ...]


def request_models(manifest: Manifest, max_batch: int) -> RequestModels:
    # A feature may have a name that is no Python identifier, so fields are numbered and renamed.
    fields = tuple(f"feature_{index}" for index in range(len(manifest.feature_names)))
    definitions: dict[str, Any] = {
        field: (_Feature, Field(alias=name)) for field, name in zip(fields, manifest.feature_names, strict=True)
    }
    example = example_transaction(manifest)
    transaction = create_model(
        "Transaction",
        __config__=ConfigDict(extra="ignore", json_schema_extra={"examples": [example]}),
        transaction_id=(_Id | None, Field(None, description="Yours; one is made when it is missing")),
        timestamp_received=(AwareDatetime | None, Field(None, description="ISO 8601 with a time zone")),
        card_id=(_Id | int | None, Field(None, description="The card; never scored")),
        **definitions,
    )
    batch = create_model(
        "Batch",
        __config__=ConfigDict(json_schema_extra={"examples": [{"transactions": [example]}]}),
        transactions=(list[transaction], Field(min_length=1, max_length=max_batch)),
    )
    return RequestModels(transaction, batch, fields)


def to_transaction(message: BaseModel, feature_fields: tuple[str, ...]) -> Transaction:
    values = message.__dict__
    card_id = values["card_id"]
    return Transaction(
        values["transaction_id"] or str(uuid.uuid4()),
        tuple(values[field] for field in feature_fields),
        values["timestamp_received"],
        None if card_id is None else str(card_id),
    )


def prediction_fields(prediction: Prediction) -> dict[str, Any]:
    """The fields of a `PredictionAnswer`."""
    return {
        "transaction_id": prediction.transaction_id,
        "fraud_probability": prediction.fraud_probability,
        "is_fraud": prediction.is_fraud,
        "threshold": prediction.threshold,
        "model_version": prediction.model_version,
        "method": prediction.method,
    }


def to_evidence_answer(evidence: Evidence) -> EvidenceAnswer:
    return EvidenceAnswer.model_validate(msgspec.to_builtins(evidence))


def example_transaction(manifest: Manifest) -> dict[str, Any]:
    """A transaction that works when it is pasted: plain values, with something in time and amount."""
    features = dict.fromkeys(manifest.feature_names, 0.0) | dict.fromkeys(manifest.context_names, 100.0)
    return {"transaction_id": "example-1", **features}
