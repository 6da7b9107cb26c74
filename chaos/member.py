"""A bridge of the group: a real process that is started, hit in every way, and started again."""

import asyncio
import contextlib
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

from tests.integration.process import Process, model_of

READY = "partitions assigned"
_RESTART_PAUSE_SECONDS = 0.3


class Member:
    """One bridge, under one name in its group; each start is a new process with a log of its own."""

    def __init__(self, name: str, environment: Mapping[str, str], directory: Path, module: str = "bridge") -> None:
        self.name = name
        self.n_kills = 0
        self.last_words: list[str] = []
        self._environment = {"BRIDGE_GROUP_INSTANCE_ID": name, **environment}
        self._directory = directory
        self._module = module
        self._starts: list[Process] = []
        self._is_wanted = False

    @property
    def process(self) -> Process:
        return self._starts[-1]

    def start(self) -> None:
        self._is_wanted = True
        directory = self._directory / f"{self.name}-{len(self._starts)}"
        self._starts.append(Process(self._module, "run", environment=self._environment, directory=directory))

    async def wait_until_ready(self) -> None:
        await self.process.wait_for_log(READY, timeout_seconds=120)

    @property
    def is_ready(self) -> bool:
        """Whether it was given its partitions."""
        return READY in self.process.log

    def kill(self) -> None:
        """SIGKILL, at whatever it is doing."""
        self._is_wanted = False
        self.n_kills += 1
        self.process.kill()

    async def stop(self) -> None:
        """SIGTERM, and wait for its end; one that is frozen, or does not end, is killed."""
        self._is_wanted = False
        self.process.send(signal.SIGCONT)
        self.process.send(signal.SIGTERM)
        try:
            await self.process.wait_for_end(timeout_seconds=60)
        except AssertionError as error:
            self.last_words.append(str(error))
        self.close()

    def freeze(self) -> None:
        self.process.send(signal.SIGSTOP)

    def wake(self) -> None:
        self.process.send(signal.SIGCONT)

    @contextlib.contextmanager
    def frozen_model(self) -> Iterator[None]:
        """While the context lasts, the process that holds its model stands still."""
        model = model_of(self.process)
        model.suspend()
        try:
            yield
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):
                model.resume()

    def close(self) -> None:
        self._is_wanted = False
        for process in self._starts:
            process.kill()

    async def supervise(self) -> None:
        """Start it again whenever it ends by itself, as a supervisor does."""
        while True:
            await asyncio.sleep(_RESTART_PAUSE_SECONDS)
            if self._is_wanted and not self.process.is_running:
                lines = self.process.log.strip().splitlines()
                self.last_words.append(lines[-1] if lines else "(no word)")
                self.start()

    def count_in_logs(self, text: str) -> int:
        return sum(process.log.count(text) for process in self._starts)

    def resources(self) -> Iterator[tuple[int, int]]:
        """Resident bytes and open files of it and of its model's process, while it runs."""
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(self.process.pid)
            every = [process, *process.children(recursive=True)]
            yield sum(each.memory_info().rss for each in every), sum(each.num_fds() for each in every)
