"""A scoring process: it reads requests, a JSON object a line, scores rows in batches, and says how long that took."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Matrix = Any


def answer(
    arrays: Path,
    score: Callable[[Any], Matrix],
    facts: dict[str, Any],
    prepare: Callable[[Matrix], Any] = lambda rows: rows,
) -> None:
    """Answer until standard input ends.

    Args:
        arrays: the file whose `later` rows are scored.
        score: a batch to its probabilities.
        facts: what the process tells of itself at first.
        prepare: rows to what is sliced into batches; not timed, for it is done before a model is asked.
    """
    with np.load(arrays) as loaded:
        later = loaded["later"]
    _say(facts)
    for line in sys.stdin:
        request = json.loads(line)
        indices = sampled_rows(len(later), request["rows"])
        rows = prepare(later[indices])
        batch = request["batch"]
        started = time.perf_counter()
        answers = [score(rows[first : first + batch]) for first in range(0, len(indices), batch)]
        seconds = time.perf_counter() - started
        if request.get("save"):
            np.save(request["save"], np.concatenate(answers))
        _say({"seconds": seconds, "rows": len(indices)})


def sampled_rows(n_later: int, n_rows: int) -> Matrix:
    """Evenly spread over the whole time, so that a sample is like all of it."""
    return np.linspace(0, n_later - 1, n_rows).astype(int)


def _say(facts: dict[str, Any]) -> None:
    print(json.dumps(facts), flush=True)
