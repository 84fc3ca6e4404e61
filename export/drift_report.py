"""A drift reference -> a report's words and tables: its limits, what a window is worth, what is armed and what not."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from export.new_reference import NewReference
from export.report.cells import minute_text, percent_text
from export.report.model import Cell, Column, Line, LinePlot, Marker, Report, Section, Table, Verdict
from signalserve import CLASSES
from signalserve.drift import DAY, WINDOWS
from signalserve.drift.class_run import TIMES
from signalserve.drift.class_share import ClassFloor
from signalserve.drift.reference import Reference
from signalserve.invariants import SATURATED
from signalserve.watcher.drift_metrics import TARGET_DAYS

ARMS: Final = 9
"""That share the false alarms: of three symbols the two models and their pool."""

DAYS: Final = TARGET_DAYS * ARMS
"""Between false alarms of one arm."""

STATISTICS: Final = {
    "confidence_psi": "PSI of confidence",
    "class_psi": "PSI of the classes said",
    "logit_psi": "PSI of the largest |raw logit|",
    "confidence_shift": "mean confidence, up or down",
}

RATES: Final = {
    "clamp_rate": "a raw logit beyond the clamp",
    "saturation_rate": f"a confidence of {100 * SATURATED:g} % or more",
    "off_scale_rate": "columns off scale, the mean share",
}

USUAL: Final = (0.1, 0.2)
"""Limits of a PSI that are in use elsewhere, for independent values."""


# ---- a section of any report


def drift_section(reference: Reference, span: str) -> Section:
    """span: of the reference's bars, in words."""
    days = reference.limits.days
    return Section(
        title="Drift: what monitoring will hold predictions against",
        text=[
            f"The last {_listed(f'{window:,}' for window in WINDOWS)} predictions of an arm are held against the "
            f"{reference.n:,} of the reference. The limits here are those in force by default: {TARGET_DAYS:g} days "
            f"between false alarms of {ARMS} arms together (three symbols, each with two models and their pool), so "
            f"that one arm may raise one in {DAYS:g} days, by any of its statistics and windows. They were counted on "
            "streams drawn from the reference's own dependence, not taken from a formula for independent predictions. "
            f"`signalserve serve --days-between-false-alarms` sets other days; those beyond {days[-1]:g} days of one "
            "arm follow from the last that were counted.",
            f"What these limits cannot know is how different the coming months may be from the days of the reference, "
            f"{span}. A market that moves as it never did there passes them too, and nothing is broken then: hold it "
            "against newer bars (`signalserve calibrate --reference-only`).",
        ],
        tables=[_limit_table(reference), _worth_table(reference), _rate_table(reference), *_class_tables(reference)],
        plots=[_growth_plot(reference)],
    )


def drift_figures(reference: Reference) -> dict[str, Any]:
    """The section's numbers, for programs; null where something has no limit."""
    limits = reference.limits.at(DAYS)
    return {
        "days_between_false_alarms": DAYS,
        "n": reference.n,
        "limits": {
            name: {str(window): limits[name, window] for window in WINDOWS}
            for name in STATISTICS
            if (name, WINDOWS[0]) in limits
        },
        "rates": {name: rate.limit for name, rate in reference.rates.items()},
        "design_effect": {str(window): effect for window, effect in reference.design_effect.items()},
        "class_floors": {name: floor.floor(DAYS) for name, floor in _floors(reference)},
        "run_limit": reference.run_limit.limit(DAYS),
    }


def unarmed(reference: Reference) -> list[str]:
    """What raises no alarm with this reference, and why, a sentence each."""
    found = [f"{name} has no floor: {_why(floor)}." for name, floor in _floors(reference) if floor.floor(DAYS) is None]
    run = reference.run_limit
    if run.limit(DAYS) is None:
        found.append(f"One class on end has no limit: {_too_usual(run.days_between)}.")
    limits = reference.limits.at(DAYS)
    for window in WINDOWS:
        blind = [
            STATISTICS[name] for name in reference.counts if reference.is_blind(name, window, limits[name, window])
        ]
        if blind:
            found.append(
                f"The last {window:,} predictions can pass no limit of {_listed(blind)}: they are worth "
                f"{window / reference.design_effect[window]:.1f} independent ones, which may lie anywhere."
            )
    return found


def _limit_table(reference: Reference) -> Table:
    limits = reference.limits.at(DAYS)

    def cell(name: str, window: int) -> Cell:
        return None if reference.is_blind(name, window, limits[name, window]) else limits[name, window]

    return Table(
        title=f"Limits for {DAYS:g} days of one arm",
        note="An alarm is a value beyond its limit. PSI: how far the shares of the reference's own bins have moved; "
        f"elsewhere {_listed(f'{limit:g}' for limit in USUAL)} are usual, which takes predictions for independent. A "
        "dash: no window can lie so far away.",
        columns=[
            Column(name="statistic", format="text"),
            *(Column(name=f"last {window:,}", format="decimal") for window in WINDOWS),
        ],
        rows=[
            [words, *(cell(name, window) for window in WINDOWS)]
            for name, words in STATISTICS.items()
            if (name, WINDOWS[0]) in limits
        ],
    )


def _worth_table(reference: Reference) -> Table:
    return Table(
        title="What a window is worth",
        note="Neighbours share bars and say nearly the same. The design effect is how many times the variance of a "
        "window's mean confidence is that of as many independent predictions.",
        columns=[
            Column(name="predictions", format="integer"),
            Column(name="design effect", format="decimal", digits=1),
            Column(name="independent predictions", format="decimal", digits=1),
        ],
        rows=[[window, effect, window / effect] for window, effect in sorted(reference.design_effect.items())],
    )


