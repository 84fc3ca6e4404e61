"""The rules of Grafana's own dashboard linter (github.com/grafana/dashboard-linter), by the names that it gives them.

Where this project has a reason to differ, the difference is in EXCEPTIONS, by panel or variable. Beyond its rules:
every kind of panel has words, names its unit and has queries, and every variable is used.
"""

import json
import re
import subprocess
from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

EXCEPTIONS: Final[Mapping[tuple[str, str], str]] = {
    ("target-job-rule", "Verdict"): "what is not chosen above must not be calm",
    ("target-instance-rule", "Verdict"): "as above",
    ("target-job-rule", "Firing alerts"): "an alert about what is not there has no job",
    ("target-instance-rule", "Firing alerts"): "as above",
}
NO_QUERIES: Final = frozenset({"row", "text"})
UNITS: Final = frozenset(
    ["none", "short", "percentunit", "bytes", "s", "dateTimeFromNow", "celsius", "bool_yes_no", "cps", "reqps"]
)
"""Of the linter's list, which is Grafana's, those that mean something here."""

INTERVALS: Final = {"$__rate_interval": "1m", "$__interval": "15s", "$__range": "6h"}
"""What Grafana puts for its own variables; any lengths will do to see whether a query is PromQL."""

_SELECTOR: Final = re.compile(r"(?P<name>[A-Za-z_:][\w:]*)\{(?P<matchers>[^}]*)\}(?P<range>\[[^\]]*\])?")
_BARE_COUNTER: Final = re.compile(r"\b\w+_total\b(?!\{)")
_RATES: Final = ("rate", "irate", "increase")


class Fault(NamedTuple):
    """rule: by the linter's name.  where: the panel's or variable's title."""

    rule: str
    where: str
    words: str


