"""The dashboard `signalserve-runbooks`: runbooks.md where whoever is called can read it, beside the plots."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from monitoring.dashboards import links
from monitoring.dashboards.panels import words

RUNBOOKS_FILE: Final = Path(__file__).resolve().parents[1] / "runbooks.md"

_SECTION: Final = re.compile(r"^## (?P<alert>[A-Z]\w+)\n(?P<text>.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)


def runbooks(text: str | None = None) -> Dashboard:
    """A closed row for each alert, in the order of their names: a browser's search finds it among the titles.

    text: of runbooks.md; the committed file's if None.
    """
    made = (
        Dashboard("signalserve: runbooks")
        .uid(links.RUNBOOKS)
        .description("What each alert means, what to look at, what to do. Open an alert's row.")
        .tags(["signalserve"])
        .readonly()
        .link(links.to_dashboard("Overview", links.OVERVIEW))
        .link(links.to_dashboard("One stream in depth", links.STREAM))
    )
    for alert, section in sorted(sections(text or RUNBOOKS_FILE.read_text()).items()):
        panel = words(f"Runbook of {alert}", "From monitoring/runbooks.md.", section, span=24, height=12)
        made.with_row(Row(alert).with_panel(panel))
    return made


def sections(text: str) -> Mapping[str, str]:
    """Alert -> its section of runbooks.md, as markdown."""
    return {found["alert"]: found["text"].strip() for found in _SECTION.finditer(text)}
