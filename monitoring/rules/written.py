"""All rules as the text of rules.yml."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from monitoring.rules import drift, feed, journal, models, quality, service
from monitoring.rules.rule import Alert, Group, Record
from monitoring.rules.timescale import TimeScale, prometheus_duration
from monitoring.rules.words import template

GROUPS: Final[tuple[Group, ...]] = (
    service.GROUP,
    models.GROUP,
    feed.GROUP,
    journal.GROUP,
    drift.GROUP,
    quality.GROUP,
)

RULES_FILE: Final = Path(__file__).resolve().parents[1] / "prometheus" / "rules.yml"
RUNBOOKS: Final = "monitoring/runbooks.md"
"""The path in a checkout, which whoever runs the compose file has; nobody but the operator knows a better address."""


def rules_text(scale: TimeScale = TimeScale(), runbooks: str = RUNBOOKS) -> str:  # noqa: B008  # frozen
    """YAML for Prometheus's `rule_files`. runbooks: where runbooks.md is read, a path or an address."""
    content = {"groups": [_group(group, scale, runbooks) for group in GROUPS]}
    return f"# Written by `{_command(scale, runbooks)}`: change monitoring/rules/ instead.\n" + yaml.dump(
        content, Dumper=_Dumper, sort_keys=False, width=10_000, allow_unicode=True
    )


def _command(scale: TimeScale, runbooks: str) -> str:
    options = [
        *([f" --time-scale {scale.factor:g}"] if scale.factor > 1 else []),
        *([f" --runbooks {runbooks}"] if runbooks != RUNBOOKS else []),
    ]
    return "python -m monitoring rules" + "".join(options)


def _group(group: Group, scale: TimeScale, runbooks: str) -> dict[str, Any]:
    return {
        "name": f"signalserve-{group.name}",
        "interval": prometheus_duration(scale.interval_s),
        "rules": list(_rules(group, scale, runbooks)),
    }


def _rules(group: Group, scale: TimeScale, runbooks: str) -> Iterator[dict[str, Any]]:
    for record in group.records:
        yield _record(record, scale)
    for alert in group.alerts:
        if scale.factor == 1 or not alert.compares_as_of_with_now:
            yield _alert(alert, scale, runbooks)


def _record(record: Record, scale: TimeScale) -> dict[str, Any]:
    return {"record": record.name, "expr": scale.expression(record.expr.strip())}


def _alert(alert: Alert, scale: TimeScale, runbooks: str) -> dict[str, Any]:
    wait = scale.wait(alert.wait)
    return {
        "alert": alert.name,
        "expr": scale.expression(alert.expr.strip()),
        **({"for": wait} if wait != "0ms" else {}),
        "labels": {"severity": alert.severity},
        "annotations": {
            "summary": template(alert.summary),
            "description": template(alert.description),
            "runbook_url": f"{runbooks}#{alert.name.lower()}",
        },
    }


class _Dumper(yaml.SafeDumper):
    """Expressions of several lines as they were written."""


def _represent(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent)
