"""A real HTTP server that takes alerts, refuses them, or lets them wait, as a test tells it."""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Post:
    """One request."""

    transaction_id: str
    body: bytes
    headers: dict[str, str]


class Webhook(ThreadingHTTPServer):
    """Answers by the alert's transaction: `statuses` has one answer for each of its attempts, the last for the rest."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/alerts"
        self.statuses: dict[str, Sequence[int]] = {}
        self.posts: list[Post] = []
        self.may_answer = threading.Event()
        self.may_answer.set()

    def posts_of(self, transaction_id: str) -> list[Post]:
        return [post for post in self.posts if post.transaction_id == transaction_id]

    def status_of(self, transaction_id: str) -> int:
        statuses = self.statuses.get(transaction_id, (200,))
        return statuses[min(len(self.posts_of(transaction_id)), len(statuses)) - 1]


class _Handler(BaseHTTPRequestHandler):
    server: Webhook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        transaction_id = str(json.loads(body)["transaction_id"])
        self.server.posts.append(Post(transaction_id, body, dict(self.headers)))
        self.server.may_answer.wait()
        self.send_response(self.server.status_of(transaction_id))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def webhook() -> Iterator[Webhook]:
    """A webhook that listens while the block lasts."""
    with Webhook() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield server
        finally:
            server.may_answer.set()
            server.shutdown()
