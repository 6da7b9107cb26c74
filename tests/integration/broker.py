"""The broker of the integration tests: the first that can be had.

1. The one at the address in NEIGHBORWATCH_TEST_BOOTSTRAP.
2. Apache Kafka from its published jars, with the Java on this machine. Maven brings the jars once, to the user's cache.
3. The embedded broker of the demo; what it cannot do is skipped, each test with its reason.

NEIGHBORWATCH_TEST_BROKER=kafka demands the second (or the first): without it the tests fail. `embedded` demands the
third.
"""

import base64
import contextlib
import functools
import os
import re
import shutil
import signal
import subprocess
import tempfile
import uuid
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from bridge import embedded
from bridge.errors import BrokerUnavailableError

_RECIPE = Path(__file__).parent / "kafka"
_LEAST_JAVA = 17
_START_SECONDS = 90.0
_STOP_SECONDS = 30.0
_JAVA_OPTIONS = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


class NoBrokerError(Exception):
    """The broker that was demanded cannot be had here; the message says what is missing."""


class Broker:
    """A broker that answers at an address."""

    supports_transactions = True
    name = "the given broker"

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap

    @property
    def connection(self) -> dict[str, object]:
        """Keyword arguments for every aiokafka client."""
        return {"bootstrap_servers": self.bootstrap}


class LocalBroker(Broker, ABC):
    """A broker on this machine, to stop, kill, freeze and start again on the same port; a context manager."""

    def __init__(self) -> None:
        self._port = embedded.free_port()
        super().__init__(f"{embedded.HOST}:{self._port}")
        self._directory = Path(tempfile.mkdtemp(prefix="neighborwatch-broker-"))
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]: ...

    @property
    def log_file(self) -> Path:
        return self._directory / "broker.log"

    @property
    def data_directory(self) -> Path:
        return self._directory / "data"

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError("The broker is not running.")
        return self._process.pid

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start it, for the first time or again, and wait until it answers."""
        if self._process is not None:
            raise RuntimeError("The broker is running.")
        with self.log_file.open("ab") as log:
            self._process = embedded.start_tied(self.command(), log.fileno(), os.environ)
        try:
            embedded.wait_until_it_answers(self._process, self._port, self.log_file, _START_SECONDS)
        except BrokerUnavailableError as error:
            raise NoBrokerError(f"{error}\n{tail(self.log_file)}") from error

    def stop(self) -> None:
        """End it in order (SIGTERM)."""
        self._end(_STOP_SECONDS)

    def kill(self) -> None:
        """End it at once (SIGKILL)."""
        self._end(0)

    def pause(self) -> None:
        """Freeze it: connections stay open and nothing answers (SIGSTOP)."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen broker go on (SIGCONT)."""
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        """End it and remove its data."""
        self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _end(self, grace_seconds: float) -> None:
        if self._process is not None:
            embedded.end_tied(self._process, grace_seconds)
            self._process = None

    def _signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)


class EmbeddedBroker(LocalBroker):
    """The broker of the demo; started again, it is empty."""

    supports_transactions = False
    name = "the embedded broker"

    def command(self) -> list[str]:
        return embedded.embedded_command(self._port)


class KafkaBroker(LocalBroker):
    """Apache Kafka, one node; started again, it has its data."""

    name = "Apache Kafka"

    def __init__(self) -> None:
        super().__init__()
        self._controller_port = embedded.free_port()

    def command(self) -> list[str]:
        """The broker's command line; before the first start its data directory is made."""
        java = [_java(), *_JAVA_OPTIONS, "-cp", f"{kafka_jars()}/*"]
        properties = self._directory / "server.properties"
        if not properties.exists():
            properties.write_text(self._properties(), encoding="utf-8")
            self._format(java, properties)
        return [*java, "kafka.Kafka", str(properties)]

    def _format(self, java: list[str], properties: Path) -> None:
        identifier = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        tool = ["kafka.tools.StorageTool", "format", f"--cluster-id={identifier}", "--config", str(properties)]
        _run([*java, *tool, *self._format_options()])

    def _format_options(self) -> list[str]:
        return []

    def _listeners(self) -> str:
        return f"PLAINTEXT://{self.bootstrap}"

    def _properties(self) -> str:
        controller = f"{embedded.HOST}:{self._controller_port}"
        return _lines(
            (_RECIPE / "server.properties").read_text(encoding="utf-8"),
            f"listeners={self._listeners()},CONTROLLER://{controller}",
            f"advertised.listeners={self._listeners()}",
            f"controller.quorum.voters=1@{controller}",
            f"log.dirs={self.data_directory}",
        )


