"""metrics.md as data, and the metrics that a PromQL expression names."""

import re
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TABLE: Final = Path(__file__).resolve().parent / "metrics.md"

GPU: Final = "GPU"
ELSEWHERE: Final = "From elsewhere"
"""Sections of what a service without a GPU does not show, and of what it never shows."""

_ROW: Final = re.compile(r"^\| `(\w+)` \| (\w+) \| ([\w, ]+) \| (.+) \| (.+) \|$")
_QUOTED: Final = re.compile(r"\"[^\"]*\"|'[^']*'")
_LABELS: Final = re.compile(r"\{[^}]*\}|\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
_NAME: Final = re.compile(r"(?<![\w:$])[A-Za-z_][\w:]*(?![\w:]*\s*\()")
_OPERATORS: Final = {"and", "or", "unless", "offset", "bool", "by", "without", "on", "ignoring", "inf", "nan"}


@dataclass(frozen=True)
class Documented:
    """One row. labels: without a histogram's `le`.  section: the heading that it stands under."""

    name: str
    type: str
    labels: frozenset[str]
    unit: str
    meaning: str
    section: str

    @property
    def series(self) -> frozenset[str]:
        """The names that a scrape shows and a query may use."""
        if self.type != "histogram":
            return frozenset({self.name})
        return frozenset(f"{self.name}_{part}" for part in ("bucket", "sum", "count"))


def documented_metrics(text: str | None = None) -> list[Documented]:
    """Every row of metrics.md. Raises ValueError for a row that is none of ours."""
    found, section = [], ""
    for line in (TABLE.read_text() if text is None else text).splitlines():
        if line.startswith("## "):
            section = line.removeprefix("## ")
        elif line.startswith("| `"):
            row = _ROW.match(line)
            if row is None:
                raise ValueError(f"expected | `metric` | type | labels | unit | meaning |, got {line}")
            name, kind, labels, unit, meaning = row.groups()
            names = frozenset() if labels == "none" else frozenset(labels.split(", "))
            found.append(Documented(name, kind, names, unit, meaning, section))
    return found


def documented_series() -> Set[str]:
    """Every name that a query may use, recording rules aside."""
    return {series for metric in documented_metrics() for series in metric.series}


def metrics_in(expression: str) -> set[str]:
    """The names of the series that a PromQL expression asks for, recording rules included.

    >>> sorted(metrics_in('sum by (job) (rate(up{job="a"}[5m])) > on (job) a:b'))
    ['a:b', 'up']
    """
    bare = _LABELS.sub(" ", re.sub(r"\[[^\]]*\]", " ", _QUOTED.sub("", expression)))
    bare = re.sub(r"\boffset\s+\w+", " ", bare)
    return {name for name in _NAME.findall(bare) if name.lower() not in _OPERATORS}
