import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.deploy.promql import metrics_of
from tests.unit.deploy.scrape import metric_names

_ROOT = Path(__file__).parents[3]
_PROMETHEUS = _ROOT / "deploy" / "prometheus"
_RUNBOOK = (_ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
_STORIES = ("rules_test.yml", "rules_days_test.yml")

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not on this machine; Debian has it in the package prometheus"
)


def _rules(file: str) -> list[dict[str, Any]]:
    groups = yaml.safe_load((_PROMETHEUS / "rules" / file).read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


_ALERTS = _rules("alerts.yml")
_RECORDINGS = _rules("recording.yml")


@needs_promtool
def test_promtool_takes_the_configuration_and_the_rules() -> None:
    ended = subprocess.run(
        ["promtool", "check", "config", _PROMETHEUS / "prometheus.yml"], capture_output=True, text=True, check=False
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr


@needs_promtool
@pytest.mark.parametrize("stories", _STORIES)
def test_each_alert_fires_and_stays_silent_as_its_stories_say(stories: str) -> None:
    ended = subprocess.run(
        ["promtool", "test", "rules", _PROMETHEUS / stories], capture_output=True, text=True, check=False
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize("alert", [rule["alert"] for rule in _ALERTS])
def test_an_alert_has_a_story_in_which_it_fires(alert: str) -> None:
    stories = "".join((_PROMETHEUS / name).read_text(encoding="utf-8") for name in _STORIES)

    fires = (
        rf'labels: (?:>-\n\s+)?ALERTS\{{alertname="{alert}", alertstate="firing"|alertname: {alert}\n.*\n\s+exp_alerts:'
    )
    assert re.search(fires, stories)


@pytest.mark.parametrize("rule", [*_ALERTS, *_RECORDINGS], ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_asks_only_for_what_the_code_shows_or_a_rule_records(rule: dict[str, Any], artifact: Path) -> None:
    recorded = {recording["record"] for recording in _RECORDINGS}

    assert metrics_of(rule["expr"]) <= metric_names(artifact) | recorded


@pytest.mark.parametrize("rule", _ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_and_where_the_runbook_has_it(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"]["runbook"] == f"docs/operations.md#{rule['alert'].lower()}"
    assert f"\n### {rule['alert']}\n" in _RUNBOOK


def test_the_runbook_has_no_alert_that_is_none() -> None:
    described = re.findall(r"^### (\w+)$", _RUNBOOK, flags=re.MULTILINE)

    assert sorted(described) == sorted(rule["alert"] for rule in _ALERTS)


def test_the_metrics_of_a_query_are_found() -> None:
    query = 'sum by (job, le) (rate(a_bucket{le="1.0"}[5m])) / on (job) job:b:rate5m and max(c{x!~"d|e"}) > 3'

    assert metrics_of(query) == {"a_bucket", "job:b:rate5m", "c"}
