"""What the alert consumer counts and times, in a registry of its own that its HTTP port shows."""

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector

from bridge.codec import REASONS_OF_ALERTS
from bridge.metrics import PartitionGauge

_NOTIFY_BUCKETS_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_LATENCY_BUCKETS_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)


class AlertMetrics:
    """One instance a process, made in the composition root."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.seen = Counter(
            "alerts_seen", "Alerts that are done with: logged, and taken or a dead letter", registry=self.registry
        )
        self.notified = Counter("alerts_notified", "Alerts that the webhook took", registry=self.registry)
        self.failed = Counter(
            "alerts_failed", "Alerts that are dead letters, by reason", ["reason"], registry=self.registry
        )
        # From the start, because Prometheus sees no increase in a series that begins with the first failure.
        for reason in REASONS_OF_ALERTS:
            self.failed.labels(reason)
        self.failed_attempts = Counter(
            "alerts_attempts_failed",
            "Times that an alert was posted and the webhook did not take it",
            registry=self.registry,
        )
        self.notify_seconds = Histogram(
            "alerts_notify_seconds",
            "Time until the webhook took an alert or it was given up, all attempts together",
            buckets=_NOTIFY_BUCKETS_SECONDS,
            registry=self.registry,
        )
        self.latency_seconds = Histogram(
            "alerts_latency_seconds",
            "From the timestamp of the alert's record in Kafka until it is done with",
            buckets=_LATENCY_BUCKETS_SECONDS,
            registry=self.registry,
        )
        self.event_loop_lag_seconds = Histogram(
            "alerts_event_loop_lag_seconds",
            "How much later than asked the event loop came back to a waiting task",
            buckets=_NOTIFY_BUCKETS_SECONDS,
            registry=self.registry,
        )
        self.lag_records = PartitionGauge("alerts_lag_records", "Alerts of a partition that are not done with yet")
        self.lag_seconds = PartitionGauge(
            "alerts_lag_seconds", "Age of the alert of a partition that is in hand; 0 without one"
        )
        for collector in (self.lag_records, self.lag_seconds):
            self.registry.register(collector)
