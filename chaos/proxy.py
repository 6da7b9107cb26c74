"""The network between a bridge and its broker, to be cut, slowed and left half open: toxiproxy, one proxy a bridge.

Toxiproxy is a program in Go. The one on the PATH is taken, or one is built once with Go, to the user's cache; where
neither can be had, the scenarios that need it are skipped.
"""

import os
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from bridge import embedded
from tests.integration.broker import KafkaBroker

_MODULE = "github.com/Shopify/toxiproxy/v2/cmd/server@v2.5.0"
_START_SECONDS = 10.0


class NoProxyError(Exception):
    """Toxiproxy cannot be had here; the message says what is missing."""


class ProxiedBroker(KafkaBroker):
    """Apache Kafka with a listener of its own for each bridge, which is advertised at the address of a proxy."""

    def __init__(self, n_bridges: int) -> None:
        super().__init__()
        self.upstreams = [f"{embedded.HOST}:{embedded.free_port()}" for _ in range(n_bridges)]
        self.proxied = [f"{embedded.HOST}:{embedded.free_port()}" for _ in range(n_bridges)]

    def _properties(self) -> str:
        names = [f"BRIDGE{number}" for number in range(len(self.upstreams))]
        lines = []
        for line in super()._properties().splitlines():
            addresses = {"listeners": self.upstreams, "advertised.listeners": self.proxied}.get(line.partition("=")[0])
            more = [f"{name}://{address}" for name, address in zip(names, addresses or [], strict=False)]
            lines.append(",".join([line, *more]))
        protocols = ",".join(f"{name}:PLAINTEXT" for name in ("PLAINTEXT", "CONTROLLER", *names))
        return "\n".join([*lines, f"listener.security.protocol.map={protocols}", ""])


class Proxies:
    """A running toxiproxy with a proxy for each listener; a context manager."""

    def __init__(self, broker: ProxiedBroker, log_file: Path) -> None:
        self._listeners = list(zip(broker.proxied, broker.upstreams, strict=True))
        self._port = embedded.free_port()
        self._api = httpx.Client(base_url=f"http://{embedded.HOST}:{self._port}", timeout=5)
        with log_file.open("wb") as log:
            command = [toxiproxy(), "-host", embedded.HOST, "-port", str(self._port)]
            self._process = embedded.start_tied(command, log.fileno(), os.environ)

    def __enter__(self) -> Self:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                self._api.get("/version").raise_for_status()
                break
            except httpx.HTTPError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        for number, (listen, upstream) in enumerate(self._listeners):
            self._post("/proxies", name=str(number), listen=listen, upstream=upstream, enabled=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._api.close()
        embedded.end_tied(self._process)

    def cut(self, number: int) -> None:
        """Close every connection, and refuse new ones."""
        self._post(f"/proxies/{number}", enabled=False)

    def delay(self, number: int, latency_ms: int, jitter_ms: int) -> None:
        """Let every answer of the broker come late."""
        self._toxic(number, "latency", latency=latency_ms, jitter=jitter_ms)

    def leave_half_open(self, number: int) -> None:
        """Keep connections open and let nothing through, either way."""
        self._toxic(number, "timeout", timeout=0)

    def mend(self) -> None:
        """Make everything whole again; connections that were half open are closed."""
        self._api.post("/reset").raise_for_status()

    def _toxic(self, number: int, kind: str, **attributes: int) -> None:
        for stream in ("upstream", "downstream"):
            self._post(f"/proxies/{number}/toxics", type=kind, stream=stream, attributes=attributes)

    def _post(self, path: str, **body: Any) -> None:
        self._api.post(path, json=body).raise_for_status()


def toxiproxy() -> str:
    """The program.

    Raises:
        NoProxyError: it is not on the PATH, and cannot be built.
    """
    found = shutil.which("toxiproxy-server")
    if found is not None:
        return found
    cache = (
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "neighborwatch" / _MODULE.rpartition("@")[2]
    )
    program = cache / "server"
    if not program.exists():
        go = shutil.which("go")
        if go is None:
            raise NoProxyError("Neither toxiproxy-server nor Go is on the PATH.")
        built = subprocess.run(
            [go, "install", _MODULE],
            env={**os.environ, "GOBIN": str(cache)},
            capture_output=True,
            text=True,
            check=False,
        )
        if built.returncode != 0:
            raise NoProxyError(f"Toxiproxy could not be built: {built.stderr.strip()}")
    return str(program)
