"""What a process shows to Prometheus, and what docs/metrics.md says that it shows."""

import re
from pathlib import Path
from typing import NamedTuple

import httpx
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

_TABLES = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")


class Shown(NamedTuple):
    """A metric, as the table or a scrape has it."""

    name: str
    type: str
    labels: tuple[str, ...]


def documented(heading: str) -> list[Shown]:
    """The table of a process in docs/metrics.md."""
    section = _TABLES.partition(f"## {heading}")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?) ?\|", section, flags=re.MULTILINE)
    return [Shown(name, kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows]


def shown(families: dict[str, Metric]) -> list[Shown]:
    return [
        Shown(family.name, family.type, tuple(sorted({label for sample in family.samples for label in sample.labels})))
        for family in families.values()
    ]


def without_bounds(shown: list[Shown]) -> list[Shown]:
    """Sorted, and without the label of a histogram's buckets."""
    return sorted(row._replace(labels=tuple(label for label in row.labels if label != "le")) for row in shown)


def scrape(address: str) -> dict[str, Metric]:
    """What Prometheus gets, by name."""
    text = httpx.get(f"{address}/metrics").text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    return {name: family for name, family in families.items() if not name.endswith("_created")}


def value(families: dict[str, Metric], sample_name: str) -> float:
    """The sum over all labels."""
    return sum(sample.value for family in families.values() for sample in family.samples if sample.name == sample_name)
