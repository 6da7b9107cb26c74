"""`python -m app serve | train | synthesize`."""

import argparse
import sys

_EXIT_CODE_UNUSABLE = 2
_EXIT_CODE_INTERRUPTED = 130


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
        return 1
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
    training = {"train": "train on labelled transactions and measure", "synthesize": "make up labelled transactions"}
    wanted = arguments[0] if arguments else ""
    for name, summary in training.items():
        command = commands.add_parser(name, help=summary)
        if name == wanted:
            _add_training_arguments(name, command)
    parsed = parser.parse_args(arguments)
    if parsed.command == "serve":
        from app.main import serve  # noqa: PLC0415 - training needs no server

        return serve()
    return _train_or_synthesize(parsed)


def _add_training_arguments(name: str, parser: argparse.ArgumentParser) -> None:
    # Imported only now, because the libraries of training are in an extra and the service does without them.
    from app.training import synthetic, train  # noqa: PLC0415

    (train if name == "train" else synthetic).add_arguments(parser)


def _train_or_synthesize(parsed: argparse.Namespace) -> int:
    from app.training import synthetic, train  # noqa: PLC0415
    from app.training.errors import TrainingError  # noqa: PLC0415

    try:
        if parsed.command == "train":
            return train.run(train.plan_of(parsed))
        plan = synthetic.Plan(
            rows=parsed.rows,
            fraud_rate=parsed.fraud_rate,
            cards=parsed.cards,
            days=parsed.days,
            decimals=parsed.decimals,
            seed=parsed.seed,
        )
        return synthetic.run(plan, parsed.output)
    except TrainingError as error:
        print(error, file=sys.stderr)
        return _EXIT_CODE_UNUSABLE


if __name__ == "__main__":
    sys.exit(run_command())
