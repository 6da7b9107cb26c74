"""The spans of a poll, read back from an exporter in memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext, SpanKind, StatusCode, format_span_id, format_trace_id

from bridge.codec import Headers
from bridge.delivery import Output
from bridge.spans import SpanTracer, make_provider
from bridge.tracing import Steps

_STEPS = Steps(0.001, 0.002, 0.003, 0.004, 0.005)
_TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
_SENDER = "00f067aa0ba902b7"
_SAMPLED = f"00-{_TRACE}-{_SENDER}-01".encode()
_UNSAMPLED = f"00-{_TRACE}-{_SENDER}-00".encode()
_KEY = b"card-4711"


@dataclass
class _Record:
    headers: Headers = ()
    offset: int = 7
    topic: str = "transactions"
    partition: int = 2
    timestamp: int = 0
    key: bytes | None = _KEY
    value: bytes | None = b"{}"


def _record(traceparent: bytes | None = None, *more: tuple[str, bytes]) -> _Record:
    return _Record([] if traceparent is None else [("traceparent", traceparent), *more])


@dataclass
class _Traces:
    """What is told, and to whom."""

    exporter: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)
    provider: TracerProvider = field(default_factory=lambda: TracerProvider(resource=Resource({})))

    def __post_init__(self) -> None:
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = SpanTracer(self.provider, "bridges")

    def of(self, *records: _Record) -> list[ReadableSpan]:
        self.tracer.begin(records).end(_STEPS)
        return self.spans()

    def spans(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())


@pytest.fixture
def traces() -> Iterator[_Traces]:
    made = _Traces()
    yield made
    made.provider.shutdown()


def _polls(spans: Sequence[ReadableSpan]) -> list[ReadableSpan]:
    return [span for span in spans if span.name.startswith("process ") and span.parent is None]


def _of_sender(spans: Sequence[ReadableSpan]) -> list[ReadableSpan]:
    return [span for span in spans if span.parent is not None and format_span_id(span.parent.span_id) == _SENDER]


def _own(span: ReadableSpan) -> SpanContext:
    context = span.get_span_context()
    assert context is not None
    return context


def _traceparent(span: ReadableSpan) -> bytes:
    context = _own(span)
    return f"00-{format_trace_id(context.trace_id)}-{format_span_id(context.span_id)}-01".encode()


def test_a_poll_has_a_trace_of_its_own_with_a_span_for_each_step(traces: _Traces) -> None:
    spans = traces.of(_record(), _record())

    (poll,) = _polls(spans)
    steps = [span for span in spans if span is not poll]
    assert [span.name for span in steps] == ["decode", "score", "encode", "send", "commit transactions"]
    assert {span.parent.span_id for span in steps if span.parent} == {_own(poll).span_id}
    assert [(span.end_time or 0) - (span.start_time or 0) for span in steps] == [
        round(1e9 * seconds) for seconds in _STEPS
    ]


def test_a_poll_says_what_the_conventions_ask_for(traces: _Traces) -> None:
    (poll,) = _polls(traces.of(_record(), _record(), _record()))

    assert (poll.name, poll.kind) == ("process transactions", SpanKind.CONSUMER)
    assert poll.attributes == {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "transactions",
        "messaging.destination.partition.id": "2",
        "messaging.consumer.group.name": "bridges",
        "messaging.batch.message_count": 3,
    }


def test_a_poll_is_linked_to_every_trace_that_it_serves(traces: _Traces) -> None:
    (poll,) = _polls(traces.of(_record(_SAMPLED), _record(), _record(_UNSAMPLED)))

    assert [(format_span_id(link.context.span_id), link.context.trace_flags.sampled) for link in poll.links] == [
        (_SENDER, True),
        (_SENDER, False),
    ]


def test_a_poll_has_no_more_links_than_a_span_may_have(traces: _Traces) -> None:
    (poll,) = _polls(traces.of(*[_record(_UNSAMPLED)] * 200))

    assert (len(poll.links), poll.dropped_links) == (128, 0)


def test_a_sampled_transaction_has_a_span_in_its_senders_trace(traces: _Traces) -> None:
    spans = traces.of(_record(_SAMPLED))

    (poll,), (one,) = _polls(spans), _of_sender(spans)
    assert format_trace_id(_own(one).trace_id) == _TRACE
    assert one.kind == SpanKind.CONSUMER
    assert one.attributes is not None
    assert one.attributes["messaging.kafka.offset"] == 7
    assert [link.context.span_id for link in one.links] == [_own(poll).span_id]
    assert (one.start_time, one.end_time) == (poll.start_time, poll.end_time)


@pytest.mark.parametrize(
    "traceparent",
    [
        None,
        _UNSAMPLED,
        b"",
        b"00-abc",
        _SAMPLED + b"-more",
        b"ff" + _SAMPLED[2:],
        _SAMPLED.upper(),
        _SAMPLED.replace(_TRACE.encode(), b"0" * 32),
        _SAMPLED.replace(_SENDER.encode(), b"0" * 16),
    ],
)
def test_what_is_not_sampled_or_not_valid_gets_no_span(traceparent: bytes | None, traces: _Traces) -> None:
    record = _record(traceparent)
    output = Output("predictions", 2, _KEY, b"{}", record.headers)
    outputs = [output]

    trace = traces.tracer.begin([record])
    trace.stamp(outputs)
    trace.end(_STEPS)

    assert _of_sender(traces.spans()) == []
    assert outputs[0] is output


def test_a_later_version_of_the_header_is_understood(traces: _Traces) -> None:
    assert len(_of_sender(traces.of(_record(b"01" + _SAMPLED[2:] + b"-more")))) == 1


def test_what_the_senders_tracer_keeps_beside_it_is_kept(traces: _Traces) -> None:
    (one,) = _of_sender(traces.of(_record(_SAMPLED, ("tracestate", b"vendor=1"))))

    assert _own(one).trace_state.to_header() == "vendor=1"


def test_outputs_of_a_traced_transaction_carry_its_span_and_all_others_what_came(traces: _Traces) -> None:
    traced, other = _record(_SAMPLED, ("tracestate", b"vendor=1"), ("raw", b"\xff")), _record(_UNSAMPLED)
    outputs = [
        Output("predictions", 2, _KEY, b"{}", traced.headers),
        Output("alerts", 2, _KEY, b"{}", traced.headers),
        Output("predictions", 2, _KEY, b"{}", other.headers),
        Output("predictions", 2, _KEY, b"{}"),
        Output("dead letters", 2, _KEY, b"{}", [*traced.headers, ("neighborwatch-reason", b"invalid_json")]),
    ]

    trace = traces.tracer.begin([traced, other])
    trace.stamp(outputs)
    trace.end(_STEPS)

    (one,) = _of_sender(traces.spans())
    prediction, alert, untraced, bare, dead_letter = (list(output.headers) for output in outputs)
    assert prediction == alert == [("traceparent", _traceparent(one)), ("tracestate", b"vendor=1"), ("raw", b"\xff")]
    assert untraced == [("traceparent", _UNSAMPLED)]
    assert bare == []
    assert dead_letter[:3] == list(traced.headers)


def test_a_poll_that_is_not_committed_is_an_error_in_every_trace(traces: _Traces) -> None:
    traces.tracer.begin([_record(_SAMPLED)]).fail(TimeoutError("nothing of a card"))

    spans = traces.spans()
    assert [span.status.status_code for span in spans] == [StatusCode.ERROR] * 2
    assert [(span.attributes or {})["error.type"] for span in spans] == ["TimeoutError"] * 2


def test_nothing_of_a_card_is_told(traces: _Traces) -> None:
    record = _record(_SAMPLED)
    record.value = b'{"card_id": "card-4711"}'

    told = "".join(span.to_json() for span in traces.of(record))

    assert "4711" not in told


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({}, "neighborwatch-bridge"),
        ({"OTEL_SERVICE_NAME": "fraud"}, "fraud"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=fraud,region=eu"}, "fraud"),
    ],
)
def test_the_service_has_the_name_that_the_environment_gives(
    environment: dict[str, str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)

    provider = make_provider(environment, "otlp")
    provider.shutdown()

    assert provider.resource.attributes["service.name"] == name
