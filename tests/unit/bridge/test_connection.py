import base64
import json
import threading
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from aiokafka.errors import KafkaError

from bridge.connection import ClientCredentials, connection_arguments
from bridge.errors import BrokerRefusedError, SettingsError
from bridge.settings import Settings


class TokenEndpoint(ThreadingHTTPServer):
    """An OAuth 2.0 token endpoint that numbers its tokens and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.status = 200
        self.expires_in = 3_600
        self.url = f"http://127.0.0.1:{self.server_port}/token"


class _Handler(BaseHTTPRequestHandler):
    server: TokenEndpoint

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.asked.append((self.headers["Authorization"], dict(urllib.parse.parse_qsl(body))))
        token = f"token-{len(self.server.asked)}"
        answer = json.dumps({"access_token": token, "expires_in": self.server.expires_in}).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def endpoint() -> Iterator[TokenEndpoint]:
    with TokenEndpoint() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


async def test_a_token_is_asked_for_by_client_credentials(endpoint: TokenEndpoint) -> None:
    assert await ClientCredentials(endpoint.url, "me", "secret", "kafka").token() == "token-1"

    authorization = "Basic " + base64.b64encode(b"me:secret").decode()
    assert endpoint.asked == [(authorization, {"grant_type": "client_credentials", "scope": "kafka"})]


async def test_a_token_is_kept_while_it_is_good(endpoint: TokenEndpoint) -> None:
    provider = ClientCredentials(endpoint.url, "me", "secret")

    assert [await provider.token() for _ in range(3)] == ["token-1"] * 3


async def test_a_token_is_renewed_before_it_ends(endpoint: TokenEndpoint) -> None:
    provider = ClientCredentials(endpoint.url, "me", "secret")
    endpoint.expires_in = 1

    assert [await provider.token() for _ in range(2)] == ["token-1", "token-2"]


async def test_an_endpoint_that_refuses_is_named(endpoint: TokenEndpoint) -> None:
    endpoint.status = 401

    with pytest.raises(BrokerRefusedError, match=f"^The token endpoint {endpoint.url} gave no token"):
        await ClientCredentials(endpoint.url, "me", "wrong").token()


async def test_an_endpoint_that_is_not_there_is_named(endpoint: TokenEndpoint) -> None:
    endpoint.server_close()

    with pytest.raises(BrokerRefusedError, match="gave no token"):
        await ClientCredentials(endpoint.url, "me", "secret").token()


async def test_a_client_without_a_token_has_no_connection_and_may_try_again(endpoint: TokenEndpoint) -> None:
    endpoint.status = 503
    provider = ClientCredentials(endpoint.url, "me", "secret")
    with pytest.raises(KafkaError):  # which aiokafka's tasks survive
        await provider.token()
    endpoint.status = 200

    assert await provider.token() == "token-2"


@pytest.mark.parametrize(
    "files",
    [
        {"ssl_ca_file": Path("nothing.pem")},
        {"ssl_ca_file": Path(__file__)},
        {"ssl_certificate_file": Path(__file__)},
    ],
)
def test_a_certificate_file_that_cannot_be_used_is_told(files: dict[str, Path]) -> None:
    settings = Settings().model_copy(update={"security_protocol": "SSL", **files})

    with pytest.raises(SettingsError, match="certificate or key files in the BRIDGE_SSL_ settings cannot be used"):
        connection_arguments(settings)


def test_without_security_only_the_address_is_told() -> None:
    assert connection_arguments(Settings().model_copy(update={"bootstrap_servers": "here:9092"})) == {
        "bootstrap_servers": "here:9092",
        "security_protocol": "PLAINTEXT",
    }
