"""`python -m chaos.slow_bridge run`: a bridge whose model is now and then slower than the group's patience."""

import itertools
import sys
import time
from typing import Any

from aiokafka import AIOKafkaConsumer

from bridge.__main__ import run_command
from bridge.answer import Answer, Answerer

MAX_POLL_INTERVAL_MS = 3_000
SLOW_SECONDS = 8.0
_SLOW_EVERY_SECONDS = 15.0


def make_slow() -> None:
    """Shorten the patience of every consumer of this process, and make a batch take longer than it every while."""
    make_consumer, answer = AIOKafkaConsumer.__init__, Answerer.answer
    slow_at = itertools.count(time.monotonic() + _SLOW_EVERY_SECONDS, _SLOW_EVERY_SECONDS)
    due = next(slow_at)

    def make_impatient_consumer(self: AIOKafkaConsumer, *topics: str, **arguments: Any) -> None:
        make_consumer(self, *topics, **arguments | {"max_poll_interval_ms": MAX_POLL_INTERVAL_MS})

    def answer_slowly(self: Answerer, *arguments: Any) -> Answer:
        nonlocal due
        if time.monotonic() > due:
            due = next(slow_at)
            print("a slow batch begins", file=sys.stderr, flush=True)  # noqa: T201 - for the count of slow batches
            time.sleep(SLOW_SECONDS)
        return answer(self, *arguments)

    AIOKafkaConsumer.__init__ = make_impatient_consumer
    Answerer.answer = answer_slowly  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    make_slow()
    sys.exit(run_command())
