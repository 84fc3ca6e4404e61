"""Texts of alerts: short placeholders -> the Go templates that Prometheus fills in.

{symbol}                                   a label of the alert
{value}  {value:percent}                   the number that its expression gave
{signalserve_drift_limit(symbol, arm)}     another series' number, that has the same such labels
"""

import re
from typing import Final

_PLACEHOLDER: Final = re.compile(r"\{(?P<name>\w+)(?:\((?P<labels>[\w, ]*)\))?(?::(?P<form>\w+))?\}")
_FORMS: Final = {
    "number": 'printf "%.3g"',
    "count": 'printf "%.0f"',
    "percent": "humanizePercentage",
    "duration": "humanizeDuration",
}
_SAME_SERVICE: Final = ("job", "instance")


def template(text: str) -> str:
    """The text as Prometheus wants it. Raises KeyError for a form that is none.

    >>> template("{symbol}: {value:percent}")
    '{{ $labels.symbol }}: {{ $value | humanizePercentage }}'
    """
    return _PLACEHOLDER.sub(_filled, text)


def series_named(text: str) -> set[str]:
    """The series whose numbers a text asks for."""
    return {found["name"] for found in _PLACEHOLDER.finditer(text) if found["labels"] is not None}


def labels_named(text: str) -> set[str]:
    """The labels of the alert that a text needs."""
    names: set[str] = set()
    for found in _PLACEHOLDER.finditer(text):
        if found["labels"] is not None:
            names.update(_SAME_SERVICE, _listed(found["labels"]))
        elif found["name"] != "value":
            names.add(found["name"])
    return names


def _filled(found: re.Match[str]) -> str:
    form = _FORMS[found["form"] or "number"]
    if found["labels"] is not None:
        return _looked_up(found["name"], (*_SAME_SERVICE, *_listed(found["labels"])), form)
    return f"{{{{ $value | {form} }}}}" if found["name"] == "value" else f"{{{{ $labels.{found['name']} }}}}"


def _listed(labels: str) -> list[str]:
    return [label.strip() for label in labels.split(",") if label.strip()]


def _looked_up(series: str, labels: tuple[str, ...], form: str) -> str:
    selector = ",".join(f"{label}='%s'" for label in labels)
    values = " ".join(f"$labels.{label}" for label in labels)
    query = f'printf "{series}{{{selector}}}" {values} | query'
    return f"{{{{ with {query} }}}}{{{{ . | first | value | {form} }}}}{{{{ else }}}}unknown{{{{ end }}}}"
