"""Logs of both processes: readable in a terminal, one JSON object a line elsewhere. Never a card's data."""

import logging
import sys

import structlog


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
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[*finish, renderer]),
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # Their news at level info is about their own insides.
    for chatty in ("aiokafka", "httpx", "httpcore", "uvicorn.access", "uvicorn.error"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