def _rate_table(reference: Reference) -> Table:
    return Table(
        title="Rates",
        note="Of every window. They hardly ever happen, so that there is no dependence to draw from: the limit lies a "
        "margin above the reference.",
        columns=[
            Column(name="share of", format="text"),
            Column(name="of the reference", format="percent"),
            Column(name="limit", format="percent"),
        ],
        rows=[
            [words, reference.rates[name].reference, reference.rates[name].limit]
            for name, words in RATES.items()
            if name in reference.rates
        ],
    )


def _class_tables(reference: Reference) -> Iterator[Table]:
    by_chance = Column(name="by chance once in (days)", format="text")
    yield Table(
        title="Classes that stop being said",
        note=f"The share of the last {DAY:,} predictions. Armed where chance takes a class under its floor at most "
        f"once in {DAYS:g} days.",
        columns=[
            Column(name="class", format="text"),
            Column(name="of the reference", format="percent"),
            Column(name="floor", format="percent"),
            by_chance,
            Column(name="state", format="text"),
        ],
        rows=[
            [name, floor.share, floor.floor(DAYS), _days_text(floor.days_between), _state(floor.floor(DAYS))]
            for name, floor in _floors(reference)
        ],
    )
    run = reference.run_limit
    limit = run.limit(DAYS)
    yield Table(
        title="One class on end",
        note=f"The limit is {TIMES:g} times the longest run of the reference, and more where chance passes that too "
        "often.",
        columns=[
            Column(name="longest of the reference", format="integer", unit="predictions"),
            Column(name="limit", format="decimal", digits=1, unit="predictions"),
            by_chance,
            Column(name="state", format="text"),
        ],
        rows=[[run.longest, limit, _days_text(run.days_between), _state(limit)]],
    )


def _growth_plot(reference: Reference) -> LinePlot:
    limits = reference.limits
    days = (*limits.days, DAYS)
    return LinePlot(
        title="What fewer false alarms cost",
        caption="The limit of the PSI of confidence for more and more days between false alarms of one arm. A higher "
        "one sees less; where a window's line is flat and high, the window is worth too little to see anything.",
        x_label="days between false alarms of one arm",
        y_label="limit of the PSI of confidence",
        x_scale="log",
        y_scale="log",
        lines=[
            Line(
                name=f"last {window:,} predictions",
                x=list(days),
                y=[limits.at(between)["confidence_psi", window] for between in days],
            )
            for window in WINDOWS
        ],
        markers=[Marker(name=f"usual elsewhere: {limit:g}", at=limit, axis="y") for limit in USUAL],
    )


def _floors(reference: Reference) -> list[tuple[str, ClassFloor]]:
    days = reference.limits.class_days
    shares = (count / reference.n for count in reference.said)
    return [(name, ClassFloor(*of)) for name, of in zip(CLASSES, zip(shares, days, strict=True), strict=True)]


def _why(floor: ClassFloor) -> str:
    return _too_usual(floor.days_between) if floor.share else "the reference never says it"


def _too_usual(days: float) -> str:
    return f"chance alone does it once in {_days_text(days)} days, which would be too many false alarms"


def _state(limit: float | None) -> str:
    return "not armed" if limit is None else "armed"


def _days_text(days: float) -> str:
    return "never drawn" if days == float("inf") else f"{days:,.0f}" if days >= 10 else f"{days:.1f}"


def _listed(words: Iterable[str]) -> str:
    """One; one and two; one, two and three."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


# ---- a report of its own, where only the reference was made anew


def reference_report(found: NewReference, *, written: str, created: str) -> Report:
    """What `--reference-only` made. written: where the new version is.  created: UTC, ISO 8601 with a Z."""
    reference, manifest = found.reference, found.bundle.manifest
    span = f"{minute_text(found.span.start)} to {minute_text(found.span.end)} UTC"
    return Report(
        command="calibrate",
        title="Drift reference",
        subject=found.bundle.name,
        created=created,
        verdict=_verdict(reference),
        facts={
            "New version": written,
            "Temperature": f"{manifest.calibration.temperature:.3g} ({manifest.calibration.method}), as it was",
            "Reference": f"{span}, {reference.n:,} predictions that neither weights nor temperature have seen",
            "Mean confidence": percent_text(reference.mean_confidence),
            "Bars": f"{found.data['file']}, sha256 {found.data['sha256'][:12]}…",
        },
        sections=[drift_section(reference, span)],
        figures={
            "bundle": {"name": found.bundle.name, "sha256": found.bundle.sha256},
            "data": dict(found.data),
            "span": found.span.model_dump(),
            "drift": drift_figures(reference),
        },
    )


def _verdict(reference: Reference) -> Verdict:
    day = max(WINDOWS)
    worth = day / reference.design_effect[day]
    sentence = (
        f"Drift is held against {reference.n:,} predictions; the last {day:,} of an arm are worth {worth:,.0f} "
        "independent ones."
    )
    short = (
        [f"The reference is shorter than a day of {DAY:,} predictions: its limits lean on very little. Give more bars."]
        if reference.n < DAY
        else []
    )
    return Verdict(level="warn" if short else "info", sentence=sentence, reasons=[*short, *unarmed(reference)])
