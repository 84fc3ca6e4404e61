"""The committed dashboards: that the code writes them, that Grafana can read them, that queries ask for what is."""

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from monitoring.__main__ import main
from monitoring.dashboards.runbooks import sections
from monitoring.dashboards.written import FOLDER, dashboard_texts
from monitoring.metrics_table import documented_series, metrics_in
from monitoring.rules.written import GROUPS
from tests.monitoring.dashboard_linter import (
    EXCEPTIONS,
    expressions,
    faults,
    filled,
    panels,
    promql_faults,
    variables,
)
from tests.monitoring.test_rules import expression_test, needs_promtool

NAMES = ("signalserve.json", "signalserve-drift.json", "signalserve-runbooks.json")
PROVISIONING = FOLDER.parent / "provisioning"
OF_PROMETHEUS = {"ALERTS", "ALERTS_FOR_STATE"}


def committed(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / name).read_text())


def plots() -> dict[str, dict[str, Any]]:
    return {name: committed(name) for name in NAMES if any(expressions(committed(name)))}


def test_the_committed_files_are_what_the_code_writes() -> None:
    on_disk = {path.name: path.read_text() for path in FOLDER.iterdir()}
    assert on_disk == dashboard_texts(), "write them anew: make monitoring"


def test_the_command_writes_every_dashboard_where_it_is_told_to(tmp_path: Path) -> None:
    assert main(["dashboards", "--out", str(tmp_path / "new")]) == 0
    assert {path.name: path.read_text() for path in (tmp_path / "new").iterdir()} == dashboard_texts()


@pytest.mark.parametrize("name", NAMES)
class TestDashboard:
    def test_survives_the_sdk_which_drops_what_it_does_not_know(self, name: str) -> None:
        assert list(lost(committed(name), through_the_sdk(committed(name)))) == []

    def test_is_as_grafanas_linter_wants_it(self, name: str) -> None:
        assert faults(committed(name)) == []

    def test_numbers_its_panels(self, name: str) -> None:
        ids = [panel["id"] for panel in panels(committed(name))]
        assert ids == list(range(1, len(ids) + 1))

    def test_leaves_no_gap_and_no_overlap_in_its_grid(self, name: str) -> None:
        taken = set()
        for panel in committed(name)["panels"]:
            at = panel["gridPos"]
            cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
            assert not cells & taken and at["x"] + at["w"] <= 24, panel["title"]
            taken |= cells

    def test_leads_only_to_dashboards_that_are_there(self, name: str) -> None:
        addresses = {text.split("?")[0] for text in _values(committed(name), "url")}
        assert addresses <= {f"/d/{committed(other)['uid']}" for other in NAMES}

    def test_has_the_uid_of_its_file(self, name: str) -> None:
        assert committed(name)["uid"] == name.removesuffix(".json")


def through_the_sdk(dashboard: dict[str, Any]) -> dict[str, Any]:
    register_default_plugins()
    return json.loads(json.dumps(Dashboard.from_json(dashboard), cls=JSONEncoder))


