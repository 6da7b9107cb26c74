"""The spans of a poll, by OpenTelemetry's conventions for messaging.

They are at https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/. A poll belongs to as many traces as
it has records, so it has a trace of its own:

- `process <topic>`, from the first record decoded to the offset committed, with a link to each record's
  `traceparent`, as many as OTEL_SPAN_LINK_COUNT_LIMIT allows;
- below it `decode`, `score`, `encode`, `send` and `commit <topic>`.

A transaction whose sender has it sampled gets a span in its sender's trace besides: `process <topic>`, from consume to
commit, child of its `traceparent`, with a link to the poll's. What comes of it, the prediction, the alert and the
scaled features, carries that span as its `traceparent`. A dead letter keeps the sender's, as all that it came with.
Nothing of a card, its key included, is in a span.
"""

import re
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)
from opentelemetry.util.types import AttributeValue

from app import __version__
from bridge.codec import Headers, Record
from bridge.delivery import Output
from bridge.tracing import Steps

_SERVICE = "neighborwatch-bridge"
_TRACEPARENT = "traceparent"
# https://www.w3.org/TR/trace-context/#traceparent-header: versions after 00 may have more behind the flags.
_FORMAT = re.compile(rb"(?!ff|00.{54})[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_NANOSECONDS = 1_000_000_000


class _Sent(NamedTuple):
    """A record whose sender traces it."""

    record: Record
    context: SpanContext


class _Traced(NamedTuple):
    """A record with a span in its sender's trace."""

    record: Record
    span: Span


def make_provider(environment: Mapping[str, str], exporter: str) -> TracerProvider:
    """What exports spans to where OpenTelemetry's variables say, with its limits, sampler and batches by them too."""
    named = environment.get("OTEL_SERVICE_NAME") or f"{SERVICE_NAME}=" in environment.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )
    name = {} if named else {SERVICE_NAME: _SERVICE}
    provider = TracerProvider(resource=Resource.create({**name, SERVICE_VERSION: __version__}), shutdown_on_exit=False)
    provider.add_span_processor(
        BatchSpanProcessor(ConsoleSpanExporter() if exporter == "console" else OTLPSpanExporter())
    )
    return provider


class SpanTracer:
    """Begins the spans of polls."""

    def __init__(self, provider: TracerProvider, group_id: str) -> None:
        self._tracer = provider.get_tracer("neighborwatch", __version__)
        self._group_id = group_id
        self._max_links = SpanLimits().max_links

    def begin(self, records: Sequence[Record]) -> "PollSpans":
        first = records[0]
        topic, begun_ns = first.topic, time.time_ns()
        sent = [_Sent(record, context) for record in records if (context := _context(record.headers)) is not None]
        attributes: dict[str, AttributeValue] = {
            "messaging.system": "kafka",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": topic,
            "messaging.destination.partition.id": str(first.partition),
            "messaging.consumer.group.name": self._group_id,
        }
        poll = self._tracer.start_span(
            f"process {topic}",
            kind=SpanKind.CONSUMER,
            attributes={**attributes, "messaging.batch.message_count": len(records)},
            links=[Link(context) for _, context in sent[: self._max_links]],
            start_time=begun_ns,
        )
        traced = [
            _Traced(record, self._begin_one(record, context, attributes, poll, begun_ns))
            for record, context in sent
            if context.trace_flags.sampled
        ]
        return PollSpans(self, poll, [one for one in traced if one.span.is_recording()], topic, begun_ns)

    def _begin_one(
        self,
        record: Record,
        parent: SpanContext,
        attributes: Mapping[str, AttributeValue],
        poll: Span,
        begun_ns: int,
    ) -> Span:
        return self._tracer.start_span(
            f"process {record.topic}",
            context=set_span_in_context(NonRecordingSpan(parent)),
            kind=SpanKind.CONSUMER,
            attributes={**attributes, "messaging.kafka.offset": record.offset},
            links=[Link(poll.get_span_context())],
            start_time=begun_ns,
        )

    def tell(  # noqa: PLR0913, PLR0917 - a span, told when it is over
        self,
        name: str,
        parent: Span,
        started_ns: int,
        ended_ns: int,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Mapping[str, AttributeValue] | None = None,
    ) -> None:
        """A span that is over already."""
        context = set_span_in_context(parent)
        span = self._tracer.start_span(name, context, kind, attributes, start_time=started_ns)
        span.end(ended_ns)


