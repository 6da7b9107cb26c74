"""Signals reach real processes, as a user and an orchestrator send them."""

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

_STUBBORN = """
import asyncio
from bridge.signals import stop_on_signal

async def work():
    with stop_on_signal(lambda: print("asked", flush=True)):
        print("working", flush=True)
        await asyncio.sleep(600)

asyncio.run(work())
"""


@pytest.fixture
def stubborn() -> Iterator[subprocess.Popen[str]]:
    """A process that is asked to stop and goes on all the same."""
    command = [sys.executable, "-c", _STUBBORN]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert _next_line(process) == "working"
            yield process
        finally:
            process.kill()


def _next_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks(stubborn: subprocess.Popen[str], number: signal.Signals) -> None:
    stubborn.send_signal(number)

    assert _next_line(stubborn) == "asked"
    assert stubborn.poll() is None


def test_a_second_sigint_ends_it_at_once(stubborn: subprocess.Popen[str]) -> None:
    stubborn.send_signal(signal.SIGINT)
    assert _next_line(stubborn) == "asked"
    stubborn.send_signal(signal.SIGINT)

    _, errors = stubborn.communicate(timeout=60)
    assert stubborn.returncode == 130
    assert errors == "Stopped at once; what was not committed is read again.\n"


def test_a_second_sigterm_only_asks_again(stubborn: subprocess.Popen[str]) -> None:
    for _ in range(2):
        stubborn.send_signal(signal.SIGTERM)
        assert _next_line(stubborn) == "asked"

    assert stubborn.poll() is None