def lost(before: Any, after: Any, at: str = "") -> Iterator[str]:
    """Where something is missing or different; what was added, such as an option's default, is none of that."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            yield from lost(value, after.get(key, "missing"), f"{at}/{key}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (value, other) in enumerate(zip(before, after, strict=True)):
            yield from lost(value, other, f"{at}/{number}")
    elif before != after:
        yield f"{at}: {before!r} became {after!r}"


def test_what_the_sdk_drops_is_seen() -> None:
    dashboard = committed("signalserve.json")
    dashboard["panels"][0]["options"]["unheardOf"] = 1
    assert list(lost(dashboard, through_the_sdk(dashboard))) == ["/panels/0/options/unheardOf: 1 became 'missing'"]


def _values(content: Any, key: str) -> list[str]:
    if isinstance(content, dict):
        own = [content[key]] if isinstance(content.get(key), str) else []
        return own + [text for value in content.values() for text in _values(value, key)]
    if isinstance(content, list):
        return [text for value in content for text in _values(value, key)]
    return []


def test_every_query_is_promql(tmp_path: Path) -> None:
    assert promql_faults(plots(), tmp_path) == ""


def test_a_query_that_is_no_promql_is_found(tmp_path: Path) -> None:
    broken = {"x": {"panels": [{"title": "p", "targets": [{"expr": "sum by (le (x)"}]}]}}
    assert "could not parse expression" in promql_faults(broken, tmp_path)


def test_every_metric_is_documented_and_every_recording_rule_exists() -> None:
    known = documented_series() | {record.name for group in GROUPS for record in group.records} | OF_PROMETHEUS
    asked = [expression for dashboard in plots().values() for _, expression in expressions(dashboard)]
    asked += [variable["query"] for dashboard in plots().values() for variable in variables(dashboard)[1:]]
    names = {
        name
        for expression in asked
        for name in metrics_in(filled(expression, {}))
        if name not in {"symbol", "job", "instance", "arm", "window"}
    }
    assert names and names <= known, names - known


def test_every_alert_has_its_runbook_in_grafana() -> None:
    titles = {panel["title"] for panel in committed("signalserve-runbooks.json")["panels"]}
    assert titles == {alert.name for group in GROUPS for alert in group.alerts}


def test_a_runbook_is_its_section_of_the_file() -> None:
    text = "# Runbooks\n\nIntroduction.\n\n## First\n\nOne.\n\n### Deeper\n\nTwo.\n\n## Second\n\nThree.\n"
    assert sections(text) == {"First": "One.\n\n### Deeper\n\nTwo.", "Second": "Three."}


def test_the_verdict_is_the_first_that_is_seen() -> None:
    first = committed("signalserve.json")["panels"][0]
    [mapping] = first["fieldConfig"]["defaults"]["mappings"]
    assert first["title"] == "Verdict"
    assert [mapping["options"][value]["text"] for value in "0123"] == ["calm", "look", "act now", "not known"]


STATISTICS_OF = {"now": ("0+15x20", 0), "three minutes ago": ("-60x20", 3), "never": (" ".join(["NaN"] * 21), 3)}


@needs_promtool
@pytest.mark.parametrize(("values", "state"), STATISTICS_OF.values(), ids=STATISTICS_OF.keys())
def test_the_verdict_is_not_calm_on_old_statistics(tmp_path: Path, values: str, state: int) -> None:
    here = 'job="signalserve",instance="a:8083"'
    series = [
        {"series": f"up{{{here}}}", "values": "1x20"},
        {"series": f"signalserve_ready{{{here}}}", "values": "1x20"},
        {"series": f"signalserve_journal_ok{{{here}}}", "values": "1x20"},
        {"series": f"signalserve_failed_gates{{{here}}}", "values": "2x20"},  # which is info
        {"series": f"signalserve_statistics_timestamp_seconds{{{here}}}", "values": values},
    ]
    verdict = committed("signalserve.json")["panels"][0]["targets"][0]["expr"]
    expression_test(tmp_path, series, verdict, [{"labels": "{}", "value": state}], at="2m")


# --- the linter itself: each rule finds what it is for ---------------------------------------------------------------


def drop(*path: str | int) -> Callable[[dict[str, Any]], None]:
    def change(dashboard: dict[str, Any]) -> None:
        place: Any = dashboard
        for key in path[:-1]:
            place = place[key]
        del place[path[-1]]

    return change


def put(value: Any, *path: str | int) -> Callable[[dict[str, Any]], None]:
    def change(dashboard: dict[str, Any]) -> None:
        place: Any = dashboard
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return change


def ask(expression: str) -> Callable[[dict[str, Any]], None]:
    return put(expression, "panels", 1, "targets", 0, "expr")


OWN = 'job=~"$job",instance=~"$instance"'
AGE = ("panels", 1)  # the second panel, a stat


@pytest.mark.parametrize(
    ("rule", "spoil"),
    [
        ("uneditable-dashboard-rule", put(True, "editable")),
        ("template-datasource-rule", drop("templating", "list", 0)),
        ("template-datasource-rule", put("Source", "templating", "list", 0, "label")),
        ("template-job-rule", put(False, "templating", "list", 1, "multi")),
        ("template-instance-rule", put(".*", "templating", "list", 2, "allValue")),
        ("template-label-promql-rule", put("signalserve_ready", "templating", "list", 3, "query")),
        ("template-on-time-change-reload-rule", put(1, "templating", "list", 3, "refresh")),
        ("template-unused-rule", put("nobody", "templating", "list", 4, "name")),
        ("panel-title-description-rule", drop(*AGE, "title")),
        ("panel-title-description-rule", put("", *AGE, "description")),
        ("panel-datasource-rule", put("prometheus", *AGE, "datasource", "uid")),
        ("panel-datasource-rule", put("prometheus", *AGE, "targets", 0, "datasource", "uid")),
        ("panel-units-rule", drop(*AGE, "fieldConfig", "defaults", "unit")),
        ("panel-units-rule", put("parsec", *AGE, "fieldConfig", "defaults", "unit")),
        ("panel-no-targets-rule", put([], *AGE, "targets")),
        ("target-job-rule", ask('up{instance=~"$instance"}')),
        ("target-instance-rule", ask('up{job=~"$job"}')),
        ("target-job-rule", ask("up")),
        ("target-counter-agg-rule", ask(f"signalserve_errors_total{{{OWN}}}")),
        ("target-counter-agg-rule", ask(f"up{{{OWN}}} + signalserve_errors_total")),
        ("target-rate-interval-rule", ask(f"rate(signalserve_errors_total{{{OWN}}}[5m])")),
        ("target-histogram-rule", ask(f"rate(signalserve_confidence_bucket{{{OWN}}}[$__rate_interval])")),
    ],
)
def test_the_linter_finds_what_is_spoilt(rule: str, spoil: Callable[[dict[str, Any]], None]) -> None:
    dashboard = copy.deepcopy(committed("signalserve.json"))
    spoil(dashboard)
    assert rule in {fault.rule for fault in faults(dashboard)}


def test_every_exception_from_the_linter_is_needed() -> None:
    said = {(fault.rule, fault.where) for fault in faults(committed("signalserve.json"), exceptions=())}
    assert said == EXCEPTIONS.keys()


# --- provisioning ----------------------------------------------------------------------------------------------------


def test_the_datasource_is_the_prometheus_of_the_compose_file() -> None:
    [source] = yaml.safe_load((PROVISIONING / "datasources/prometheus.yml").read_text())["datasources"]
    compose = yaml.safe_load((FOLDER.parents[2] / "docker-compose.yml").read_text())
    assert source["type"] == "prometheus" and source["isDefault"]
    assert source["url"] == "http://prometheus:9090" and "prometheus" in compose["services"]


def test_grafana_reckons_with_the_interval_at_which_prometheus_scrapes() -> None:
    [source] = yaml.safe_load((PROVISIONING / "datasources/prometheus.yml").read_text())["datasources"]
    scraping = yaml.safe_load((FOLDER.parents[1] / "prometheus/prometheus.yml").read_text())
    assert source["jsonData"]["timeInterval"] == scraping["global"]["scrape_interval"]


def test_the_dashboards_are_provisioned_from_where_they_are_mounted() -> None:
    [provider] = yaml.safe_load((PROVISIONING / "dashboards/signalserve.yml").read_text())["providers"]
    compose = yaml.safe_load((FOLDER.parents[2] / "docker-compose.yml").read_text())
    mounted = {v["target"]: v["source"] for v in compose["services"]["grafana"]["volumes"] if v["type"] == "bind"}
    assert (FOLDER.parents[2] / mounted[provider["options"]["path"]]).resolve() == FOLDER
    assert not provider["allowUiUpdates"]
