"""What the scorer counts and times behind HTTP; the requests themselves are measured by the instrumentator.

With one process the numbers live in it. With several workers each keeps its own in files of a directory that all share
(prometheus_client's multiprocess mode), and whichever worker is asked answers with the sums.
"""

import os
from collections import Counter as Tally
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, ProcessCollector, multiprocess
from prometheus_client.registry import Collector

from app.scoring.prediction import Method, Prediction

_BUCKETS_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)

_NOT_SUMMED = ("process_max_fds", "process_start_time_seconds")
_CHILDREN_USER_TIME = 13  # in /proc/…/stat behind the name, and behind it the time in the system


class Metrics:
    """One instance an application, on the application's own registry."""

    def __init__(self, registry: CollectorRegistry, model_version: str) -> None:
        self.scored = Counter("app_transactions_scored", "Transactions scored", registry=registry)
        self.frauds = Counter(
            "app_transactions_called_fraud", "Transactions that reached the threshold", registry=registry
        )
        self.refused = Counter(
            "app_requests_refused",
            "Requests refused because too many were in hand, which http_requests does not count",
            registry=registry,
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
        # Of the workers that live, as the file may be another one for a worker that was started later.
        Gauge(
            "app_model_info",
            "The model that answers",
            ["model_version"],
            registry=registry,
            multiprocess_mode="livemax",
        ).labels(model_version).set(1)

    def count(self, predictions: Sequence[Prediction]) -> None:
        """Count answers to one request."""
        self.scored.inc(len(predictions))
        self.frauds.inc(sum(prediction.is_fraud for prediction in predictions))
        for method, count in Tally([prediction.method for prediction in predictions]).items():
            self.found[method].inc(count)


def shown_registry(own: CollectorRegistry, workers_directory: Path | None) -> CollectorRegistry:
    """What `/metrics` shows: the process's own registry, or the sums over all workers where there are several."""
    if workers_directory is None:
        ProcessCollector(registry=own)
        return own
    shown = CollectorRegistry()
    multiprocess.MultiProcessCollector(shown, str(workers_directory))  # type: ignore[no-untyped-call] # it has none
    shown.register(_ProcessesCollector(os.getppid(), workers_directory))
    return shown


def forget_dead_workers(workers_directory: Path, living: Collection[int]) -> None:
    """Take away what only the living say. What the dead have counted stays, so that no counter goes backwards."""
    for pid in _workers(workers_directory) - set(living):
        multiprocess.mark_process_dead(pid, str(workers_directory))  # type: ignore[no-untyped-call] # it has none


class _ProcessesCollector(Collector):
    """What `ProcessCollector` shows of one process, of a supervisor and its workers together."""

    def __init__(self, supervisor: int, workers_directory: Path) -> None:
        self._supervisor = supervisor
        self._workers_directory = workers_directory

    def collect(self) -> Iterator[Metric]:
        shown = {metric.name: metric for metric in _of_process(self._supervisor)}
        for worker in _workers(self._workers_directory):
            for metric in _of_process(worker):
                if metric.name in shown and metric.name not in _NOT_SUMMED:
                    _add(shown[metric.name], metric.samples[0].value)
        if (processor := shown.get("process_cpu_seconds")) is not None:
            _add(processor, _seconds_of_the_dead(self._supervisor))
        yield from shown.values()


def _of_process(pid: int) -> Iterable[Metric]:
    return ProcessCollector(pid=lambda: pid, registry=None).collect()


def _add(metric: Metric, value: float) -> None:
    (sample,) = metric.samples
    metric.samples = [sample._replace(value=sample.value + value)]


def _workers(directory: Path) -> set[int]:
    """The processes that have a value which only the living have."""
    return {int(file.stem.rpartition("_")[2]) for file in directory.glob("gauge_live*.db")}


def _seconds_of_the_dead(supervisor: int) -> float:
    """Processor time of the children that have ended, which the system adds up for their parent."""
    try:
        fields = Path(f"/proc/{supervisor}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return 0.0
    of_children = fields[_CHILDREN_USER_TIME : _CHILDREN_USER_TIME + 2]
    return sum(map(int, of_children)) / os.sysconf("SC_CLK_TCK")
