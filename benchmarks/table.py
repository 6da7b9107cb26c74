"""Tables of figures in documents, made from the results: `python -m benchmarks table` rewrites them."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks import overload
from benchmarks.figures import RESULTS, Ratio, Result, read
from benchmarks.machine import ROOT

README = ROOT / "README.md"
OPERATIONS = ROOT / "docs" / "operations.md"
BENCHMARKS = ("scoring", "bridge", "latency", "rest", "overload", "backlog")

_BEGIN = "<!-- benchmarks: made by `python -m benchmarks table` -->"
_END = "<!-- end of benchmarks -->"


def of(results: Sequence[Result]) -> str:
    """A table in Markdown: what was compared, the median with its spread, and what it had to reach."""
    lines = ["| what | measured (least to most) | must reach | aim |", "|---|---|---|---|"]
    lines += [_line(ratio) for result in results for ratio in result.ratios]
    return "\n".join(lines)


def block(text: str) -> str:
    """The part of a document between the markers."""
    return text[text.index(_BEGIN) + len(_BEGIN) : text.index(_END)].strip()


def expected(document: Path) -> str:
    """What has to stand between its markers."""
    return _loads() if document == OPERATIONS else _comparisons()


def rewrite() -> None:
    """Put the tables into the documents."""
    for document in (README, OPERATIONS):
        text = document.read_text(encoding="utf-8")
        before, _, rest = text.partition(_BEGIN)
        after = rest.partition(_END)[2]
        document.write_text(f"{before}{_BEGIN}\n{expected(document)}\n{_END}{after}", encoding="utf-8")


def _comparisons() -> str:
    results = [read(name) for name in BENCHMARKS if (RESULTS / f"{name}.json").exists()]
    if not results:
        return "No result is kept yet: `make bench` makes one."
    return "\n\n".join([of(results), *_sentences(results)])


def _loads() -> str:
    """What the service made of each load, the medians."""
    result = read("overload")
    medians = {(figure.contestant, figure.name): _short(figure.spread.median) for figure in result.figures}
    columns = (overload.ANSWERED, overload.REFUSED, overload.P50, overload.P99, overload.MEMORY)
    lines = ["| asked for | answered/s | refused/s | p50 | p99 | memory |", "|---|---|---|---|---|---|"]
    for load in (overload.CAPACITY, *overload.LOADS):
        answered, refused, p50, p99, memory = (medians.get((load, column), "") for column in columns)
        latencies = f"{p50} ms | {p99} ms | {memory} MB" if p50 else " | | "
        lines.append(f"| {load} | {answered} | {refused or 0} | {latencies} |")
    return "\n".join(lines)


def _line(ratio: Ratio) -> str:
    least, most = sorted((ratio.spread.min, ratio.spread.max))
    goal = "at least" if ratio.better == "more" else "at most"
    reached = {"aim": "reached", "must": "not reached", "missed": "not reached"}[ratio.verdict]
    mark = " (missed)" if ratio.verdict == "missed" else ""
    measured = f"**{_short(ratio.spread.median)}** ({_short(least)} to {_short(most)})"
    return (
        f"| {ratio.name}: {ratio.compared} | {measured} | {goal} {_short(ratio.must)}{mark} "
        f"| {_short(ratio.aim)}, {reached} |"
    )


def _sentences(results: Sequence[Result]) -> list[str]:
    machines = {
        f"{result.machine['cores']} cores of {result.machine['processor']}, {result.machine['memory_gib']} GiB"
        for result in results
    }
    commits = sorted({result.commit for result in results})
    runs = sorted({len(ratio.spread.runs) for result in results for ratio in result.ratios})
    return [
        (
            f"Measured on {' and '.join(sorted(machines))}, at commit {', '.join(commits)}, {runs[0]} to {runs[-1]} "
            "runs each, contestants alternating; load generator, broker and contestant share these cores."
        )
    ]


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