class SecuredBroker(KafkaBroker):
    """Apache Kafka behind TLS and passwords: `secured_bootstrap` speaks SASL_SSL with PLAIN, both SCRAMs and tokens."""

    username = "bridge"
    password = "correct horse battery staple"

    def __init__(self) -> None:
        super().__init__()
        self.secured_bootstrap = f"{embedded.HOST}:{embedded.free_port()}"
        self.certificate_authority = self._directory / "authority.pem"

    def command(self) -> list[str]:
        if not self.certificate_authority.exists():
            _make_certificates(self._directory)
        return super().command()

    def environment(self, mechanism: str = "PLAIN") -> dict[str, str]:
        """The settings with which the bridge reaches it."""
        return {
            "BRIDGE_BOOTSTRAP_SERVERS": self.secured_bootstrap,
            "BRIDGE_SECURITY_PROTOCOL": "SASL_SSL",
            "BRIDGE_SSL_CA_FILE": str(self.certificate_authority),
            "BRIDGE_SASL_MECHANISM": mechanism,
            "BRIDGE_SASL_USERNAME": self.username,
            "BRIDGE_SASL_PASSWORD": self.password,
        }

    def _format_options(self) -> list[str]:
        who = f"[name={self.username},password={self.password}]"
        return [f"--add-scram={mechanism}={who}" for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512")]

    def _listeners(self) -> str:
        return f"{super()._listeners()},SASL_SSL://{self.secured_bootstrap}"

    def _properties(self) -> str:
        module = "org.apache.kafka.common.security"
        user = f'user_{self.username}="{self.password}"'
        return _lines(
            super()._properties(),
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL",
            "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
            f"listener.name.sasl_ssl.oauthbearer.sasl.jaas.config={module}.oauthbearer.OAuthBearerLoginModule required "
            f'unsecuredLoginStringClaim_sub="{self.username}";',
            f"listener.name.sasl_ssl.plain.sasl.jaas.config={module}.plain.PlainLoginModule required {user};",
            f"listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config={module}.scram.ScramLoginModule required;",
            f"listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config={module}.scram.ScramLoginModule required;",
            "ssl.keystore.type=PEM",
            f"ssl.keystore.location={self._directory / 'server.pem'}",
        )


@dataclass(frozen=True)
class Choice:
    """Which broker the tests use, and why."""

    kind: Literal["given", "kafka", "embedded"]
    reason: str

    @property
    def name(self) -> str:
        return {"given": Broker.name, "kafka": KafkaBroker.name, "embedded": EmbeddedBroker.name}[self.kind]


@functools.cache
def shared_choice() -> Choice:
    """The broker that tests share.

    Raises:
        NoBrokerError: the one that is demanded cannot be had.
    """
    if os.environ.get("NEIGHBORWATCH_TEST_BOOTSTRAP") and _demanded() != "embedded":
        return Choice("given", "NEIGHBORWATCH_TEST_BOOTSTRAP gives its address")
    return own_choice()


@functools.cache
def own_choice() -> Choice:
    """The broker of a test that stops and kills it, which therefore is started here.

    Raises:
        NoBrokerError: the one that is demanded cannot be had.
    """
    demanded = _demanded()
    if demanded == "embedded":
        return Choice("embedded", "NEIGHBORWATCH_TEST_BROKER demands it")
    try:
        _java()
        kafka_jars()
    except NoBrokerError as error:
        if demanded == "kafka":
            raise NoBrokerError(f"NEIGHBORWATCH_TEST_BROKER demands Apache Kafka. {error}") from error
        return Choice("embedded", f"Apache Kafka cannot be had. {error}")
    return Choice("kafka", "Java and Kafka's jars are on this machine")


def given_bootstrap() -> str:
    return os.environ["NEIGHBORWATCH_TEST_BOOTSTRAP"]


def local_broker(choice: Choice) -> LocalBroker:
    """A broker of this kind, not yet started."""
    return KafkaBroker() if choice.kind == "kafka" else EmbeddedBroker()


def tail(file: Path, lines: int = 60) -> str:
    """The last lines of a log."""
    try:
        return "\n".join(file.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
    except OSError as error:
        return f"({error})"


def kafka_version() -> str:
    text = (_RECIPE / "pom.xml").read_text(encoding="utf-8")
    found = re.search("<kafka.version>(.+)</kafka.version>", text)
    if found is None:
        raise NoBrokerError("tests/integration/kafka/pom.xml names no version.")
    return found[1]


@functools.cache
def kafka_jars() -> Path:
    """The directory of Kafka's jars; Maven fills it once for all clones and runs.

    Raises:
        NoBrokerError: there is no Maven, or it could not bring them.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "neighborwatch"
    jars = cache / f"kafka-{kafka_version()}"
    if not jars.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix="unfinished-") as work:
            _bring_jars(Path(work), jars)
    return jars


def _bring_jars(work: Path, jars: Path) -> None:
    shutil.copy(_RECIPE / "pom.xml", work)
    _run([_program("mvn", "Maven"), "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=jars"], work)
    # A directory appears whole or not at all; another run that was quicker brought the same.
    with contextlib.suppress(OSError):
        (work / "jars").rename(jars)
    if not jars.is_dir():
        raise NoBrokerError(f"Kafka's jars could not be moved to {jars}.")


@functools.cache
def _java() -> str:
    home = os.environ.get("JAVA_HOME")
    java = _program(str(Path(home) / "bin" / "java") if home else "java", "Java")
    shown = _run([java, "-version"])
    found = re.search(r'version "(\d+)', shown)
    if found is None or int(found[1]) < _LEAST_JAVA:
        raise NoBrokerError(f"Apache Kafka needs Java {_LEAST_JAVA} or later; {java} is another.")
    return java


def _make_certificates(directory: Path) -> None:
    """A certificate authority of its own, and the broker's key and certificate in one PEM file."""
    openssl = _program("openssl", "OpenSSL")
    new = [openssl, "req", "-newkey", "rsa:2048", "-nodes"]
    authority = [*new, "-x509", "-days", "2", "-subj", "/CN=Test authority", "-keyout", "authority.key"]
    _run([*authority, "-out", "authority.pem"], directory)
    _run([*new, "-subj", "/CN=broker", "-keyout", "server.key", "-out", "server.csr"], directory)
    (directory / "names").write_text(f"subjectAltName=IP:{embedded.HOST}\n", encoding="utf-8")
    sign = [openssl, "x509", "-req", "-days", "2", "-in", "server.csr", "-extfile", "names", "-CAcreateserial"]
    _run([*sign, "-CA", "authority.pem", "-CAkey", "authority.key", "-out", "server.crt"], directory)
    parts = ("server.key", "server.crt", "authority.pem")
    text = "".join((directory / part).read_text(encoding="ascii") for part in parts)
    (directory / "server.pem").write_text(text, encoding="ascii")


def _demanded() -> str:
    demanded = os.environ.get("NEIGHBORWATCH_TEST_BROKER", "")
    if demanded not in ("", "kafka", "embedded"):
        raise NoBrokerError(f"NEIGHBORWATCH_TEST_BROKER is {demanded!r}; it can be kafka or embedded.")
    return demanded


def _program(name: str, called: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise NoBrokerError(f"{called} is not on this machine ({name} was not found).")
    return found


def _run(command: list[str], directory: Path | None = None) -> str:
    """What the command prints, on either stream."""
    done = subprocess.run(
        command,
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        text=True,
    )
    if done.returncode != 0:
        raise NoBrokerError(f"{Path(command[0]).name} failed:\n{done.stdout.strip()}")
    return done.stdout


def _lines(*parts: str) -> str:
    return "\n".join((*parts, ""))
