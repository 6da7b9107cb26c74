"""Every setting of the service: environment variables with the prefix APP_, or lines of a file `.env`."""

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Built once in the composition root and passed down as plain values."""

    model_config = SettingsConfigDict(
        env_prefix="APP_", env_file=".env", env_ignore_empty=True, frozen=True, extra="ignore"
    )

    host: str = Field("127.0.0.1", description="Address that the service listens on")
    port: int = Field(8000, ge=0, le=65_535, description="Port that the service listens on; 0: any free one")
    workers: int = Field(
        1, ge=1, le=64, description="Processes that answer; each has the model in its memory, and a limit of its own"
    )
    artifact: Path = Field(
        Path("model_artifacts/default"),
        description="Directory of the model artifact, or models:/name@alias of an MLflow registry",
    )
    artifact_sha256: str | None = Field(
        None, pattern="^[0-9a-fA-F]{64}$", description="Digest that the model file must have; empty: the manifest's"
    )
    threshold: float = Field(0.8, gt=0, le=1, description="Probability from which a transaction is called fraud")
    max_body_bytes: int = Field(2_000_000, ge=1, description="A larger request body is refused with status 413")
    max_batch: int = Field(1_000, ge=1, description="Most transactions of one request to /score/batch")
    max_concurrency: int = Field(
        32,
        ge=1,
        description="Requests in hand of a worker beyond which the next is refused with status 503 and Retry-After; "
        "while the rush goes on, an eighth of it",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged")
