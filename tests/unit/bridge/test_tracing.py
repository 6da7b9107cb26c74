import sys

import pytest

from bridge.errors import SettingsError
from bridge.tracing import UNTRACED, tracing

_COLLECTOR = "http://127.0.0.1:9"


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_SERVICE_NAME": "fraud"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": _COLLECTOR, "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": _COLLECTOR, "OTEL_TRACES_EXPORTER": "none"},
    ],
    ids=str,
)
async def test_nothing_is_traced_unless_the_environment_asks_for_it(environment: dict[str, str]) -> None:
    async with tracing(environment, "bridges") as tracer:
        assert tracer is UNTRACED


@pytest.mark.parametrize(
    "environment",
    [
        {"OTEL_EXPORTER_OTLP_ENDPOINT": _COLLECTOR},
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{_COLLECTOR}/v1/traces"},
        {"OTEL_TRACES_EXPORTER": "otlp"},
    ],
    ids=str,
)
async def test_it_is_traced_when_the_environment_says_where_to(environment: dict[str, str]) -> None:
    async with tracing(environment, "bridges") as tracer:
        assert tracer is not UNTRACED


@pytest.mark.parametrize(
    "environment",
    [
        {"OTEL_TRACES_EXPORTER": "zipkin"},
        {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
        {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"},
    ],
    ids=str,
)
async def test_what_it_cannot_do_is_a_sentence(environment: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="exported by otlp over http/protobuf, or to the console"):
        async with tracing(environment, "bridges"):
            pass


async def test_without_the_extra_the_bridge_runs_untraced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    for name in [name for name in sys.modules if name.startswith("opentelemetry.") or name == "bridge.spans"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("bridge.spans", raising=False)

    async with tracing({"OTEL_EXPORTER_OTLP_ENDPOINT": _COLLECTOR}, "bridges") as tracer:
        assert tracer is UNTRACED
