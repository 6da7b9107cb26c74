"""`python -m bridge report`: sums, latency and pictures of what stands in the topics."""

import argparse
import asyncio
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from bridge.pictures import draw_stream
from bridge.settings import Settings
from bridge.stream import frauds_by_label, reading
from bridge.summary import summary


@dataclass(frozen=True)
class Plan:
    """Where the pictures go, and the labelled file that was streamed, if there is one."""

    output: Path
    labels: Path | None
    label: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", type=Path, default=Path("report"), help="directory of the pictures (report)")
    parser.add_argument("--labels", type=Path, metavar="CSV", help="the file that was streamed, for its labels")
    parser.add_argument("--label", default="Class", metavar="COLUMN", help="its label column (Class)")


async def run(settings: Settings, plan: Plan) -> int:
    """Read the topics from their beginning to their end as it is now.

    Returns:
        0 when every transaction was answered or is a dead letter, 1 when not.

    Raises:
        BridgeError: the broker, a topic or the labelled file cannot be used.
    """
    async with reading(settings, arrives_now=False) as reader:
        await reader.read_to_end()
    if plan.labels is not None:
        reader.stream.fraud_sources = frauds_by_label(reader.lines, plan.labels, plan.label)
    plan.output.mkdir(parents=True, exist_ok=True)
    pictures = await asyncio.to_thread(draw_stream, reader.stream, settings.threshold, plan.output)
    console = Console()
    console.print(summary(reader.stream))
    console.print(f"Pictures: {', '.join(str(picture) for picture in pictures)}", soft_wrap=True)
    return 0 if reader.stream.is_complete else 1
