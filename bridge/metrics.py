"""What the bridge counts and times, in a registry of its own that its HTTP port shows; docs/metrics.md has the table.

Whatever is counted for each record takes whole polls, and no label has a value that a sender can choose.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from aiokafka import TopicPartition
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from app.scoring.prediction import Method
from bridge.codec import REASONS_OF_ALERTS, Reason

_PROBABILITY_BOUNDS = (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)
_POLL_BUCKETS_RECORDS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
_LATENCY_BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_STEP_BUCKETS_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


class BatchHistogram(Collector):
    """A histogram that takes a whole poll at once: a tenth of the cost of one `observe` for each record."""

    def __init__(self, name: str, documentation: str, bounds: Sequence[float]) -> None:
        self._name = name
        self._documentation = documentation
        self._bounds = np.array([*bounds, np.inf])
        self._counts = np.zeros(len(self._bounds), dtype=np.int64)
        self._sum = 0.0

    def observe(self, values: npt.NDArray[np.float64]) -> None:
        """Count each value in the first bucket whose bound it does not exceed."""
        buckets = np.searchsorted(self._bounds, values, side="left")
        self._counts += np.bincount(buckets, minlength=len(self._counts))
        self._sum += float(values.sum())

    def collect(self) -> Iterator[HistogramMetricFamily]:
        bounds = [str(bound).replace("inf", "+Inf") for bound in self._bounds.tolist()]
        cumulative = np.cumsum(self._counts).tolist()
        buckets = list(zip(bounds, cumulative, strict=True))
        yield HistogramMetricFamily(self._name, self._documentation, buckets=buckets, sum_value=self._sum)

    def counts(self) -> npt.NDArray[np.int64]:
        """How many values are in each bucket, the one without a bound last."""
        return self._counts.copy()


class PartitionGauge(Collector):
    """A value for each partition that is owned now; all are replaced at once, so that none outlives its ownership."""

    def __init__(self, name: str, documentation: str) -> None:
        self.values: Mapping[TopicPartition, float] = {}
        self._name = name
        self._documentation = documentation

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily(self._name, self._documentation, labels=["topic", "partition"])
        for partition, value in self.values.items():
            family.add_metric([partition.topic, str(partition.partition)], value)
        yield family


class Metrics:
    """One instance a process, made in the composition root."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
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
        # From the start, because Prometheus sees no increase in a series that begins with its first count.
        for method in Method:
            self.found.labels(method)
        for reason in set(Reason) - REASONS_OF_ALERTS:
            self.dead_letters.labels(reason)
        self.fraud_probabilities = BatchHistogram(
            "bridge_fraud_probability", "Fraud probabilities of the predictions", _PROBABILITY_BOUNDS
        )
        self.poll_records = self._histogram(
            "bridge_poll_records", "Records of a partition that are answered at once", _POLL_BUCKETS_RECORDS
        )
        self.answer_seconds = self._step("bridge_answer_seconds", "Time to decode, score and encode one poll")
        self.decode_seconds = self._step("bridge_decode_seconds", "Time to decode one poll")
        self.score_seconds = self._step("bridge_score_seconds", "Time to score one poll, evidence of alerts included")
        self.encode_seconds = self._step("bridge_encode_seconds", "Time to encode the outputs of one poll")
        self.delivery_seconds = self._step("bridge_delivery_seconds", "Time to publish and commit one poll")
        self.publish_seconds = self._step(
            "bridge_publish_seconds",
            "Time until the broker confirmed the outputs of one poll; in a transaction its offset too",
        )
        self.commit_seconds = self._step(
            "bridge_commit_seconds", "Time until the broker confirmed the commit of one poll"
        )
        self.latency_seconds = BatchHistogram(
            "bridge_latency_seconds",
            "From timestamp_received to the confirmed prediction",
            _LATENCY_BUCKETS_SECONDS,
        )
        self.record_latency_seconds = BatchHistogram(
            "bridge_record_latency_seconds",
            "From the timestamp of the record in Kafka to the confirmed prediction or dead letter",
            _LATENCY_BUCKETS_SECONDS,
        )
        self.rebalances = self._counter("bridge_rebalances", "Times that the group assigned partitions to this process")
        self.aborted_transactions = self._counter(
            "bridge_transactions_aborted", "Polls whose transaction was given up, to be answered again"
        )
        self.assigned_partitions = self._gauge(
            "bridge_assigned_partitions", "Partitions of the transactions topic that this process owns"
        )
        self.lag_records = PartitionGauge("bridge_lag_records", "Records of a partition that are not answered yet")
        self.lag_seconds = PartitionGauge(
            "bridge_lag_seconds", "Age of the oldest record of a partition that is not answered yet; 0 without one"
        )
        self.catch_up_seconds = self._gauge(
            "bridge_catch_up_seconds",
            "Time until nothing waits any more, at the rates of the last half minute; +Inf while the lag grows",
        )
        self.event_loop_lag_seconds = self._step(
            "bridge_event_loop_lag_seconds", "How much later than asked the event loop came back to a waiting task"
        )
        self.deaf_consumers = self._counter(
            "bridge_consumers_deaf", "Consumers made anew because none of what waits came"
        )
        self._model = Gauge("bridge_model_info", "The model that answers", ["model_version"], registry=self.registry)
        for collector in (
            self.fraud_probabilities,
            self.latency_seconds,
            self.record_latency_seconds,
            self.lag_records,
            self.lag_seconds,
        ):
            self.registry.register(collector)

    def watch_model(self, pid: int) -> None:
        """Show what the process that holds the model takes, beside what this one does."""
        ProcessCollector(namespace="bridge_model", pid=lambda: pid, registry=self.registry)

    def name_model(self, model_version: str) -> None:
        """Say which model answers, once it is loaded."""
        self._model.labels(model_version).set(1)

    def _counter(self, name: str, documentation: str) -> Counter:
        return Counter(name, documentation, registry=self.registry)

    def _gauge(self, name: str, documentation: str) -> Gauge:
        return Gauge(name, documentation, registry=self.registry)

    def _histogram(self, name: str, documentation: str, buckets: Sequence[float]) -> Histogram:
        return Histogram(name, documentation, buckets=buckets, registry=self.registry)

    def _step(self, name: str, documentation: str) -> Histogram:
        return self._histogram(name, documentation, _STEP_BUCKETS_SECONDS)
