"""`python -m chaos.slow_bridge run`: a bridge in whose group members have little patience with slow ones."""

import sys
from typing import Any

from aiokafka import AIOKafkaConsumer

from bridge.__main__ import run_command

MAX_POLL_INTERVAL_MS = 3_000


def lose_patience() -> None:
    """Shorten max.poll.interval.ms of every consumer of this process, which the bridge leaves as it is."""
    make_consumer = AIOKafkaConsumer.__init__

    def make_impatient_consumer(self: AIOKafkaConsumer, *topics: str, **arguments: Any) -> None:
        make_consumer(self, *topics, **arguments | {"max_poll_interval_ms": MAX_POLL_INTERVAL_MS})

    AIOKafkaConsumer.__init__ = make_impatient_consumer


if __name__ == "__main__":
    lose_patience()
    sys.exit(run_command())
