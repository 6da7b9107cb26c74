"""`python -m bridge run | produce | alerts | dead-letters | report | prove | rescore | demo`."""

import argparse
import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from app import logs
from app.scoring.errors import ArtifactError
from bridge import alerts, dead_letters, main, produce, prove, rescore
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
        # Some commands speak to people in sentences; what they do on the way is no news.
        logs.configure("warning" if parsed.command in ("demo", "report", "prove", "rescore") else settings.log_level)
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
    except ModuleNotFoundError as error:
        print(f"This command needs {error.name}, which is not installed: run `make install`.", file=sys.stderr)
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
    more = {
        "dead-letters": _dead_letters,
        "demo": _demo,
        "report": _report,
        "prove": _look_back,
        "rescore": _look_back,
    }
    if parsed.command in more:
        return more[parsed.command](settings, parsed)
    if parsed.command == "alerts":
        return _finished(alerts.run(settings))
    return _finished(main.run(settings))


def _dead_letters(settings: Settings, parsed: argparse.Namespace) -> Coroutine[Any, Any, int]:
    selection = dead_letters.Selection(
        reasons=frozenset(parsed.reason), sources=frozenset(parsed.source), of_alerts=parsed.alerts
    )
    if parsed.action == "list":
        return dead_letters.show(settings, selection, dead_letters.View(limit=parsed.limit, as_json=parsed.json))
    return dead_letters.replay(settings, selection, is_confirmed=parsed.yes)


def _demo(settings: Settings, parsed: argparse.Namespace) -> Coroutine[Any, Any, int]:
    from bridge import demo  # noqa: PLC0415 - its libraries are in the extra `demo`

    plan = demo.Plan(
        file=parsed.csv,
        rate_per_second=parsed.rate,
        limit=parsed.limit,
        output=parsed.output,
        keeps_running=parsed.keep,
    )
    return demo.run(settings, plan)


def _report(settings: Settings, parsed: argparse.Namespace) -> Coroutine[Any, Any, int]:
    from bridge import report  # noqa: PLC0415 - its libraries are in the extra `train`

    return report.run(settings, report.Plan(output=parsed.output, labels=parsed.labels, label=parsed.label))


def _look_back(settings: Settings, parsed: argparse.Namespace) -> Coroutine[Any, Any, int]:
    if parsed.command == "prove":
        return prove.run(settings, prove.plan_of(parsed))
    return rescore.run(settings, rescore.plan_of(parsed))


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
    letters_parser = commands.add_parser("dead-letters", help="list what could not be read, or send it again")
    dead_letters.add_arguments(letters_parser)
    report_parser = commands.add_parser("report", help="sums, latency and pictures of what stands in the topics")
    report_parser.add_argument("--output", type=Path, default=Path("report"), help="directory of the pictures (report)")
    report_parser.add_argument("--labels", type=Path, metavar="CSV", help="the file that was streamed, for its labels")
    report_parser.add_argument("--label", default="Class", metavar="COLUMN", help="its label column (Class)")
    prove.add_arguments(
        commands.add_parser("prove", help="was every transaction answered once, in order, with what the model says?")
    )
    rescore.add_arguments(
        commands.add_parser("rescore", help="score a range again into another topic, and tell what is different")
    )
    demo_parser = commands.add_parser("demo", help="everything on this machine: broker, stream, alerts, summary")
    demo_parser.add_argument("--csv", type=Path, default=Path("data/sample_transactions.csv"), help="what to stream")
    demo_parser.add_argument(
        "--rate", type=produce.positive, default=500.0, metavar="N", help="transactions a second (500)"
    )
    demo_parser.add_argument(
        "--limit", type=produce.count, default=0, metavar="N", help="stop after N transactions (all)"
    )
    demo_parser.add_argument("--output", type=Path, default=Path("demo-output"), help="pictures and logs (demo-output)")
    demo_parser.add_argument("--keep", action="store_true", help="leave everything running until Ctrl+C")
    return parser


if __name__ == "__main__":
    sys.exit(run_command())
