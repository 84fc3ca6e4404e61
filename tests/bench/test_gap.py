"""What bench/gap.py rests on: models that are calibrated, looks that see what the watcher sees, and alarms counted."""

import dataclasses
import json
import sys
from pathlib import Path

import gap
import numpy as np
import pytest
from gap import CALIBRATED, MULTIPLES, STREAMS, WRONG, Alarms, Found, Model, Result
from rich.console import Console

from signalserve.journal.reading import Matured
from signalserve.watcher.calibration_gap import TARGET_DAYS
from signalserve.watcher.quality import FEWEST, WINDOW, quality_of

QUIET_MODEL = Alarms("quiet", 10_000, 250.0, 1.5, 0.4, (0.4, 0.15, 0.04, 0.01, 0.003, 0.0008, 0.0), 0.003, 0.01)
LOUD_MODEL = dataclasses.replace(QUIET_MODEL, model="loud", in_force=0.03)
FOUND = Found("wrong", (0.2, 0.5), (0.5, 0.7))


@pytest.mark.parametrize("model", CALIBRATED, ids=lambda model: model.name)
def test_calibrated_models_are_right_as_often_as_they_say(model: Model):
    confidence, hits = gap.said(model, 400_000, np.random.default_rng(1))
    for low, high in ((0.0, 0.5), (0.5, 0.8), (0.8, 1.0)):
        inside = (confidence > low) & (confidence <= high)
        if inside.sum() > 20_000:
            assert hits[inside].mean() == pytest.approx(confidence[inside].mean(), abs=0.015)
    assert confidence.mean() == pytest.approx(model.claims, abs=0.03)


def test_wrong_models_are_right_as_often_as_they_are_made_to_be():
    for model in WRONG:
        confidence, hits = gap.said(model, 400_000, np.random.default_rng(1))
        assert (confidence.mean(), hits.mean()) == pytest.approx((model.claims, model.right), abs=0.015)


def test_neighbours_share_fourteen_of_fifteen_minutes_of_their_future():
    _, hits = gap.said(Model("steady", 0.5, 0.0, 0.0), 400_000, np.random.default_rng(2))
    values = hits - hits.mean()
    found = [np.mean(values[lag:] * values[: len(values) - lag]) / values.var() for lag in (1, 7, 15)]
    # indicators of a normal pair above its median (Sheppard 1899)
    expected = [2 / np.pi * np.arcsin(1 - lag / 15) for lag in (1, 7, 15)]
    assert found == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("model", [CALIBRATED[0], CALIBRATED[2], CALIBRATED[5]], ids=lambda model: model.name)
@pytest.mark.parametrize("n", [FEWEST, 700, WINDOW, WINDOW + 333])
def test_a_look_sees_what_the_watcher_sees(model: Model, n: int):
    confidence, hits = gap.said(model, WINDOW + 400, np.random.default_rng(3))
    seen = gap.look(confidence, hits)
    chosen = slice(max(0, n - WINDOW), n)
    rest = (1 - confidence[chosen]) / 2
    up = np.stack([rest, rest, confidence[chosen]], axis=1)
    times = np.arange(len(rest)) * 60_000
    watched = quality_of(Matured(up, np.where(hits[chosen], 2, 0), times, gap.HORIZON * 60_000), None).scores.gap
    place = n - FEWEST
    assert seen.gap[place] == pytest.approx(watched.value, rel=1e-9)
    assert seen.error[place] == pytest.approx(watched.standard_error, rel=1e-9)
    assert seen.naive[place] == pytest.approx(np.sqrt(np.var(confidence[chosen] - hits[chosen]) / len(rest)), rel=1e-9)


def test_an_alarm_goes_on_until_an_hour_was_quiet():
    over = np.zeros(1000, dtype=bool)
    assert gap.alarms_in(over) == 0
    over[[10, 11, 15, 75, 136, 900]] = True
    assert gap.alarms_in(over) == 3  # 75 is an hour after 15, 136 an hour and a minute after 75


def test_a_wrong_model_is_found_and_the_day_is_counted_from_where_it_began():
    bad = np.full(3000, 0.75), np.arange(3000) % 2 == 0
    good = np.full(WINDOW, 0.75), np.arange(WINDOW) % 4 != 0
    fresh = gap.first_alarm(*bad, 4.0)
    after = gap.first_alarm(*map(np.concatenate, zip(good, bad, strict=True)), 4.0, since=WINDOW)
    assert FEWEST / 1440 <= fresh < after < 1
    assert gap.first_alarm(*good, 4.0) == np.inf


def test_the_table_is_of_the_loudest_model_and_ends_where_alarms_are_few():
    result = Result(3.9, [QUIET_MODEL, dataclasses.replace(QUIET_MODEL, multiples=(0.5, *[0.0] * 6))], [FOUND])
    table = result.table()
    assert table[2.0] == 2.0
    assert table[4.0] == pytest.approx(1 / 0.003)
    assert list(table) == list(MULTIPLES[:5])


def test_days_between_alarms_are_of_all_series_together():
    days = Result(3.9, [QUIET_MODEL], [FOUND]).days_between()  # 30 alarms in 10,000 days
    assert days.low < 1 / 0.003 / STREAMS < days.high
    assert days.high / days.low == pytest.approx(42.8 / 20.2, rel=0.01)  # Garwood's interval of 30
    assert Result(3.9, [dataclasses.replace(QUIET_MODEL, in_force=0.0)], [FOUND]).days_between().high == np.inf


def test_less_than_half_the_days_asked_for_is_missed():
    assert Result(3.9, [QUIET_MODEL], [FOUND]).missed() == []
    [words] = Result(3.9, [QUIET_MODEL, LOUD_MODEL], [FOUND]).missed()
    assert words.endswith("days between alarms at most") and float(words.split()[0]) < TARGET_DAYS / 2


def test_a_measurement_holds_every_model(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gap, "CHUNK", 5)
    result = gap.measure(10, 3, 0, Console(quiet=True))
    assert [each.model for each in result.alarms] == [model.name for model in CALIBRATED]
    assert all(0 < each.naive_share < 1 and each.days == 10 for each in result.alarms)
    assert [each.model for each in result.found] == [model.name for model in WRONG]
    assert all(0 < each.fresh[0] < 1 for each in result.found if each.model != WRONG[1].name)


def test_the_script_prints_the_table_and_its_exit_code_says_whether_the_limit_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys, "argv", ["gap.py", "--json", str(tmp_path / "gap.json")])
    for models, code, words in (([QUIET_MODEL], 0, "every limit is kept"), ([LOUD_MODEL], 1, "missed: ")):
        monkeypatch.setattr(gap, "measure", lambda *_, models=models: Result(3.9, models, [FOUND]))
        assert gap.main() == code
        assert words in (said := capsys.readouterr().out)
        assert "MULTIPLES = ((2.0, 2.5), (2.5, 6.67), (3.0, 25.0), (3.5, 100.0), (4.0, 333.0))" in said
    assert json.loads((tmp_path / "gap.json").read_text())["table"]["2.0"] == 2.5
