"""What a report says of drift limits: the numbers in force, what is not armed and why, and what they cannot know."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from export.drift_report import ARMS, DAYS, STATISTICS, drift_figures, drift_section, unarmed
from export.report.model import Section, Table
from signalserve.drift import OF_MODELS, WINDOWS
from signalserve.drift.limits import Limits
from signalserve.drift.psi import Bins
from signalserve.drift.rate import Rate
from signalserve.drift.reference import Reference
from signalserve.watcher.drift_metrics import TARGET_DAYS

SPAN = "2025-05-28 to 2025-06-03"
KEPT_DAYS = (2.0, 5.0, 10.0, 20.0, 50.0, 100.0)


def reference(
    *,
    scale: float = 0.1,
    class_days: tuple[float, float, float] = (math.inf, math.inf, math.inf),
    run_days: float = math.inf,
    **fields: Any,
) -> Reference:
    """Limits that grow by `scale` for every factor e of days, the more the shorter a window is."""
    limits = {
        (name, window): tuple(scale * 1440 / window * (1 + math.log(days)) for days in KEPT_DAYS)
        for name in STATISTICS
        for window in WINDOWS
    }
    usual = Reference(
        n=1000,
        mean_confidence=0.4,
        confidence=Bins(np.linspace(0.35, 0.5, 9).tolist(), [100] * 10),
        largest_logit=Bins(np.linspace(1, 5, 9).tolist(), [100] * 10),
        said=(300, 300, 400),
        longest_run=81,
        rates={"saturation_rate": Rate(0.01), "clamp_rate": Rate(0.0), "off_scale_rate": Rate(0.02, margin=0.005)},
        design_effect={120: 10.0, 360: 12.0, 1440: 14.4},
        limits=Limits(KEPT_DAYS, limits, class_days, run_days),
    )
    return replace(usual, **fields)


def pool() -> Reference:
    """Without what a pool has not."""
    whole = reference()
    limits = {key: values for key, values in whole.limits.limits.items() if key[0] not in OF_MODELS}
    rates = {name: rate for name, rate in whole.rates.items() if name not in OF_MODELS}
    return replace(whole, largest_logit=None, rates=rates, limits=replace(whole.limits, limits=limits))


def tables(of: Reference) -> dict[str, Table]:
    """By the first words of their titles."""
    return {table.title.split()[0]: table for table in drift_section(of, SPAN).tables}


def text_of(section: Section) -> str:
    return " ".join(section.text)


def test_limits_are_those_for_the_default_days_shared_by_nine_arms() -> None:
    assert DAYS == 30 * 9 == TARGET_DAYS * ARMS
    rows = tables(reference(scale=0.01))["Limits"].rows
    assert [row[0] for row in rows] == list(STATISTICS.values())
    expected = [0.01 * 1440 / window * (1 + math.log(270)) for window in WINDOWS]  # on the same straight line
    for row in rows:
        assert row[1:] == pytest.approx(expected)


def test_the_figures_are_those_of_the_tables() -> None:
    of = reference(scale=0.01)
    figures, shown = drift_figures(of), tables(of)
    assert [list(windows.values()) for windows in figures["limits"].values()] == [
        row[1:] for row in shown["Limits"].rows
    ]
    assert figures["days_between_false_alarms"] == 270
    assert figures["class_floors"] == pytest.approx({"DOWN": 0.3 / 8, "NEUTRAL": 0.3 / 8, "UP": 0.4 / 8})
    assert figures["run_limit"] == 121.5


def test_the_target_is_told_in_words() -> None:
    words = text_of(drift_section(reference(), SPAN))
    assert "30 days between false alarms of 9 arms together" in words
    assert "one arm may raise one in 270 days" in words
    assert "The last 120, 360 and 1,440 predictions of an arm are held against the 1,000 of the reference" in words


def test_what_the_limits_cannot_know_is_told_with_their_days() -> None:
    words = text_of(drift_section(reference(), SPAN))
    assert f"cannot know is how different the coming months may be from the days of the reference, {SPAN}" in words


def test_a_window_is_told_what_it_is_worth() -> None:
    assert tables(reference())["What"].rows == [[120, 10.0, 12.0], [360, 12.0, 30.0], [1440, 14.4, pytest.approx(100)]]


def test_rates_are_told_with_their_limits() -> None:
    rows = {row[0]: row[1:] for row in tables(reference())["Rates"].rows}
    assert rows["a raw logit beyond the clamp"] == [0.0, 0.05]
    assert rows["a confidence of 99 % or more"] == pytest.approx([0.01, 0.06])
    assert rows["columns off scale, the mean share"] == pytest.approx([0.02, 0.025])


def test_a_class_that_is_often_left_out_has_no_floor_and_that_is_said() -> None:
    of = reference(scale=0.001, class_days=(5.06, 269.9, 270.0))
    rows = {row[0]: row[2:] for row in tables(of)["Classes"].rows}
    assert rows["DOWN"] == [None, "5.1", "not armed"]
    assert rows["NEUTRAL"] == [None, "270", "not armed"]
    assert rows["UP"] == [pytest.approx(0.05), "270", "armed"]
    assert unarmed(of)[0] == (
        "DOWN has no floor: chance alone does it once in 5.1 days, which would be too many false alarms."
    )
    assert len(unarmed(of)) == 2


def test_a_class_that_is_never_said_has_no_floor_for_that_reason() -> None:
    of = reference(said=(600, 0, 400))
    assert "NEUTRAL has no floor: the reference never says it." in unarmed(of)
    assert tables(of)["Classes"].rows[1] == ["NEUTRAL", 0.0, None, "never drawn", "not armed"]


def test_runs_that_are_usual_have_no_limit_and_that_is_said() -> None:
    assert tables(reference())["One"].rows == [[81, 121.5, "never drawn", "armed"]]
    of = reference(run_days=0.5)
    assert tables(of)["One"].rows == [[81, None, "0.5", "not armed"]]
    assert any(
        reason.startswith("One class on end has no limit: chance alone does it once in 0.5") for reason in unarmed(of)
    )


def test_a_limit_that_no_window_can_pass_is_a_dash_and_is_said() -> None:
    rows = {row[0]: row[1:] for row in tables(reference())["Limits"].rows}
    # all 120 in one of ten equal bins: (120.5 / 125, and 9 times 0.5 / 125) against a tenth each
    p, rest = 120.5 / 125, 0.5 / 125
    largest = (p - 0.1) * math.log(10 * p) + 9 * (rest - 0.1) * math.log(10 * rest)
    assert largest < 0.1 * 12 * (1 + math.log(270))
    assert rows[STATISTICS["confidence_psi"]][0] is None
    assert rows[STATISTICS["confidence_psi"]][2] == pytest.approx(0.1 * (1 + math.log(270)))
    assert any(
        reason.startswith(
            "The last 120 predictions can pass no limit of PSI of confidence, PSI of the classes said and "
        )
        and "worth 12.0 independent ones" in reason
        for reason in unarmed(reference())
    )


def test_with_everything_armed_nothing_is_said() -> None:
    assert unarmed(reference(scale=0.001)) == []


def test_a_pool_is_told_without_logits_and_columns() -> None:
    shown = tables(pool())
    assert [row[0] for row in shown["Limits"].rows] == [
        STATISTICS[name] for name in ("confidence_psi", "class_psi", "confidence_shift")
    ]
    assert [row[0] for row in shown["Rates"].rows] == ["a confidence of 99 % or more"]


def test_the_plot_shows_how_limits_grow_and_where_the_usual_ones_lie() -> None:
    [plot] = drift_section(reference(), SPAN).plots
    assert [line.name for line in plot.lines] == [f"last {window:,} predictions" for window in WINDOWS]
    assert plot.lines[2].x == [*KEPT_DAYS, 270.0]
    assert plot.lines[2].y == pytest.approx([0.1 * (1 + math.log(days)) for days in (*KEPT_DAYS, 270)])
    assert [marker.at for marker in plot.markers] == [0.1, 0.2]
