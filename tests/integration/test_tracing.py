"""Traces from consume to publish, out of a real bridge, at a real collector."""

import signal
from pathlib import Path

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from bridge.embedded import free_port
from tests.artifacts import FRAUD
from tests.integration.broker import Broker
from tests.integration.collector import collector
from tests.integration.conftest import StartProcess
from tests.integration.deployment import READY, Deployment, transaction
from tests.integration.topics import Message, Topics

_TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
_SENDER = "00f067aa0ba902b7"
_HEADERS = [("traceparent", f"00-{_TRACE}-{_SENDER}-01".encode()), ("tracestate", b"vendor=1")]


async def test_a_traced_transaction_is_followed_to_its_prediction_and_its_alert(
    broker: Broker, topics: Topics, artifact: Path, start_process: StartProcess
) -> None:
    deployment = Deployment(topics, artifact, is_embedded=not broker.supports_transactions)
    await deployment.create_topics()
    await topics.produce(deployment.transactions, Message(transaction(FRAUD).value, headers=_HEADERS), transaction())
    with collector() as receiver:
        process = start_process("bridge", "run", **deployment.environment, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url)
        predictions = await deployment.wait_for_answers(2)
        (alert,) = await topics.wait_for(deployment.alerts, 1)
        process.send(signal.SIGTERM)
        assert await process.wait_for_end() == 0

    (span,) = [span for span in receiver.spans if span.parent_span_id.hex() == _SENDER]
    assert (span.trace_id.hex(), span.name) == (_TRACE, f"process {deployment.transactions}")
    assert span.kind == Span.SPAN_KIND_CONSUMER
    traceparent = ("traceparent", f"00-{_TRACE}-{span.span_id.hex()}-01".encode())
    (prediction,) = [prediction for prediction in predictions if prediction.headers]
    assert list(prediction.headers) == list(alert.headers) == [traceparent, _HEADERS[1]]
    assert receiver.services == {"neighborwatch-bridge"}
    polls = {span.span_id for span in receiver.spans if not span.parent_span_id}
    assert span.links[0].span_id in polls
    assert {"decode", "score", "encode", "send", f"commit {deployment.transactions}"} <= {
        step.name for step in receiver.spans if step.parent_span_id in polls
    }


async def test_a_collector_that_is_away_holds_nothing_up(
    broker: Broker, topics: Topics, artifact: Path, start_process: StartProcess
) -> None:
    deployment = Deployment(topics, artifact, is_embedded=not broker.supports_transactions)
    await deployment.create_topics()
    exporter = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}", "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    process = start_process("bridge", "run", **deployment.environment, **exporter)
    await process.wait_for_log(READY)
    await topics.produce(deployment.transactions, *[transaction() for _ in range(10)])

    await deployment.wait_for_answers(10)
    process.send(signal.SIGTERM)

    assert await process.wait_for_end(30) == 0
