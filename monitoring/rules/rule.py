"""What a rule is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Severity = Literal["page", "ticket", "info"]
"""page: somebody looks now, whatever the hour. ticket: somebody looks today. info: it is so, and should be known."""


@dataclass(frozen=True)
class Record:
    """A series that Prometheus computes. expr: PromQL, with durations as `TimeScale.expression` reads them."""

    name: str
    expr: str


@dataclass(frozen=True)
class Alert:
    """name: also its section in runbooks.md.  expr: as a Record's; every series it gives is one alert.
    summary, description: placeholders as in words.py; the description ends with what to do first.
    wait: how long it must hold without a break.  compares_as_of_with_now: a replay is always old, so that such a rule
    says nothing there.
    """

    name: str
    severity: Severity
    expr: str
    summary: str
    description: str
    wait: str = "0s"
    compares_as_of_with_now: bool = False


@dataclass(frozen=True)
class Group:
    """Rules that are evaluated one after another, at one moment: a rule may use those before it."""

    name: str
    records: Sequence[Record] = ()
    alerts: Sequence[Alert] = ()
