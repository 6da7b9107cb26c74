"""uvloop's event loop, with connections that fail as asyncio's do.

A write to a connection that the other side has closed raises a RuntimeError in uvloop, where clients of asyncio expect
an OSError: aiokafka's tasks end of it (https://github.com/aio-libs/aiokafka/issues/1038).
"""

import asyncio
from typing import Any, cast

import uvloop


class EventLoop(uvloop.Loop):
    """A bridge under load makes a multitude of small requests, whose cost is the loop's."""

    async def create_connection(self, *arguments: Any, **more: Any) -> Any:
        transport, protocol = await super().create_connection(*arguments, **more)
        return _Transport(cast("asyncio.Transport", transport)), protocol


class _Transport:
    """uvloop's own, but for the error."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def write(self, data: bytes) -> None:
        """Send.

        Raises:
            ConnectionResetError: the connection is closed.
        """
        if self._transport.is_closing():
            raise ConnectionResetError("The connection is closed.")
        self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
