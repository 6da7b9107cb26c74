"""What a benchmark says while it runs, on standard error."""

import sys
import time
from collections.abc import Iterator

_started = time.monotonic()


def tell(sentence: str) -> None:
    minutes, seconds = divmod(int(time.monotonic() - _started), 60)
    print(f"[{minutes:2d}:{seconds:02d}] {sentence}", file=sys.stderr, flush=True)


def rounds(n_rounds: int, what: str) -> Iterator[int]:
    """Count the rounds aloud; in each, every contestant is measured once."""
    for number in range(n_rounds):
        tell(f"{what}: round {number + 1} of {n_rounds}")
        yield number
