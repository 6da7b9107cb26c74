"""`python -m benchmarks.counting`: what the bridge's metrics and the live page cost, for polls of several sizes."""

import sys
import time
from typing import Any, cast

import numpy as np

from app.scoring.prediction import Method
from bridge.answer import Answer
from bridge.board import Board
from bridge.delivery import Receipt
from bridge.metrics import Metrics
from bridge.poll import OutputTopics, Poll, Polls
from bridge.tracing import UNTRACED

_POLL_RECORDS = (1, 10, 100, 2_000)
_SECONDS = 1.0


def main() -> int:
    # Counting asks neither the model nor the topics.
    polls = Polls(cast("Any", None), cast("OutputTopics", None), Metrics(), Board())
    for n_records in _POLL_RECORDS:
        poll, receipt = _poll(n_records), Receipt(0.002, 0.002)
        best, until = float("inf"), time.perf_counter() + _SECONDS
        while (started := time.perf_counter()) < until:
            polls.count(poll, receipt)
            best = min(best, time.perf_counter() - started)
        print(f"a poll of {n_records:,}: {1e6 * best:.0f} us, {1e6 * best / n_records:.2f} us a transaction")
    return 0


def _poll(n_records: int) -> Poll:
    now = time.time()
    probabilities = np.random.default_rng(0).random(n_records)
    answer = Answer(
        predictions=[b"{}"] * n_records,
        received_at_seconds=[now] * n_records,
        fraud_probabilities=probabilities.tolist(),
        methods={Method.CERTIFIED: n_records},
    )
    return Poll(np.full(n_records, now), n_records, answer, [], UNTRACED)


if __name__ == "__main__":
    sys.exit(main())
