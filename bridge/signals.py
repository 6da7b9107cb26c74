"""How a process of the bridge is asked to stop: the first signal politely, a second Ctrl+C at once."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator

_EXIT_CODE_INTERRUPTED = 128 + signal.SIGINT


@contextlib.contextmanager
def stop_on_signal(request_stop: Callable[[], None]) -> Iterator[None]:
    """While the context lasts, SIGINT and SIGTERM call request_stop; a second SIGINT ends the process at once."""
    loop = asyncio.get_running_loop()
    asked = False

    def stop(number: signal.Signals) -> None:
        nonlocal asked
        if asked and number == signal.SIGINT:
            print("Stopped at once; what was not committed is read again.", file=sys.stderr, flush=True)  # noqa: T201
            os._exit(_EXIT_CODE_INTERRUPTED)
        asked = True
        request_stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
