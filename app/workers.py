"""Several processes that answer on one port, each a whole service; uvicorn's supervisor replaces one that dies."""

import functools
import multiprocessing
import os
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from app.metrics import forget_dead_workers

_DIRECTORY_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


class WorkersError(Exception):
    """A worker did not come to its start, and another one would not either."""


def serve_with_workers(make_app: Callable[[Path], FastAPI], n_workers: int, listener: socket.socket) -> None:
    """Serve until SIGTERM or Ctrl+C.

    Args:
        make_app: makes a worker's application, given the directory in which all keep what they count.
        n_workers: how many.
        listener: the port.

    Raises:
        WorkersError: they cannot start.
    """
    # Only this user may enter it, and it goes with the process.
    with tempfile.TemporaryDirectory(prefix="neighborwatch-metrics-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        # prometheus_client reads it when it is imported, so that it has to be there when a worker starts.
        os.environ[_DIRECTORY_VARIABLE] = name
        app = functools.partial(_worker_app, make_app, directory)
        config = uvicorn.Config(app, factory=True, workers=n_workers, log_config=None, access_log=False)
        supervisor = _Supervisor(config, [listener], directory)
        supervisor.run()
        if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):
            raise WorkersError("The workers did not start.")


class _Supervisor(Multiprocess):
    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket], directory: Path) -> None:
        super().__init__(config, sockets)
        self._directory = directory

    def keep_subprocess_alive(self) -> None:
        super().keep_subprocess_alive()
        forget_dead_workers(self._directory, [process.pid for process in self.processes if process.pid is not None])


def _worker_app(make_app: Callable[[Path], FastAPI], directory: Path) -> FastAPI:
    threading.Thread(target=_end_with_the_supervisor, args=(directory,), daemon=True, name="supervisor").start()
    return make_app(directory)


def _end_with_the_supervisor(directory: Path) -> None:
    # A supervisor that is killed cannot end its workers, and they would keep the port from the next one.
    supervisor = multiprocessing.parent_process()
    if supervisor is not None:
        supervisor.join()
        shutil.rmtree(directory, ignore_errors=True)
        os.kill(os.getpid(), signal.SIGTERM)
