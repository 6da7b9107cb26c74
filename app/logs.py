"""Logs of both processes: readable in a terminal, one JSON object a line elsewhere. Never a card's data."""

import copy
import logging
import sys
import time
from dataclasses import dataclass

import structlog

_COLLAPSE_SECONDS = 60.0
_MOST_REMEMBERED = 1_000


@dataclass
class _Said:
    """A warning or an error, when it was said, and how often again since then."""

    record: logging.LogRecord
    at: float
    n_again: int = 0


class _Handler(logging.StreamHandler):  # type: ignore[type-arg] # the stream's type says nothing here
    """Says the same warning or error once a minute, and then how often it came meanwhile."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self._said: dict[object, _Said] = {}

    def emit(self, record: logging.LogRecord) -> None:
        self._tell_again()
        if record.levelno >= logging.WARNING:
            said = self._said.setdefault(_fact(record), _Said(record, time.monotonic()))
            if said.record is not record:
                said.n_again += 1
                return
        super().emit(record)

    def _tell_again(self) -> None:
        now = time.monotonic()
        while self._said:
            fact, said = next(iter(self._said.items()))  # the first said is the first to be forgotten
            if now - said.at <= _COLLAPSE_SECONDS and len(self._said) <= _MOST_REMEMBERED:
                break
            del self._said[fact]
            if said.n_again:
                super().emit(_repeated(said))


def _fact(record: logging.LogRecord) -> object:
    """The same for records that say the same."""
    if not isinstance(record.msg, dict):
        return record.name, record.levelno, record.getMessage()
    said = {name: value for name, value in record.msg.items() if name != "timestamp"}
    return record.name, record.levelno, repr(said)


def _repeated(said: _Said) -> logging.LogRecord:
    record = copy.copy(said.record)
    if isinstance(record.msg, dict):
        record.msg = record.msg | {"repeated": said.n_again}
    else:
        record.msg, record.args = f"{record.getMessage()} (repeated {said.n_again} times)", ()
    return record


def configure(level: str = "INFO") -> None:
    """Send every log, that of the libraries too, to standard error, which leaves standard output to answers."""
    in_terminal = sys.stderr.isatty()
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if in_terminal else "iso", utc=not in_terminal),
    ]
    # A plain traceback: the default one shows the variables of every frame, and so the data of cards.
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if in_terminal
        else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    finish: list[structlog.typing.Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if not in_terminal:
        finish.append(structlog.processors.format_exc_info)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = _Handler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[*finish, renderer]),
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # Their news at level info is about their own insides.
    for chatty in ("aiokafka", "httpx", "httpcore", "uvicorn.access", "uvicorn.error"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
