"""What the scorer counts and times behind HTTP; the requests themselves are measured by the instrumentator."""

from collections import Counter as Tally
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from app.scoring.prediction import Method, Prediction

_BUCKETS_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)


class Metrics:
    """One instance an application, on the application's own registry."""

    def __init__(self, registry: CollectorRegistry, model_version: str) -> None:
        ProcessCollector(registry=registry)
        self.scored = Counter("app_transactions_scored", "Transactions scored", registry=registry)
        self.frauds = Counter(
            "app_transactions_called_fraud", "Transactions that reached the threshold", registry=registry
        )
        found = Counter(
            "app_answers_found",
            "Transactions scored, by how the answer was found; more searches than usual mean that the data drifts",
            ["method"],
            registry=registry,
        )
        self.found = {method: found.labels(method) for method in Method}
        self.score_seconds = Histogram(
            "app_score_seconds", "Time to score one request", buckets=_BUCKETS_SECONDS, registry=registry
        )
        Gauge("app_model_info", "The model that answers", ["model_version"], registry=registry).labels(
            model_version
        ).set(1)

    def count(self, predictions: Sequence[Prediction]) -> None:
        """Count answers to one request."""
        self.scored.inc(len(predictions))
        self.frauds.inc(sum(prediction.is_fraud for prediction in predictions))
        for method, count in Tally([prediction.method for prediction in predictions]).items():
            self.found[method].inc(count)
