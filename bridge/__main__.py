"""`python -m bridge run | produce | alerts | report | demo`."""

import argparse
import asyncio
import sys
from collections.abc import Coroutine
from typing import Any

from pydantic import ValidationError

from app import logs
from app.scoring.errors import ArtifactError
from bridge import alerts, main, produce
from bridge.errors import BridgeError
from bridge.settings import Settings

_EXIT_CODE_INTERRUPTED = 130


def run_command(arguments: list[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit code: 0 when done, 1 when the world is broken, 2 for wrong usage, 130 when interrupted.
    """
    parsed = _parser().parse_args(arguments)
    try:
        settings = Settings()
        logs.configure(settings.log_level)
        return asyncio.run(_command(settings, parsed))
    except ValidationError as error:
        for problem in error.errors():
            name = "_".join(str(part) for part in problem["loc"]).upper()
            setting = f"BRIDGE_{name}: " if name else ""
            print(f"{setting}{problem['msg'].removeprefix('Value error, ')}.", file=sys.stderr)
        return 1
    except (BridgeError, ArtifactError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return _EXIT_CODE_INTERRUPTED


def _command(settings: Settings, parsed: argparse.Namespace) -> Coroutine[Any, Any, int]:
    if parsed.command == "produce":
        plan = produce.Plan(
            file=parsed.csv,
            rate_per_second=parsed.rate,
            limit=parsed.limit,
            repeats=parsed.loop,
            is_strict=parsed.strict,
            label=parsed.label,
        )
        return produce.run(settings, plan)
    if parsed.command == "alerts":
        return _finished(alerts.run(settings))
    return _finished(main.run(settings))


async def _finished(command: Coroutine[Any, Any, None]) -> int:
    await command
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bridge",
        description="Scores card transactions for fraud while they stream through Apache Kafka.",
        epilog="Everything else is a setting: environment variables BRIDGE_…, or lines of a file .env; see README.md.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("run", help="score the transactions topic until SIGTERM or Ctrl+C")
    produce_parser = commands.add_parser("produce", help="stream the rows of a CSV file to the transactions topic")
    produce.add_arguments(produce_parser)
    commands.add_parser("alerts", help="log every alert, and post it to a webhook where one is set")
    return parser


if __name__ == "__main__":
    sys.exit(run_command())
