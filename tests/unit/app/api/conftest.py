"""The application behind a real server, as its users reach it."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from app.main import create_app
from app.settings import Settings


@pytest.fixture(scope="module")
def application(artifact: Path) -> FastAPI:
    return create_app(Settings(artifact=artifact, max_body_bytes=200_000))


@pytest.fixture(scope="module")
def client(application: FastAPI) -> Iterator[httpx.Client]:
    with serving(application) as client:
        yield client


@contextlib.contextmanager
def serving(application: FastAPI) -> Iterator[httpx.Client]:
    """A client of the application while it is served."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(application, log_config=None))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.01)
    with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=60) as client:
        yield client
    server.should_exit = True
    thread.join()
