"""The model in a process of its own: polls go there as bytes, and answers come back the same way.

Python runs one thread of a process at a time. With the model in the bridge's own process, fetching and publishing
waited for scoring and scoring for them; in two processes they work side by side, and no score delays a heartbeat. The
process keeps nothing between two polls, so that it may be ended at any moment.
"""

import asyncio
import contextlib
import signal
import socket
import struct
import subprocess
import sys
from asyncio import Future, StreamReader, StreamWriter
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec
from aiokafka import ConsumerRecord

from app.garbage import collect_rarely
from app.scoring.errors import ArtifactError
from app.scoring.manifest import Manifest
from bridge.answer import Answer, Answerer, Taken
from bridge.codec import Codec
from bridge.errors import ModelProcessError

_LENGTH = struct.Struct("!I")  # stands before each message


class Plan(msgspec.Struct, frozen=True):
    """Which model, and how it answers.

    Attributes:
        artifact: where it is, as in the settings.
        artifact_sha256: what its digest has to be; None: whatever it is.
        threshold: of fraud.
        max_record_bytes: larger records are not read.
        with_processed: whether the features are published as the model sees them.
    """

    artifact: str
    artifact_sha256: str | None
    threshold: float
    max_record_bytes: int
    with_processed: bool


class _Loaded(msgspec.Struct, frozen=True):
    """The first word of the process: the model it has and where that was in the end, or why it has none."""

    manifest: Manifest | None
    source: str
    problem: str | None = None


class _Poll(msgspec.Struct, frozen=True, array_like=True):
    """Records of one partition: offset, timestamp and value of each."""

    topic: str
    partition: int
    records: list[tuple[int, int, bytes | None]]


class ModelProcess:
    """A model that is asked over a socket; answers come in the order of the questions.

    Attributes:
        manifest: of its artifact.
        source: where the artifact was in the end: an alias points to another version tomorrow.
    """

    manifest: Manifest
    source: str

    def __init__(self, process: subprocess.Popen[bytes], streams: tuple[StreamReader, StreamWriter]) -> None:
        self._process = process
        self._reader, self._writer = streams
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(Answer).decode
        self._asked: deque[Future[bytes]] = deque()
        self._listening = asyncio.create_task(self._listen())

    @property
    def pid(self) -> int:
        return self._process.pid

    async def load(self, plan: Plan) -> None:
        """Let it load the model, and wait for that.

        Raises:
            ArtifactError: the model cannot be used.
            ModelProcessError: the process has ended.
        """
        loaded = msgspec.msgpack.decode(await self._ask(self._encode(plan)), type=_Loaded)
        if loaded.manifest is None:
            raise ArtifactError(loaded.problem or "The artifact cannot be used.")
        self.manifest, self.source = loaded.manifest, loaded.source

    async def answer(self, records: Sequence[ConsumerRecord]) -> Answer:
        """Decode, score and encode records of one partition, in their order.

        Raises:
            ModelProcessError: the process has ended.
        """
        poll = _Poll(
            records[0].topic,
            records[0].partition,
            [(record.offset, record.timestamp, record.value) for record in records],
        )
        return self._decode(await self._ask(self._encode(poll)))

    def check(self) -> None:
        """Make sure that the process is there.

        Raises:
            ModelProcessError: it has ended.
        """
        if self._listening.done():
            raise self._ended()

    async def end(self) -> None:
        """End it; whoever waits for an answer gets a `ModelProcessError`."""
        self._process.kill()
        await self._listening
        self._writer.close()

    async def _ask(self, question: bytes) -> bytes:
        self.check()
        answer: Future[bytes] = asyncio.get_running_loop().create_future()
        self._asked.append(answer)
        with contextlib.suppress(ConnectionError):  # it has ended: whoever waits will be told why
            self._writer.write(_LENGTH.pack(len(question)) + question)
        return await answer

    async def _listen(self) -> None:
        with contextlib.suppress(EOFError, ConnectionError):
            while True:
                (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
                answer = await self._reader.readexactly(length)
                asker = self._asked.popleft()
                if not asker.done():  # it is when whoever asked was cancelled
                    asker.set_result(answer)
        await asyncio.to_thread(self._process.wait)
        for asker in self._asked:
            if not asker.done():
                asker.set_exception(self._ended())

    def _ended(self) -> ModelProcessError:
        return ModelProcessError(
            f"The process that holds the model ended with code {self._process.returncode}; "
            "what it had in hand stays uncommitted and is read again at the next start."
        )


@contextlib.asynccontextmanager
async def model_process(plan: Plan) -> AsyncIterator[ModelProcess]:
    """While the context lasts, a process that has loaded the model.

    Raises:
        ArtifactError: the model cannot be used.
        ModelProcessError: the process ended before it had loaded it.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(  # noqa: ASYNC220, S603 - this interpreter, this module; it does not wait for it
            [sys.executable, "-m", __name__, str(theirs.fileno())], pass_fds=[theirs.fileno()]
        )
    model = ModelProcess(process, await asyncio.open_connection(sock=ours))
    try:
        await model.load(plan)
        yield model
    finally:
        await model.end()


def serve(connection: socket.socket) -> None:
    """Load the model, then answer polls until the other side is gone."""
    # A signal to the whole group is the bridge's to handle: it finishes the polls in hand, then it ends this.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    encode, decode = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(_Poll).decode
    questions = _questions(connection.makefile("rb"))

    def reply(answer: msgspec.Struct) -> None:
        content = encode(answer)
        connection.sendall(_LENGTH.pack(len(content)) + content)

    with contextlib.suppress(ConnectionError):
        try:
            loaded, answerer = _load(msgspec.msgpack.decode(next(questions), type=Plan))
        except ArtifactError as error:
            reply(_Loaded(None, "", str(error)))
            return
        collect_rarely()
        reply(loaded)
        for question in questions:
            poll = decode(question)
            reply(answerer.answer([Taken(poll.topic, poll.partition, *record) for record in poll.records]))


def _questions(stream: BinaryIO) -> Iterator[bytes]:
    while len(header := stream.read(_LENGTH.size)) == _LENGTH.size:
        (length,) = _LENGTH.unpack(header)
        yield stream.read(length)


def _load(plan: Plan) -> tuple[_Loaded, Answerer]:
    # Only this process needs what a model needs: scikit-learn takes longer to import than everything else.
    from app.scoring.scorer import Scorer  # noqa: PLC0415
    from app.source import artifact_files  # noqa: PLC0415

    with artifact_files(Path(plan.artifact)) as files:
        artifact, source = files.load(plan.artifact_sha256), str(files)
    codec = Codec(artifact.manifest, plan.max_record_bytes)
    answerer = Answerer(codec, Scorer(artifact, plan.threshold), with_processed=plan.with_processed)
    return _Loaded(artifact.manifest, source), answerer


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
