import numpy as np
from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram

from bridge.metrics import BatchHistogram, PartitionGauge

_BOUNDS = (0.0, 0.25, 1.0)
_VALUES = st.lists(st.floats(-2.0, 2.0), max_size=20)


def _samples(collector: BatchHistogram | PartitionGauge) -> dict[tuple[str, str], float]:
    registry = CollectorRegistry()
    registry.register(collector)
    return {
        (sample.name, "".join(sample.labels.values())): sample.value
        for family in registry.collect()
        for sample in family.samples
    }


@given(st.lists(_VALUES, max_size=4))
def test_a_poll_at_once_is_counted_as_its_values_one_by_one(polls: list[list[float]]) -> None:
    batches = BatchHistogram("bridge_seconds", "Seconds", _BOUNDS)
    registry = CollectorRegistry()
    single = Histogram("bridge_seconds", "Seconds", buckets=_BOUNDS, registry=registry)
    for poll in polls:
        batches.observe(np.array(poll))
        for value in poll:
            single.observe(value)

    buckets = {
        sample.labels["le"]: sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "bridge_seconds_bucket"
    }
    found = {bound: value for (name, bound), value in _samples(batches).items() if name == "bridge_seconds_bucket"}
    assert found == buckets


@given(_VALUES)
def test_its_buckets_hold_every_value_once(values: list[float]) -> None:
    histogram = BatchHistogram("bridge_seconds", "Seconds", _BOUNDS)
    histogram.observe(np.array(values))

    assert histogram.counts().sum() == len(values)


def test_a_partition_that_is_no_longer_owned_is_not_shown() -> None:
    gauge = PartitionGauge("bridge_lag_records", "Lag")
    gauge.values = {TopicPartition("transactions", 0): 3.0, TopicPartition("transactions", 1): 4.0}
    gauge.values = {TopicPartition("transactions", 1): 5.0}

    assert _samples(gauge) == {("bridge_lag_records", "transactions1"): 5.0}
