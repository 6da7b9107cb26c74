"""The bridge's processes against a broker behind TLS and SASL, and against things that are in its way."""

import base64
import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.integration.broker import Broker, SecuredBroker
from tests.integration.conftest import StartProcess
from tests.integration.deployment import READY, Deployment, transaction
from tests.integration.topics import Topics

_NO_PASSWORDS = "the embedded broker has no passwords"


@pytest.fixture
async def deployment(secured_broker: SecuredBroker, artifact: Path) -> Deployment:
    """Topics that the tests look at through the listener without passwords."""
    deployment = Deployment(Topics(secured_broker.connection), artifact)
    await deployment.create_topics()
    return deployment


@pytest.mark.real_kafka(reason=_NO_PASSWORDS)
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
async def test_it_answers_behind_tls_and_a_password(
    secured_broker: SecuredBroker, deployment: Deployment, mechanism: str, start_process: StartProcess
) -> None:
    await deployment.topics.produce(deployment.transactions, transaction())

    start_process("bridge", "run", **(deployment.environment | secured_broker.environment(mechanism)))

    await deployment.wait_for_answers(1)


class _TokenEndpoint(ThreadingHTTPServer):
    """Gives out tokens that the broker believes without a signature."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _TokenHandler)
        self.authorizations: list[str] = []


class _TokenHandler(BaseHTTPRequestHandler):
    server: _TokenEndpoint

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.authorizations.append(self.headers["Authorization"])
        now = int(time.time())
        parts = ({"alg": "none"}, {"sub": "bridge", "iat": now, "exp": now + 3_600})
        token = ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
        answer = json.dumps({"access_token": f"{token}.", "expires_in": 3_600}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def token_endpoint() -> Iterator[_TokenEndpoint]:
    with _TokenEndpoint() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.real_kafka(reason=_NO_PASSWORDS)
async def test_it_answers_with_tokens(
    secured_broker: SecuredBroker, deployment: Deployment, token_endpoint: _TokenEndpoint, start_process: StartProcess
) -> None:
    await deployment.topics.produce(deployment.transactions, transaction())
    settings = secured_broker.environment("OAUTHBEARER")
    settings["BRIDGE_SASL_OAUTH_TOKEN_URL"] = f"http://127.0.0.1:{token_endpoint.server_port}/token"

    start_process("bridge", "run", **(deployment.environment | settings))

    await deployment.wait_for_answers(1)
    expected = base64.b64encode(f"{secured_broker.username}:{secured_broker.password}".encode()).decode()
    assert set(token_endpoint.authorizations) == {f"Basic {expected}"}


@pytest.mark.real_kafka(reason=_NO_PASSWORDS)
@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"BRIDGE_SASL_PASSWORD": "wrong-and-secret"}, "refused the connection: "),
        ({"BRIDGE_SSL_CA_FILE": ""}, "refused the connection: its certificate is not trusted"),
    ],
    ids=["a wrong password", "an unknown authority"],
)
async def test_a_refusal_is_one_sentence_at_once(
    secured_broker: SecuredBroker,
    deployment: Deployment,
    changes: dict[str, str],
    sentence: str,
    start_process: StartProcess,
) -> None:
    settings = deployment.environment | secured_broker.environment("SCRAM-SHA-256") | changes
    process = start_process("bridge", "run", **settings, BRIDGE_BROKER_TIMEOUT_SECONDS="600")

    assert await process.wait_for_end() == 1
    assert sentence in process.log.splitlines()[-1]
    assert "Traceback" not in process.log
    assert "wrong-and-secret" not in process.log


@pytest.mark.real_kafka(reason=_NO_PASSWORDS)
async def test_a_token_endpoint_that_is_away_is_one_sentence(
    secured_broker: SecuredBroker, deployment: Deployment, token_endpoint: _TokenEndpoint, start_process: StartProcess
) -> None:
    token_endpoint.server_close()
    address = f"http://127.0.0.1:{token_endpoint.server_port}/token"
    settings = secured_broker.environment("OAUTHBEARER") | {"BRIDGE_SASL_OAUTH_TOKEN_URL": address}
    process = start_process("bridge", "run", **(deployment.environment | settings))

    assert await process.wait_for_end() == 1
    assert process.log.splitlines()[-1].startswith(f"The token endpoint {address} gave no token")
    assert "Traceback" not in process.log


async def test_a_taken_http_port_is_one_sentence(
    broker: Broker, topics: Topics, artifact: Path, start_process: StartProcess
) -> None:
    deployment = Deployment(topics, artifact, is_embedded=not broker.supports_transactions)
    await deployment.create_topics()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        process = start_process("bridge", "run", **(deployment.environment | {"BRIDGE_HTTP_PORT": port}))
        assert await process.wait_for_end() == 1

    assert process.log.splitlines()[-1].startswith(f"The HTTP port 127.0.0.1:{port} cannot be used")
    assert READY not in process.log
    assert "Traceback" not in process.log
