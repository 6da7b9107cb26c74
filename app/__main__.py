"""`python -m app serve | train | evaluate | compare | drift | synthesize`."""

import argparse
import importlib
import sys
from types import ModuleType

_EXIT_CODE_BROKEN = 1
_EXIT_CODE_UNUSABLE = 2
_EXIT_CODE_INTERRUPTED = 130

_TRAINING_COMMANDS = {
    "train": ("train", "train on labelled transactions and measure"),
    "evaluate": ("evaluate", "measure an artifact on labelled transactions"),
    "compare": ("compare", "train several models on one split in time and compare them"),
    "drift": ("drift", "say which features of newer transactions are not what an artifact was trained on"),
    "synthesize": ("synthetic", "make up labelled transactions"),
}
"""Commands with the module of app.training that answers them, and what they do."""


def run_command(arguments: list[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit code: 0 when done, 1 when the world is broken, 2 for wrong usage or unusable data, 130 when
        interrupted.
    """
    try:
        return _run(sys.argv[1:] if arguments is None else arguments)
    except ModuleNotFoundError as error:
        print(f"This command needs {error.name}, which is not installed: run `make install`.", file=sys.stderr)
        return _EXIT_CODE_BROKEN
    except KeyboardInterrupt:
        return _EXIT_CODE_INTERRUPTED


def _run(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m app", description="The scoring service, and training.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser(
        "serve",
        help="answer POST /score until SIGTERM or Ctrl+C",
        epilog="Its settings are environment variables APP_…, or lines of a file .env; see README.md.",
    )
    wanted = arguments[0] if arguments else ""
    for name, (module, summary) in _TRAINING_COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        if name == wanted:
            _training_module(module).add_arguments(command)
    parsed = parser.parse_args(arguments)
    if parsed.command == "serve":
        from app.main import serve  # noqa: PLC0415 - training needs no server

        return serve()
    return _train(parsed)


def _training_module(name: str) -> ModuleType:
    # Imported only now, because the libraries of training are in an extra and the service does without them.
    return importlib.import_module(f"app.training.{name}")


def _train(parsed: argparse.Namespace) -> int:
    from app.scoring.errors import ArtifactError  # noqa: PLC0415 - as late as the rest of training
    from app.training.errors import TrainingError  # noqa: PLC0415

    module = _training_module(_TRAINING_COMMANDS[parsed.command][0])
    try:
        answer: int = module.run(module.plan_of(parsed))
    except TrainingError as error:
        print(error, file=sys.stderr)
        return _EXIT_CODE_UNUSABLE
    except ArtifactError as error:
        print(error, file=sys.stderr)
        return _EXIT_CODE_BROKEN
    return answer


if __name__ == "__main__":
    sys.exit(run_command())
