"""What a client of the event loop sees of a connection that the other side has closed."""

import asyncio
import socket
import struct
from collections.abc import Iterator

import pytest

from bridge.event_loop import EventLoop


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner(loop_factory=EventLoop) as runner:
        yield runner


async def _reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    at_once = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
    writer.close()


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(await reader.read(100))
    writer.close()


def test_a_write_to_a_closed_connection_is_an_os_error(runner: asyncio.Runner) -> None:
    async def write_on() -> None:
        async with await asyncio.start_server(_reset, "127.0.0.1", 0) as server:
            _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            for _ in range(100):
                writer.write(b"x")
                await asyncio.sleep(0.01)

    with pytest.raises(ConnectionResetError):
        runner.run(write_on())


def test_an_open_connection_takes_what_is_written(runner: asyncio.Runner) -> None:
    async def ask() -> bytes:
        async with await asyncio.start_server(_echo, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"transaction")
            await writer.drain()
            answer = await reader.read()
            writer.close()
            await writer.wait_closed()
            return answer

    assert runner.run(ask()) == b"transaction"
