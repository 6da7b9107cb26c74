"""`python -m chaos.slow_bridge run`: a bridge whose model is now and then slower than the group's patience."""

import itertools
import sys
import time
from typing import Any

from aiokafka import AIOKafkaConsumer

from app.scoring.prediction import Prediction
from app.scoring.scorer import Scorer
from bridge.__main__ import run_command

MAX_POLL_INTERVAL_MS = 3_000
SLOW_SECONDS = 8.0
_SLOW_EVERY_SECONDS = 15.0


def make_slow() -> None:
    """Shorten the patience of every consumer of this process, and make a batch take longer than it every while."""
    make_consumer, score = AIOKafkaConsumer.__init__, Scorer.score
    slow_at = itertools.count(time.monotonic() + _SLOW_EVERY_SECONDS, _SLOW_EVERY_SECONDS)
    due = next(slow_at)

    def make_impatient_consumer(self: AIOKafkaConsumer, *topics: str, **arguments: Any) -> None:
        make_consumer(self, *topics, **arguments | {"max_poll_interval_ms": MAX_POLL_INTERVAL_MS})

    def score_slowly(self: Scorer, *arguments: Any) -> list[Prediction]:
        nonlocal due
        if time.monotonic() > due:
            due = next(slow_at)
            print("a slow batch begins", file=sys.stderr, flush=True)  # noqa: T201 - for the count of slow batches
            time.sleep(SLOW_SECONDS)
        return score(self, *arguments)

    AIOKafkaConsumer.__init__ = make_impatient_consumer
    Scorer.score = score_slowly  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    make_slow()
    sys.exit(run_command())
