"""`python -m bridge prove`: was every transaction answered exactly once, in order, and with what the model says?"""

import argparse
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bridge.audit import Defect, Findings, Judge, Kind, Ledger, Sample
from bridge.comparison import Comparison, Rescorer
from bridge.offset_range import Bound, add_range_arguments
from bridge.settings import Settings
from bridge.trail import trailing
from bridge.verdict import PartitionRange, Verdict, add_json_argument, announce, report_defects

_DEFAULT_SAMPLE = 10_000
_DOUBLES = frozenset({Defect.DOUBLED, Defect.DOUBLED_ALERT})


@dataclass(frozen=True)
class Plan:
    """What to audit: rescore is how many transactions are scored again (None: all); json is a file, `-`, or nothing."""

    first: Bound | None = None
    last: Bound | None = None
    rescore: int | None = _DEFAULT_SAMPLE
    artifact: Path | None = None
    allows_doubles: bool = False
    json: str | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_range_arguments(parser)
    parser.add_argument(
        "--rescore",
        type=_sample_size,
        default=_DEFAULT_SAMPLE,
        metavar="N|all|none",
        help=f"how many transactions are scored again, evenly spread ({_DEFAULT_SAMPLE})",
    )
    parser.add_argument("--artifact", type=Path, help="the model that answered (the one that the settings name)")
    parser.add_argument(
        "--allow-doubles", action="store_true", help="count doubles and allow them: at-least-once may make some"
    )
    add_json_argument(parser)


def plan_of(parsed: argparse.Namespace) -> Plan:
    return Plan(
        first=parsed.first,
        last=parsed.last,
        rescore=parsed.rescore,
        artifact=parsed.artifact,
        allows_doubles=parsed.allow_doubles,
        json=parsed.json,
    )


def _sample_size(text: str) -> int | None:
    if text in ("all", "none"):
        return None if text == "all" else 0
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is neither a number, nor all, nor none")
    return int(text)


async def run(settings: Settings, plan: Plan) -> int:
    """Audit, and say what was found.

    Returns:
        0 when it is proved, 1 when not.

    Raises:
        ArtifactError: the model cannot be used.
        BridgeError: the broker or a topic cannot be used.
    """
    verdict = await audit(settings, plan)
    await announce(verdict, verdict.sentences(), plan.json)
    return 0 if verdict.is_proved else 1


async def audit(settings: Settings, plan: Plan) -> Verdict:
    """Read the topics and judge every transaction in the plan's range.

    Raises:
        ArtifactError: the model cannot be used.
        BridgeError: the broker or a topic cannot be used.
    """
    rescorer = None if plan.rescore == 0 else Rescorer(settings, plan.artifact)
    outputs = {
        settings.predictions_topic: Kind.PREDICTION,
        settings.alerts_topic: Kind.ALERT,
        settings.dead_letter_topic: Kind.DEAD_LETTER,
    }
    findings = Findings()
    judge = Judge(findings, rescorer.model_version if rescorer else None)
    async with trailing(settings, outputs) as trail:
        extent = await trail.survey(plan.first, plan.last)
        ranges = {where.partition: offsets for where, offsets in extent.inputs.items()}
        ledger = Ledger(settings.transactions_topic, ranges, extent.ends, judge, findings)
        sample = Sample(list(ranges.values()), plan.rescore)
        await Comparison(trail, extent, ledger, findings, rescorer=rescorer, sample=sample).run()
    allowed = _DOUBLES if plan.allows_doubles else frozenset()
    return Verdict(
        is_proved=not findings.counts.keys() - allowed,
        topic=settings.transactions_topic,
        ranges=tuple(PartitionRange(partition, *offsets) for partition, offsets in sorted(ranges.items())),
        transactions=ledger.n_inputs,
        predictions=ledger.n_outputs[Kind.PREDICTION],
        dead_letters=ledger.n_outputs[Kind.DEAD_LETTER],
        alerts=ledger.n_outputs[Kind.ALERT],
        waiting=extent.waiting,
        rescored=judge.n_rescored,
        model_version=judge.model_version,
        largest_difference=judge.largest_difference,
        lost=findings.counts[Defect.LOST],
        doubled=findings.counts[Defect.DOUBLED],
        out_of_order=findings.counts[Defect.OUT_OF_ORDER],
        defects=report_defects(findings, allowed),
        audited_at=datetime.now(UTC),
    )
