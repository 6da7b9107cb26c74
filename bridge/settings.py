"""Every setting of the bridge's processes: environment variables with the prefix BRIDGE_, or lines of a file `.env`."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, HttpUrl, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

_Name = Annotated[str, Field(min_length=1)]
_Topic = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")]


class Settings(BaseSettings):
    """Built once in the composition root and passed down as plain values."""

    model_config = SettingsConfigDict(
        env_prefix="BRIDGE_",
        env_file=".env",
        env_ignore_empty=True,  # a line BRIDGE_…= without a value means the default
        frozen=True,
        extra="ignore",
    )

    bootstrap_servers: _Name = Field("127.0.0.1:9092", description="Kafka brokers to start from, host:port,host:port")
    group_id: _Name = Field("neighborwatch", description="Consumer group of the bridge")
    transactions_topic: _Topic = Field("transactions", description="Topic that transactions are read from")
    predictions_topic: _Topic = Field("fraud_predictions", description="Topic that a prediction a transaction goes to")
    alerts_topic: _Topic = Field("fraud_alerts", description="Topic of the predictions that reached the threshold")
    dead_letter_topic: _Topic = Field("transactions_dead_letter", description="Topic of records that cannot be read")
    processed_topic: _Topic | Literal[""] = Field(
        "", description="Topic of the scaled features; empty: they are not published"
    )
    create_topics: bool = Field(default=False, description="Make the topics that are missing at start")
    topic_partitions: int = Field(3, ge=1, description="Partitions of a topic that is made")
    topic_replication_factor: int = Field(
        0, ge=0, description="Replicas of a topic that is made; 0: three, or as many as there are brokers"
    )

    artifact: Path = Field(
        Path("model_artifacts/default"),
        description="Directory of the model artifact, or models:/name@alias of an MLflow registry",
    )
    artifact_sha256: str | None = Field(
        None, pattern="^[0-9a-fA-F]{64}$", description="Digest that the model file must have; empty: the manifest's"
    )
    threshold: float = Field(0.8, gt=0, le=1, description="Probability from which a transaction is called fraud")

    processing_guarantee: Literal["exactly-once", "at-least-once"] = Field(
        "exactly-once", description="exactly-once (needs a broker with transactions) or at-least-once"
    )
    transaction_timeout_seconds: float = Field(
        10, ge=1, le=900, description="After this time the broker ends what a dead bridge left open"
    )
    transactional_id_scope: Literal["partition", "instance"] = Field(
        "partition", description="instance: does not shut former owners out; only to show what partition is for"
    )
    group_instance_id: str | None = Field(
        None, min_length=1, description="Name of this member in the group: restarted under it, it causes no rebalance"
    )
    max_poll_records: int = Field(
        2_000, ge=1, description="Most transactions of a partition that are scored and committed at once"
    )
    max_record_bytes: int = Field(262_144, ge=1, description="A larger record goes to the dead letter topic unread")
    fetch_max_wait_ms: int = Field(100, ge=1, description="How long the broker may hold a request for new records")
    session_timeout_ms: int = Field(
        10_000, ge=1_000, description="Silence after which the group takes a member as dead"
    )
    producer_idempotence: bool = Field(
        default=True, description="Producer retries write nothing twice; the embedded broker cannot, Apache Kafka can"
    )
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = Field(
        "none", description="Compression of what is published: none, gzip, snappy, lz4 or zstd"
    )
    deaf_seconds: float = Field(
        30, gt=0, description="When transactions wait and none arrives for this long, the consumer is made anew"
    )
    runaway_seconds: float = Field(
        60, gt=0, description="When what waits has not become less for this long, readiness turns red"
    )
    broker_timeout_seconds: float = Field(
        60, gt=0, description="How long an absent broker is waited for, at start and in the middle, before exit code 1"
    )

    http_host: str = Field("127.0.0.1", description="Address of the live page, metrics and health")
    http_port: int = Field(
        8001, ge=0, le=65_535, description="Port of the bridge's live page, metrics and health; 0: any free one"
    )
    service_url: HttpUrl | None = Field(
        None, description="Address of the scoring service, linked from the live page; empty: no link"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged")

    alerts_group_id: _Name = Field("neighborwatch-alerts", description="Consumer group of the alert consumer")
    alerts_dead_letter_topic: _Topic = Field(
        "fraud_alerts_dead_letter", description="Topic of alerts that the webhook did not take"
    )
    alerts_http_port: int = Field(
        8002, ge=0, le=65_535, description="Port of the alert consumer's metrics and health; 0: any free one"
    )
    webhook_url: HttpUrl | None = Field(None, description="Address that each alert is posted to; empty: none")
    webhook_authorization: SecretStr | None = Field(None, description="Authorization header of the webhook's requests")
    webhook_attempts: int = Field(
        5, ge=1, le=10, description="Attempts, with back-off, before an alert is a dead letter"
    )
    webhook_timeout_seconds: float = Field(5, gt=0, le=20, description="How long one attempt may take")

    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="How the broker is spoken to: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"
    )
    ssl_ca_file: Path | None = Field(None, description="Certificates to trust (PEM); empty: the machine's")
    ssl_certificate_file: Path | None = Field(None, description="Certificate of this client (PEM), for mutual TLS")
    ssl_key_file: Path | None = Field(None, description="Private key of this client (PEM)")
    ssl_key_password: SecretStr | None = Field(None, description="Password of the private key")
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = Field(
        "PLAIN", description="SASL mechanism: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER"
    )
    sasl_username: str | None = Field(None, description="User of PLAIN and SCRAM; client id of OAUTHBEARER")
    sasl_password: SecretStr | None = Field(None, description="Password of PLAIN and SCRAM; secret of OAUTHBEARER")
    sasl_oauth_token_url: HttpUrl | None = Field(
        None, description="Where OAUTHBEARER asks for tokens (client credentials grant)"
    )
    sasl_oauth_scope: str | None = Field(None, description="Scope that OAUTHBEARER asks for")

    @model_validator(mode="after")
    def _credentials_are_complete(self) -> Self:
        if self.security_protocol.startswith("SASL"):
            if not self.sasl_username or not self.sasl_password:
                raise ValueError(
                    "BRIDGE_SECURITY_PROTOCOL with SASL needs BRIDGE_SASL_USERNAME and BRIDGE_SASL_PASSWORD"
                )
            if self.sasl_mechanism == "OAUTHBEARER" and not self.sasl_oauth_token_url:
                raise ValueError("BRIDGE_SASL_MECHANISM=OAUTHBEARER needs BRIDGE_SASL_OAUTH_TOKEN_URL")
        return self

    @model_validator(mode="after")
    def _topics_differ(self) -> Self:
        # A bridge that reads what it writes would never come to an end.
        topics = [self.transactions_topic, *self.output_topics, self.alerts_dead_letter_topic]
        repeated = sorted({topic for topic in topics if topics.count(topic) > 1})
        if repeated:
            raise ValueError(f"the BRIDGE_…_TOPIC settings name {', '.join(repeated)} twice; each topic has one use")
        return self

    @property
    def output_topics(self) -> tuple[str, ...]:
        """The topics that the bridge publishes to."""
        topics = (self.predictions_topic, self.alerts_topic, self.dead_letter_topic, self.processed_topic)
        return tuple(topic for topic in topics if topic)
