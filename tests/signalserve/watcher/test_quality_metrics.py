"""Live quality as Prometheus sees it."""

import logging
import math
from contextlib import closing

import pytest
from journals import ARM, START_MS, SYMBOL, add_prediction, add_series, new_journal
from prometheus_client import CollectorRegistry, generate_latest

from signalserve.journal.counts import bump
from signalserve.watcher.calibration_gap import GapLimit
from signalserve.watcher.quality import WINDOW, live_quality
from signalserve.watcher.quality_metrics import LiveQuality

SYMBOLS, ARMS = ("BTC-USD", "ETH-USD", "SOL-USD"), ("v6_fixed", "v8", "ensemble")
LABELS = {"symbol": SYMBOL, "arm": ARM}


@pytest.fixture
def journal(tmp_path):
    with closing(new_journal(tmp_path)) as connection:
        yield connection


@pytest.fixture
def live():
    return LiveQuality((symbol, arm) for symbol in SYMBOLS for arm in ARMS)


def series_of(live):
    return {(one.name, tuple(one.labels.items())) for family in live.collect() for one in family.samples}


def value(live, name, **labels):
    registry = CollectorRegistry()
    registry.register(live)
    return registry.get_sample_value(f"signalserve_live_{name}", {**LABELS, **labels})


def joined(connection, n=1):
    bump(connection, "outcomes_joined", n)


def test_every_series_is_there_from_the_start_and_they_are_not_too_many(live, journal):
    before = series_of(live)
    for symbol in SYMBOLS:
        for arm in ARMS:
            add_series(journal, 120, symbol=symbol, arm=arm)
    joined(journal)
    live.refresh(journal)
    assert series_of(live) == before
    assert len(before) == 9 * 59  # three symbols, three arms


def test_too_few_outcomes_are_counted_and_all_else_is_no_number(live, journal):
    add_series(journal, 99)
    joined(journal)
    live.refresh(journal)
    assert value(live, "outcomes") == 99
    for name in ("effective_outcomes", "accuracy", "nll", "brier", "confidence_gap", "confidence_gap_limit"):
        assert math.isnan(value(live, name))
    assert math.isnan(value(live, "base_nll", known="before"))
    assert math.isnan(value(live, "reliability_right", le="0.5"))
    assert value(live, "reliability_count", le="0.5") == 0


def test_figures_are_those_of_the_last_outcomes(live, journal):
    add_series(journal, WINDOW + 60)
    joined(journal)
    live.refresh(journal)
    found = live_quality(journal, SYMBOL, ARM)
    assert value(live, "outcomes") == WINDOW
    assert value(live, "effective_outcomes") == found.scores.effective_n
    assert value(live, "accuracy") == found.scores.accuracy.value
    assert value(live, "nll") == found.scores.nll.value
    assert value(live, "confidence_gap") == found.scores.gap.value
    assert value(live, "confidence_gap_limit") == GapLimit(30, streams=9).of(found.scores.gap)
    assert value(live, "base_brier", known="before") == found.scores.before.brier
    assert value(live, "base_accuracy", known="hindsight") == found.scores.hindsight.accuracy
    of_half = next(one for one in found.scores.bins if one.edge == 0.5)
    assert value(live, "reliability_count", le="0.5") == of_half.count > 0
    assert value(live, "reliability_confidence", le="0.5") == of_half.confidence
    assert value(live, "reliability_right", le="0.5") == of_half.right


def test_what_a_model_of_two_classes_is_not_judged_on_is_told(live, journal):
    add_series(journal, 300, p=(0.4, 0.0, 0.6), logits=(-0.2, None, 0.2))
    joined(journal)
    live.refresh(journal)
    assert value(live, "neutral_left_out") == 300 - value(live, "outcomes") > 0
    assert value(live, "nll") < 1
    assert value(live, "neutral_left_out", symbol="SOL-USD") == 0


def test_it_is_computed_anew_only_when_outcomes_were_joined(live, journal):
    add_series(journal, 120)
    joined(journal)
    live.refresh(journal)
    add_prediction(journal, 500, outcome=1)
    statements = []
    journal.set_trace_callback(statements.append)
    live.refresh(journal)
    assert len(statements) == 1
    assert value(live, "outcomes") == 120
    joined(journal)
    live.refresh(journal)
    assert value(live, "outcomes") == 121


def test_where_nobody_knows_how_far_outcomes_overlap_the_gap_has_no_limit(live, journal):
    add_series(journal, 200, horizon_ms=None)
    joined(journal)
    live.refresh(journal)
    assert value(live, "confidence_gap") != 0
    assert math.isnan(value(live, "confidence_gap_limit"))


def test_more_days_between_false_alarms_are_a_wider_limit(journal):
    add_series(journal, 200)
    joined(journal)
    limits = []
    for days in (1, 30, 365):
        live = LiveQuality([(SYMBOL, ARM)], target_days=days)
        live.refresh(journal)
        limits.append(value(live, "confidence_gap_limit"))
    assert limits[0] < limits[1] < limits[2]


def test_confidence_that_means_something_else_is_said_once_and_again_when_it_errs_the_other_way(live, journal, caplog):
    def said(outcomes):
        caplog.clear()
        for minute, outcome in enumerate(outcomes):
            journal.execute("UPDATE predictions SET outcome = ? WHERE row_id = ?", (outcome, minute + 1))
        joined(journal)
        with caplog.at_level(logging.WARNING, "signalserve"):
            live.refresh(journal)
        return [record.fields["reason"].split(":")[0] for record in caplog.records]

    add_series(journal, 1440, p=(0.2, 0.2, 0.6))
    calibrated = [2 if minute % 5 < 3 else 0 for minute in range(1440)]
    assert said(calibrated) == []
    assert said([0] * 1440) == ["overconfident"]
    assert said([0] * 1440) == []
    assert said([2] * 1440) == ["underconfident"]
    assert said(calibrated) == []
    assert said([2] * 1440) == ["underconfident"]
    assert (caplog.records[0].getMessage(), caplog.records[0].fields["symbol"]) == ("confidence_gap", SYMBOL)


def test_an_arm_that_nobody_announced_is_shown_too(live, journal):
    add_series(journal, 5, symbol="XRP-USD")
    joined(journal)
    live.refresh(journal)
    assert value(live, "outcomes", symbol="XRP-USD") == 5


def test_a_journal_that_was_begun_anew_forgets_the_old_figures(live, journal, tmp_path):
    add_series(journal, 120)
    joined(journal)
    live.refresh(journal)
    with closing(new_journal(tmp_path / "new")) as fresh:
        live.refresh(fresh)
    assert value(live, "outcomes") == 0
    assert math.isnan(value(live, "accuracy"))


def test_the_page_can_be_written(live, journal):
    add_series(journal, 120, time_ms=START_MS)
    joined(journal)
    live.refresh(journal)
    registry = CollectorRegistry()
    registry.register(live)
    page = generate_latest(registry).decode()
    assert 'signalserve_live_base_nll{arm="v8",known="hindsight",symbol="BTC-USD"} 1.' in page
    assert 'signalserve_live_accuracy{arm="v8",symbol="SOL-USD"} NaN' in page
