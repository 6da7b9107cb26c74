"""What the bridge counts and times, in a registry of its own that its HTTP port shows."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_LATENCY_BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_STEP_BUCKETS_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


class Metrics:
    """One instance a process, made in the composition root."""

    def __init__(self, model_version: str) -> None:
        self.registry = CollectorRegistry()
        self.consumed = self._counter("bridge_records_consumed", "Records read from the transactions topic")
        self.predictions = self._counter("bridge_predictions_published", "Predictions that the broker confirmed")
        self.alerts = self._counter("bridge_alerts_published", "Alerts that the broker confirmed")
        self.dead_letters = Counter(
            "bridge_dead_letters_published",
            "Records that could not be scored, by reason",
            ["reason"],
            registry=self.registry,
        )
        self.found = Counter(
            "bridge_answers_found",
            "Transactions scored, by how the answer was found; more searches than usual mean that the data drifts",
            ["method"],
            registry=self.registry,
        )
        self.score_seconds = Histogram(
            "bridge_answer_seconds",
            "Time to decode, score and encode one poll",
            buckets=_STEP_BUCKETS_SECONDS,
            registry=self.registry,
        )
        self.delivery_seconds = Histogram(
            "bridge_delivery_seconds",
            "Time to publish and commit one poll",
            buckets=_STEP_BUCKETS_SECONDS,
            registry=self.registry,
        )
        self.latency_seconds = Histogram(
            "bridge_latency_seconds",
            "From timestamp_received to the confirmed prediction",
            buckets=_LATENCY_BUCKETS_SECONDS,
            registry=self.registry,
        )
        self.rebalances = self._counter("bridge_rebalances", "Times that the group assigned partitions to this process")
        self.assigned_partitions = Gauge(
            "bridge_assigned_partitions",
            "Partitions of the transactions topic that this process owns",
            registry=self.registry,
        )
        self.lag_records = Gauge(
            "bridge_lag_records",
            "Records of a partition that are not answered yet",
            ["topic", "partition"],
            registry=self.registry,
        )
        self.deaf_consumers = self._counter(
            "bridge_consumers_deaf", "Consumers made anew because none of what waits came"
        )
        model = Gauge("bridge_model_info", "The model that answers", ["model_version"], registry=self.registry)
        model.labels(model_version).set(1)

    def _counter(self, name: str, documentation: str) -> Counter:
        return Counter(name, documentation, registry=self.registry)
