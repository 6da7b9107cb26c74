"""`python -m chaos`: plays scenarios one after the other, prints a table, and saves what each came to."""

import argparse
import asyncio
import logging
import sys

from rich.console import Console
from rich.table import Table

from chaos import outcome as outcomes
from chaos.outcome import Outcome
from chaos.proxy import NoProxyError
from chaos.scenarios import SCENARIOS, run
from chaos.stage import shipped_model
from tests.integration.broker import NoBrokerError
from tests.integration.small_disk import can_be_mounted

_WIDTH_OF_A_FILE = 150

_console = Console(soft_wrap=True, highlight=False, width=None if sys.stdout.isatty() else _WIDTH_OF_A_FILE)


def main(arguments: list[str] | None = None) -> int:
    """Play.

    Returns:
        0 when every scenario came out as it should, 1 when one did not.
    """
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"of {', '.join(SCENARIOS)} (all)")
    parser.add_argument(
        "--document", action="store_true", help="play nothing: write the saved results into docs/delivery.md"
    )
    parsed = parser.parse_args(arguments)
    if parsed.document:
        return _write_document()
    unknown = set(parsed.scenarios) - SCENARIOS.keys()
    if unknown:
        parser.error(f"there is no scenario {', '.join(sorted(unknown))}; there are {', '.join(SCENARIOS)}")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # its complaints of what is done here are no news
    try:
        return _play(parsed.scenarios or list(SCENARIOS))
    except NoBrokerError as error:
        print(f"Chaos needs Apache Kafka: {error}", file=sys.stderr)
        return 1


def _play(names: list[str]) -> int:
    model = shipped_model()
    played = []
    for name in names:
        if SCENARIOS[name].script.disk_mib is not None and not can_be_mounted():
            _console.print(f"{name} is skipped: only root can mount the small disk that it fills.")
            continue
        _console.print(f"{name}: {SCENARIOS[name].script.claim} …")
        try:
            outcome = asyncio.run(run(SCENARIOS[name], model))
        except NoProxyError as error:
            _console.print(f"{name} is skipped: {error}")
            continue
        outcomes.save(outcome)
        played.append(outcome)
        _console.print(_table([outcome]))
        for note in (*outcome.notes, *outcome.last_words):
            _console.print(f"  {note}", markup=False)
    _console.print(_table(played))
    failed = [outcome.scenario for outcome in played if not outcome.is_as_expected]
    _console.print(f"NOT AS IT SHOULD BE: {', '.join(failed)}." if failed else "All as it should be.")
    return 1 if failed else 0


def _table(played: list[Outcome]) -> Table:
    table = Table()
    names = ("scenario", "records", "kills", "rebalances", "aborted", "lost", "doubled", "out of order", "longest gap")
    for name in names:
        table.add_column(name, justify="left" if name == "scenario" else "right")
    for outcome in played:
        counts = (outcome.n_records, outcome.n_kills, outcome.n_rebalances, outcome.n_aborted)
        numbers = (*counts, outcome.lost, outcome.doubled, outcome.out_of_order)
        table.add_row(outcome.scenario, *(f"{number:,}" for number in numbers), f"{outcome.longest_gap_seconds:.1f} s")
    return table


def _write_document() -> int:
    saved = outcomes.load()
    document = outcomes.DOCUMENT.read_text(encoding="utf-8")
    ordered = [saved[name] for name in SCENARIOS if name in saved]
    outcomes.DOCUMENT.write_text(outcomes.rewrite(document, ordered), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