def panels(dashboard: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every panel, those in closed rows too."""
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels") or ()


def expressions(dashboard: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(title of the panel, PromQL) of every query."""
    for panel in panels(dashboard):
        for target in panel.get("targets") or ():
            yield panel["title"], target["expr"]


def variables(dashboard: Mapping[str, Any]) -> list[dict[str, Any]]:
    return dashboard.get("templating", {}).get("list", [])


def filled(expression: str, values: Mapping[str, str]) -> str:
    """A query as Grafana sends it. values: of the dashboard's own variables."""
    for name, value in {**INTERVALS, **{f"${name}": value for name, value in values.items()}}.items():
        expression = re.sub(re.escape(name) + r"(?!\w)", value.replace("\\", r"\\"), expression)
    return expression


def faults(dashboard: Mapping[str, Any], exceptions: Container[tuple[str, str]] = EXCEPTIONS) -> list[Fault]:
    """What the linter would say. A dashboard without queries, which is for reading, is only asked for words."""
    found = [*_dashboard(dashboard), *(fault for panel in panels(dashboard) for fault in _panel(dashboard, panel))]
    if any(expressions(dashboard)):
        found += _templates(dashboard)
    return [fault for fault in found if (fault.rule, fault.where) not in exceptions]


def promql_faults(dashboards: Mapping[str, Mapping[str, Any]], folder: Path) -> str:
    """What promtool says of all queries, as rules in one file (target-promql-rule); nothing where all can be read."""
    rules = [
        {"record": "query:of_a_panel", "labels": {"at": f"{number}"}, "expr": filled(expression, _any_value(dashboard))}
        for dashboard in dashboards.values()
        for number, (_, expression) in enumerate(expressions(dashboard))
    ]
    file = folder / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    run = subprocess.run(["promtool", "check", "rules", "--lint=none", file], capture_output=True, text=True)
    return "" if run.returncode == 0 else run.stdout + run.stderr


def _any_value(dashboard: Mapping[str, Any]) -> dict[str, str]:
    return {variable["name"]: ".+" for variable in variables(dashboard)}


def _dashboard(dashboard: Mapping[str, Any]) -> Iterator[Fault]:
    if dashboard.get("editable", True):
        yield Fault("uneditable-dashboard-rule", dashboard["title"], "can be edited; what is edited is lost")


def _templates(dashboard: Mapping[str, Any]) -> Iterator[Fault]:
    by_name = {variable["name"]: variable for variable in variables(dashboard)}
    source = by_name.get("datasource")
    if source is None or source["type"] != "datasource" or source["query"] != "prometheus":
        yield Fault("template-datasource-rule", "datasource", "is not a variable for a Prometheus")
    elif source["label"] != "Data source":
        yield Fault("template-datasource-rule", "datasource", f"is labelled {source['label']}, not Data source")
    for name in ("job", "instance"):
        yield from _service_template(name, by_name.get(name))
    text = json.dumps(dashboard)
    for name, variable in by_name.items():
        if variable["type"] == "query":
            if not re.fullmatch(r"label_values\(\w+(\{[^}]*\})?, \w+\)", variable["query"]):
                yield Fault("template-label-promql-rule", name, f"asks {variable['query']}, not label_values()")
            if variable["refresh"] != 2:
                yield Fault("template-on-time-change-reload-rule", name, "is not read anew when the time changes")
        if not re.search(rf"\${name}(?!\w)", text):
            yield Fault("template-unused-rule", name, "is used by no query")


def _service_template(name: str, variable: Mapping[str, Any] | None) -> Iterator[Fault]:
    rule = f"template-{name}-rule"
    if variable is None:
        yield Fault(rule, name, "is missing")
        return
    wanted = {"type": "query", "label": name.title(), "multi": True, "allValue": ".+"}
    for key, value in wanted.items():
        if variable.get(key) != value:
            yield Fault(rule, name, f"has {key} {variable.get(key)!r}, not {value!r}")
    if variable["datasource"]["uid"] != "$datasource":
        yield Fault(rule, name, "does not use $datasource")


def _panel(dashboard: Mapping[str, Any], panel: Mapping[str, Any]) -> Iterator[Fault]:
    title, kind = panel.get("title") or f"panel {panel.get('id')}", panel["type"]
    if kind == "row":
        return
    if not panel.get("title") or not panel.get("description"):
        yield Fault("panel-title-description-rule", title, "lacks a title or a description")
    if kind in NO_QUERIES:
        return
    if (panel.get("datasource") or {}).get("uid") != "$datasource":
        yield Fault("panel-datasource-rule", title, "does not use $datasource")
    unit = panel["fieldConfig"]["defaults"].get("unit")
    if unit not in UNITS:
        yield Fault("panel-units-rule", title, f"has the unit {unit!r}")
    if not panel.get("targets"):
        yield Fault("panel-no-targets-rule", title, "has no query")
    for target in panel.get("targets") or ():
        yield from (Fault(rule, title, words) for rule, words in _target(dashboard, kind, target))


def _target(dashboard: Mapping[str, Any], kind: str, target: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if target["datasource"]["uid"] != "$datasource":
        yield "panel-datasource-rule", "a query does not use $datasource"
    expression = target["expr"]
    multi = {variable["name"]: variable.get("multi", False) for variable in variables(dashboard)}
    for name in multi.keys() & {"job", "instance"}:
        wanted = f'{name}=~"${name}"'
        if any(wanted not in found["matchers"].split(",") for found in _SELECTOR.finditer(expression)) or (
            wanted not in expression
        ):
            yield f"target-{name}-rule", f"{expression} does not select by {wanted} everywhere"
    for found in _SELECTOR.finditer(expression):
        name = found["name"]
        function = re.search(r"(\w+)\s*\($", expression[: found.start()].rstrip())
        in_rate = found["range"] is not None and function is not None and function[1] in _RATES
        if _only_grows(name) and not in_rate:
            yield "target-counter-agg-rule", f"{name} stands outside rate() and increase()"
        if in_rate and found["range"] != "[$__rate_interval]":
            yield "target-rate-interval-rule", f"{name}{found['range']} is not [$__rate_interval]"
        if name.endswith("_bucket") and kind != "heatmap" and "histogram_quantile(" not in expression:
            yield "target-histogram-rule", f"{name} is neither under histogram_quantile() nor in a heatmap"
    if _BARE_COUNTER.search(expression):
        yield "target-counter-agg-rule", f"a counter without labels in {expression}"


def _only_grows(name: str) -> bool:
    """Counters and the parts of histograms, but not gauges that are called a count."""
    is_gauge = name.startswith(("signalserve_drift_", "signalserve_live_"))
    return name.endswith(("_total", "_bucket", "_sum", "_count")) and not is_gauge
