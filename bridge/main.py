"""The composition root of `python -m bridge run`: what is made, in which order it starts, and in which it stops."""

import structlog

from app.scoring.artifact import load_artifact
from app.scoring.scorer import Scorer
from bridge.codec import Codec
from bridge.connection import consuming, producing
from bridge.delivery import AtLeastOnceDelivery
from bridge.loop import Answerer, Bridge, OutputTopics
from bridge.metrics import Metrics
from bridge.settings import Settings
from bridge.signals import stop_on_signal
from bridge.status import create_status_app, serving
from bridge.topics import prepare_topics

_log = structlog.get_logger(__name__)


async def run(settings: Settings) -> None:
    """Answer transactions until SIGINT or SIGTERM.

    Raises:
        ArtifactError: the model cannot be used.
        BridgeError: the broker or a port cannot be used, or the broker did not confirm what was published.
    """
    artifact = load_artifact(settings.artifact, settings.artifact_sha256)
    scorer = Scorer(artifact, settings.threshold)
    codec = Codec(artifact.manifest, settings.max_record_bytes)
    partitions = await prepare_topics(settings, (settings.transactions_topic, *settings.output_topics))
    topics = OutputTopics(
        predictions=settings.predictions_topic,
        alerts=settings.alerts_topic,
        dead_letters=settings.dead_letter_topic,
        processed=settings.processed_topic,
        partitions=partitions,
    )
    metrics = Metrics(artifact.manifest.model_version)
    # The consumer stops first and leaves its group, so that another member takes over while the producer winds up.
    async with producing(settings) as producer, consuming(settings, settings.group_id) as consumer:
        delivery = AtLeastOnceDelivery(consumer, producer, settings.broker_timeout_seconds)
        answerer = Answerer(codec, scorer, topics)
        bridge = Bridge(consumer, answerer, delivery, metrics, max_poll_records=settings.max_poll_records)
        status = create_status_app(metrics.registry, bridge.readiness)
        with stop_on_signal(bridge.request_stop):
            async with serving(status, settings.http_host, settings.http_port) as address:
                _log.info(
                    "bridge runs",
                    transactions=settings.transactions_topic,
                    group=settings.group_id,
                    model_version=artifact.manifest.model_version,
                    threshold=settings.threshold,
                    guarantee="at-least-once",
                    http=address,
                )
                await bridge.main_loop(settings.transactions_topic)
    _log.info("bridge stopped; every poll that was answered is committed")
