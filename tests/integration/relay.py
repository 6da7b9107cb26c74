"""A relay before a broker, on which connections fall silent at the next request for records: a deaf consumer."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator

from bridge import embedded
from tests.integration.broker import KafkaBroker

_FETCH = 1


class RelayedBroker(KafkaBroker):
    """Apache Kafka with a second listener, that tells its clients to come back through a relay."""

    def __init__(self) -> None:
        super().__init__()
        self.behind_relay = f"{embedded.HOST}:{embedded.free_port()}"
        self.relay = Relay(embedded.free_port(), self.behind_relay)

    def _listeners(self) -> str:
        return f"{super()._listeners()},RELAYED://{self.behind_relay}"

    def _properties(self) -> str:
        return "\n".join(
            (
                super()._properties(),
                "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,RELAYED:PLAINTEXT",
                f"advertised.listeners={super()._listeners()},RELAYED://{self.relay.address}",
                "",
            )
        )


class Relay:
    """Passes requests and answers on, until it is told to swallow some."""

    def __init__(self, port: int, upstream: str) -> None:
        self.address = f"{embedded.HOST}:{port}"
        self.swallows_new_connections = False
        self._port = port
        self._upstream = upstream.split(":")
        self._deaf: set[asyncio.StreamWriter] = set()
        self._open: set[asyncio.StreamWriter] = set()

    def swallow(self, *, new_connections: bool) -> None:
        """The connections that are open, and new ones too, fall silent with their next request for records."""
        self._deaf |= self._open
        self.swallows_new_connections = new_connections

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._serve, embedded.HOST, self._port)
        try:
            yield
        finally:
            server.close()
            for writer in self._open:
                writer.close()
            await asyncio.sleep(0.1)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(self._upstream[0], int(self._upstream[1]))
        self._open |= {writer, up_writer}
        if self.swallows_new_connections:
            self._deaf.add(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await asyncio.gather(self._pass_requests(reader, up_writer, writer), _pass_answers(up_reader, writer))
        writer.close()
        up_writer.close()
        self._open -= {writer, up_writer}

    async def _pass_requests(
        self, reader: asyncio.StreamReader, upstream: asyncio.StreamWriter, client: asyncio.StreamWriter
    ) -> None:
        while True:
            head = await reader.readexactly(4)
            body = await reader.readexactly(struct.unpack(">i", head)[0])
            if client in self._deaf and struct.unpack(">h", body[:2])[0] == _FETCH:
                break
            upstream.write(head + body)
            await upstream.drain()
        while await reader.read(65_536):
            """Whatever follows stays without an answer too: answers that overtake break a connection off."""


async def _pass_answers(reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        client.write(data)
        await client.drain()
    raise ConnectionResetError
