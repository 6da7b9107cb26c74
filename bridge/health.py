"""How the process is, in reasons: what a supervisor, and whoever is called at night, asks it for.

Live: the event loop turns; a process whose loop does not is best started again. Ready: transactions are being answered.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bridge.pulse import Pulse

_STILL_SECONDS = 10.0


@dataclass(frozen=True)
class Check:
    """One thing that has to be so; the reason says how it is."""

    name: str
    is_good: bool
    reason: str


@dataclass(frozen=True)
class Health:
    """Good when all checks are; the reason is that of the first that is not, or the last one's."""

    checks: Sequence[Check]

    @property
    def is_good(self) -> bool:
        return all(check.is_good for check in self.checks)

    @property
    def reason(self) -> str:
        return next((check.reason for check in self.checks if not check.is_good), self.checks[-1].reason)


def starting(reason: str) -> Callable[[], Health]:
    """What a process answers until it has come to its loop."""
    return lambda: Health([Check("start", is_good=False, reason=reason)])


class Vitals:
    """Answers at any time and from any thread; what readiness is, is set as the process gets on."""

    def __init__(self, pulse: Pulse) -> None:
        self.readiness = starting("the model is not loaded yet")
        self._pulse = pulse

    def liveness(self) -> Health:
        silent_seconds = self._pulse.silent_seconds
        turns = silent_seconds < _STILL_SECONDS
        reason = "the event loop turns" if turns else f"the event loop has not turned for {silent_seconds:.0f} s"
        return Health([Check("event loop", turns, reason)])
