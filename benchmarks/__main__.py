"""`python -m benchmarks NAME [--quick]` measures, NAME being one of them or all; `table` rewrites the tables."""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import msgspec

from benchmarks import backlog, bridge_throughput, figures, latency, overload, rest, scoring, table
from benchmarks.machine import busy_percent
from benchmarks.progress import tell

_QUIET_PERCENT = 20

_BENCHMARKS = {
    "scoring": scoring.run,
    "bridge": bridge_throughput.run,
    "latency": latency.run,
    "rest": rest.run,
    "overload": overload.run,
    "backlog": backlog.run,
}


def run_command(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="What the README's figures come from.")
    parser.add_argument("benchmark", choices=[*_BENCHMARKS, "all", "table"])
    parser.add_argument("--quick", action="store_true", help="fewer rounds and rows; kept beside the real results")
    parsed = parser.parse_args(arguments)
    if parsed.benchmark == "table":
        table.rewrite()
        return 0
    for tuning in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        os.environ.pop(tuning, None)
    chosen = list(_BENCHMARKS) if parsed.benchmark == "all" else [parsed.benchmark]
    with tempfile.TemporaryDirectory(prefix="neighborwatch-benchmarks-") as work:
        for name in chosen:
            busy = busy_percent()
            if busy > _QUIET_PERCENT:
                tell(f"{name}: other work takes {busy:.0f} % of this machine, so that its figures will say little")
            result = _BENCHMARKS[name](Path(work), is_quick=parsed.quick)
            result = msgspec.structs.replace(result, machine=result.machine | {"busy_percent_before": busy})
            path = figures.write(result)
            tell(f"{name}: kept in {path}")
            print(table.of([result]))
            for note in result.notes:
                print(note)
    return 0


if __name__ == "__main__":
    sys.exit(run_command())