class PollSpans:
    """The span of a poll, and those of the transactions in it that are traced."""

    def __init__(self, tracer: SpanTracer, poll: Span, traced: Sequence[_Traced], topic: str, begun_ns: int) -> None:
        self._tracer = tracer
        self._poll = poll
        self._traced = traced
        self._topic = topic
        self._begun_ns = begun_ns
        self._n_outputs = 0

    def stamp(self, outputs: list[Output]) -> None:
        """Put the span of a traced transaction in the place of its `traceparent`.

        An output of a transaction has its record's very headers; those of a dead letter are others, and stay.
        """
        self._n_outputs = len(outputs)
        if not self._traced:
            return
        stamped = {id(record.headers): _stamped(record.headers, span) for record, span in self._traced}
        for place, output in enumerate(outputs):
            headers = stamped.get(id(output.headers))
            if headers is not None:
                outputs[place] = output._replace(headers=headers)

    def end(self, steps: Steps) -> None:
        ended_ns = time.time_ns()
        if self._poll.is_recording():
            self._tell_steps(steps, ended_ns)
        self._end_all(ended_ns)

    def fail(self, error: BaseException) -> None:
        status = Status(StatusCode.ERROR, "nothing of the poll was committed")
        for span in (self._poll, *(span for _, span in self._traced)):
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(status)
        self._end_all(time.time_ns())

    def _tell_steps(self, steps: Steps, ended_ns: int) -> None:
        at_ns = self._begun_ns
        for name, seconds in (
            ("decode", steps.decode_seconds),
            ("score", steps.score_seconds),
            ("encode", steps.encode_seconds),
        ):
            started_ns, at_ns = at_ns, at_ns + _ns(seconds)
            self._tracer.tell(name, self._poll, started_ns, at_ns)
        # Between encoding and publishing a poll may wait for the delivery of the one before it.
        published_ns = ended_ns - _ns(steps.commit_seconds)
        system = {"messaging.system": "kafka"}
        send = {"messaging.operation.name": "send", "messaging.operation.type": "send"}
        count = {"messaging.batch.message_count": self._n_outputs}
        started_ns = published_ns - _ns(steps.publish_seconds)
        self._tracer.tell("send", self._poll, started_ns, published_ns, SpanKind.CLIENT, {**system, **send, **count})
        commit = {"messaging.operation.name": "commit", "messaging.operation.type": "settle"}
        where = {"messaging.destination.name": self._topic}
        self._tracer.tell(
            f"commit {self._topic}",
            self._poll,
            published_ns,
            ended_ns,
            SpanKind.CLIENT,
            {**system, **commit, **where},
        )

    def _end_all(self, ended_ns: int) -> None:
        for _, span in self._traced:
            span.end(ended_ns)
        self._poll.end(ended_ns)


def _context(headers: Headers) -> SpanContext | None:
    """What the sender's `traceparent` names, or None where there is none, or none that is valid."""
    for name, value in headers:
        if name == _TRACEPARENT:
            found = _FORMAT.fullmatch(value or b"")
            break
    else:
        return None
    if found is None:
        return None
    flags = TraceFlags(int(found[3], 16))
    state = _state(headers) if flags.sampled else None
    context = SpanContext(int(found[1], 16), int(found[2], 16), is_remote=True, trace_flags=flags, trace_state=state)
    return context if context.is_valid else None


def _state(headers: Headers) -> TraceState:
    values = [value.decode("ascii", "replace") for name, value in headers if name == "tracestate" and value]
    return TraceState.from_header(values)


def _stamped(headers: Headers, span: Span) -> Headers:
    context = span.get_span_context()
    flags = int(context.trace_flags)
    value = f"00-{context.trace_id:032x}-{context.span_id:016x}-{flags:02x}".encode()
    return [(name, value if name == _TRACEPARENT else old) for name, old in headers]


def _ns(seconds: float) -> int:
    return round(seconds * _NANOSECONDS)
