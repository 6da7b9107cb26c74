import json
import re
import shutil
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.deploy.promql import metrics_of
from tests.unit.deploy.scrape import metric_names

_ROOT = Path(__file__).parents[3]
_DASHBOARD = json.loads((_ROOT / "deploy/grafana/dashboards/neighborwatch.json").read_text(encoding="utf-8"))
_PROVISIONING = _ROOT / "deploy" / "grafana" / "provisioning"
_RECORDING = yaml.safe_load((_ROOT / "deploy/prometheus/rules/recording.yml").read_text(encoding="utf-8"))
_DATA_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_COLUMNS = 24

_PANELS: list[dict[str, Any]] = [panel for panel in _DASHBOARD["panels"] if panel["type"] != "row"]
_QUERIES: list[str] = [target["expr"] for panel in _PANELS for target in panel["targets"]]


def test_it_has_a_row_for_each_kind_of_reader() -> None:
    rows = [panel["title"] for panel in _DASHBOARD["panels"] if panel["type"] == "row"]

    assert rows == ["Business", "Pipeline", "Model", "Service"]


@pytest.mark.parametrize("panel", _PANELS, ids=lambda panel: panel["title"])
def test_a_panel_says_what_it_shows_in_which_unit_from_the_chosen_source(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["datasource"] == _DATA_SOURCE
    assert panel["targets"]
    assert [target["datasource"] for target in panel["targets"]] == [_DATA_SOURCE] * len(panel["targets"])


def test_the_data_source_is_a_variable_and_prometheus_by_default() -> None:
    (variable,) = _DASHBOARD["templating"]["list"]
    (source,) = yaml.safe_load((_PROVISIONING / "datasources" / "prometheus.yml").read_text())["datasources"]

    assert (variable["name"], variable["type"], variable["query"]) == ("datasource", "datasource", "prometheus")
    assert (source["type"], source["isDefault"]) == ("prometheus", True)


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    panels = _DASHBOARD["panels"]
    places = [panel["gridPos"] for panel in panels]

    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(place["x"] + place["w"] <= _COLUMNS for place in places)
    assert not [(one, other) for one, other in combinations(places, 2) if _overlap(one, other)]


def _overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    return all(
        one[start] < other[start] + other[size] and other[start] < one[start] + one[size]
        for start, size in (("x", "w"), ("y", "h"))
    )


@pytest.mark.parametrize("query", sorted(set(_QUERIES)))
def test_a_query_asks_only_for_what_the_code_shows_or_a_rule_records(query: str, artifact: Path) -> None:
    recorded = {rule["record"] for group in _RECORDING["groups"] for rule in group["rules"]}

    assert metrics_of(query) <= metric_names(artifact) | recorded


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not on this machine; Debian has it in the package prometheus"
)
def test_prometheus_can_read_every_query(tmp_path: Path) -> None:
    # As recording rules, since promtool reads rules; Grafana puts a duration where $__rate_interval stands.
    rules = [
        {"record": f"panel:query:{number}", "expr": re.sub(r"\$__rate_interval", "1m", query)}
        for number, query in enumerate(_QUERIES)
    ]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))

    ended = subprocess.run(["promtool", "check", "rules", file], capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"{len(_QUERIES)} rules found" in ended.stdout


def test_the_folder_that_is_provisioned_is_the_one_that_compose_mounts() -> None:
    (provider,) = yaml.safe_load((_PROVISIONING / "dashboards" / "neighborwatch.yml").read_text())["providers"]
    grafana = yaml.safe_load((_ROOT / "docker-compose.yml").read_text())["services"]["grafana"]

    assert f"./deploy/grafana/dashboards:{provider['options']['path']}:ro" in grafana["volumes"]
