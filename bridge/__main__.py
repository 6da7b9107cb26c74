"""`python -m bridge run | produce | alerts | dead-letters | report | prove | rescore | doctor | demo`."""

import argparse
import asyncio
import importlib
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from pydantic import ValidationError

from app import logs
from app.scoring.errors import ArtifactError
from bridge.errors import BridgeError
from bridge.settings import Settings

_EXIT_CODE_INTERRUPTED = 130
_SPEAKING = ("demo", "doctor", "report", "prove", "rescore")


def run_command(arguments: list[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit code: 0 when done, 1 when the world is broken, 2 for wrong usage, 130 when interrupted.
    """
    words = sys.argv[1:] if arguments is None else arguments
    parsed = _parser(words[0] if words else "").parse_args(words)
    try:
        settings = Settings()
        # Some commands speak to people in sentences; what they do on the way is no news.
        logs.configure("warning" if parsed.command in _SPEAKING else settings.log_level)
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(_command(settings, parsed))
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


# Each command imports what it needs and nothing else: the libraries of the model take a second, those of the pictures
# and of the embedded broker are in extras.


def _command(settings: Settings, parsed: argparse.Namespace) -> Coroutine[Any, Any, int]:
    start = {
        "run": _run,
        "produce": _produce,
        "alerts": _alerts,
        "dead-letters": _dead_letters,
        "report": _report,
        "prove": _prove,
        "rescore": _rescore,
        "doctor": _doctor,
        "demo": _demo,
    }[parsed.command]
    return start(settings, parsed)


def _run(settings: Settings, _: argparse.Namespace) -> Coroutine[Any, Any, int]:
    from bridge import main  # noqa: PLC0415 - see above

    return _finished(main.run(settings))


def _produce(settings: Settings, parsed: argparse.Namespace) -> Coroutine[Any, Any, int]:
    from bridge import produce  # noqa: PLC0415 - see above

    plan = produce.Plan(
        file=parsed.csv,
        rate_per_second=parsed.rate,
        limit=parsed.limit,
        repeats=parsed.loop,
        is_strict=parsed.strict,
        label=parsed.label,
    )
    return produce.run(settings, plan)


def _alerts(settings: Settings, _: argparse.Namespace) -> Coroutine[Any, Any, int]:
    from bridge import alerts  # noqa: PLC0415 - see above

    return _finished(alerts.run(settings))


def _dead_letters(settings: Settings, parsed: argparse.Namespace) -> Coroutine[Any, Any, int]:
    from bridge import dead_letters  # noqa: PLC0415 - see above

    selection = dead_letters.Selection(
        reasons=frozenset(parsed.reason), sources=frozenset(parsed.source), of_alerts=parsed.alerts
    )
    if parsed.action == "list":
        return dead_letters.show(settings, selection, dead_letters.View(limit=parsed.limit, as_json=parsed.json))
    return dead_letters.replay(settings, selection, is_confirmed=parsed.yes)


def _demo(settings: Settings, parsed: argparse.Namespace) -> Coroutine[Any, Any, int]:
    from bridge import demo  # noqa: PLC0415 - see above

    plan = demo.Plan(
        file=parsed.csv,
        rate_per_second=parsed.rate,
        limit=parsed.limit,
        output=parsed.output,
        keeps_running=parsed.keep,
    )
    return demo.run(settings, plan)


def _report(settings: Settings, parsed: argparse.Namespace) -> Coroutine[Any, Any, int]:
    from bridge import report  # noqa: PLC0415 - see above

    return report.run(settings, report.Plan(output=parsed.output, labels=parsed.labels, label=parsed.label))


def _prove(settings: Settings, parsed: argparse.Namespace) -> Coroutine[Any, Any, int]:
    from bridge import prove  # noqa: PLC0415 - see above

    return prove.run(settings, prove.plan_of(parsed))


def _rescore(settings: Settings, parsed: argparse.Namespace) -> Coroutine[Any, Any, int]:
    from bridge import rescore  # noqa: PLC0415 - see above

    return rescore.run(settings, rescore.plan_of(parsed))


def _doctor(settings: Settings, _: argparse.Namespace) -> Coroutine[Any, Any, int]:
    from bridge import doctor  # noqa: PLC0415 - see above

    return doctor.run(settings)


async def _finished(command: Coroutine[Any, Any, None]) -> int:
    await command
    return 0


def _parser(wanted: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bridge",
        description="Scores card transactions for fraud while they stream through Apache Kafka.",
        epilog="Everything else is a setting: environment variables BRIDGE_…, or lines of a file .env; see README.md.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in (
        ("run", "score the transactions topic until SIGTERM or Ctrl+C"),
        ("produce", "stream the rows of a CSV file to the transactions topic"),
        ("alerts", "log every alert, and post it to a webhook where one is set"),
        ("dead-letters", "list what could not be read, or send it again"),
        ("report", "sums, latency and pictures of what stands in the topics"),
        ("prove", "was every transaction answered once, in order, with what the model says?"),
        ("rescore", "score a range again into another topic, and tell what is different"),
        ("doctor", "does everything that the bridge needs work, and if not, what is to be done?"),
        ("demo", "everything on this machine: broker, stream, alerts, summary"),
    ):
        command = commands.add_parser(name, help=summary)
        if name == wanted and name not in ("run", "alerts", "doctor"):
            importlib.import_module(f"bridge.{name.replace('-', '_')}").add_arguments(command)
    return parser


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":  # there is no uvloop
        return None
    make: Callable[[], asyncio.AbstractEventLoop] = importlib.import_module("bridge.event_loop").EventLoop
    return make


if __name__ == "__main__":
    sys.exit(run_command())
