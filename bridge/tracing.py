"""A transaction's trace through the bridge: nobody follows it, unless OpenTelemetry is there and told where to export.

The variables are OpenTelemetry's own, OTEL_…, out of the environment. What is traced, and how, is in `bridge.spans`,
which alone imports OpenTelemetry: it is an extra.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import structlog

from bridge.codec import Record
from bridge.delivery import Output
from bridge.errors import SettingsError

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PROTOCOL = "http/protobuf"

_log = structlog.get_logger(__name__)


class Steps(NamedTuple):
    """How long each step of a poll took that is committed, in their order."""

    decode_seconds: float
    score_seconds: float
    encode_seconds: float
    publish_seconds: float
    commit_seconds: float


class PollTrace(Protocol):
    """What is told of one poll, and of those of its transactions that are traced."""

    def stamp(self, outputs: list[Output]) -> None:
        """Let the outputs of traced transactions say that they come of this poll."""

    def end(self, steps: Steps) -> None:
        """The poll is committed."""

    def fail(self, error: BaseException) -> None:
        """Nothing of the poll was committed."""


class Tracer(Protocol):
    """Follows polls; may be called from several threads."""

    def begin(self, records: Sequence[Record]) -> PollTrace:
        """A poll of one partition, before it is answered."""


class Untraced:
    """Neither asks nor tells anything."""

    def begin(self, _: Sequence[Record]) -> PollTrace:
        return self

    def stamp(self, outputs: list[Output]) -> None:
        """Leave them as they are: a `traceparent` that came with a transaction goes on as it is."""

    def end(self, steps: Steps) -> None:
        """Nothing was begun."""

    def fail(self, error: BaseException) -> None:
        """Nothing was begun."""


UNTRACED = Untraced()


@contextlib.asynccontextmanager
async def tracing(environment: Mapping[str, str], group_id: str) -> AsyncIterator[Tracer]:
    """While the context lasts, what the OTEL_ variables ask for; at its end, what was told is exported.

    Raises:
        SettingsError: they ask for an exporter or a protocol that is not here.
    """
    exporter = _exporter(environment)
    if exporter == "none":
        yield UNTRACED
        return
    protocol = next((environment[name] for name in _PROTOCOLS if environment.get(name)), _PROTOCOL)
    if exporter not in {"otlp", "console"} or protocol != _PROTOCOL:
        raise SettingsError(
            f"Traces are exported by otlp over {_PROTOCOL}, or to the console; OTEL_TRACES_EXPORTER is "
            f"{exporter}, OTEL_EXPORTER_OTLP_PROTOCOL {protocol}."
        )
    try:
        from bridge import spans  # noqa: PLC0415 - an extra, and half a second that only those pay who have traces
    except ModuleNotFoundError as error:
        # Unanswered transactions are worse than untraced ones, and an orchestrator may set the variables for everybody.
        _log.warning("the bridge is not traced: install the extra otel", missing=error.name)
        yield UNTRACED
        return
    provider = spans.make_provider(environment, exporter)
    _log.info("the bridge is traced", exporter=exporter)
    try:
        yield spans.SpanTracer(provider, group_id)
    finally:
        await asyncio.to_thread(provider.shutdown)


def _exporter(environment: Mapping[str, str]) -> str:
    """OpenTelemetry's own default is to export to this machine; here, nothing said means nothing exported."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return "none"
    has_endpoint = any(environment.get(name) for name in _ENDPOINTS)
    return environment.get("OTEL_TRACES_EXPORTER") or ("otlp" if has_endpoint else "none")
