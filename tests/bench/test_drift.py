"""False alarms and delays are counted alike for every rule, and a missed target is said."""

import csv
import dataclasses
import math
from pathlib import Path

import drift
import numpy as np
import pytest
from drift import Row, Size, Watched, process, read_models, rows_of, vary, watch_model, watch_process
from drift_streams import autoregressive, weak_stream
from false_alarms import (
    FAR,
    OURS,
    Alarms,
    as_drawn,
    chi_square_limits,
    count_alarms,
    delay,
    dispersion,
    mean_design_effect,
    poisson_days,
)
from redrawn import gain, redraw, variance_of_means, ways
from stores import BTC, candles, write_model

from signalserve.candles import FIELDS, iso, to_rows
from signalserve.drift import DAY, WINDOWS
from signalserve.drift.limits import BLOCK, Limits
from signalserve.errors import OperatorError

SMALL = Size(references=1, days=2, simulated_days=20, reference=1500)
RULES = [OURS, "PSI 0.1", "PSI 0.2", "χ²", "χ², Rao–Scott"]
ROW = Row("φ 0.9", OURS, 30.0, 3000.0, 100, 90, (24.7, 36.9), 1.2)
SHIFT = {("confidence_shift", 120): 0.01}
REFERENCE = as_drawn(weak_stream(3000, 0.0, seed=1))


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift, "PIECES", 1)
    monkeypatch.setattr(drift, "STREAMS", 2)


def test_every_rule_watches_the_same_days_of_a_process() -> None:
    watched = watch_process(0.9, 0, SMALL)
    assert list(watched.alarms) == RULES
    assert {each.days for each in watched.alarms.values()} == {2.0}
    assert {move: len(found) for move, found in watched.delays.items()} == {0.0: 1, 0.5: 1, 1.0: 1}


def test_the_naive_limits_are_passed_all_day_where_predictions_depend_on_each_other() -> None:
    assert watch_process(0.97, 0, SMALL).alarms["PSI 0.1"] == Alarms(alarms=2, starts=1, days=2.0)


def test_a_model_is_watched_on_the_span_that_its_reference_is_not() -> None:
    model = drift.Model("v8 BTC-USD", weak_stream(1500, seed=1), weak_stream(DAY + 720, seed=2))
    watched = watch_model(model, 6.0, SMALL)
    assert {each.days for each in watched.alarms.values()} == {0.5}
    rows = vary(model, SMALL)
    assert [row.window for row in rows] == list(WINDOWS)
    assert list(rows[0].ratios) == ["watched", "ours", "order 1", "through the probabilities"]
    variances = [variance_of_means(part.confidence, 120) for part in (model.watched, model.reference)]
    assert rows[0].ratios["watched"] == pytest.approx(variances[0] / variances[1])


def test_a_process_starts_as_it_goes_on() -> None:
    firsts = [process(0.97, 1, seed).confidence[0] for seed in range(300)]
    assert np.std(firsts) == pytest.approx(process(0.97, 50_000, 1).confidence.std(), rel=0.15)


def test_alarms_are_counted_as_the_limits_count_them_and_starts_once() -> None:
    live = as_drawn(weak_stream(4 * DAY, 0.0, seed=2))
    live.confidence[DAY + 5 * BLOCK : DAY + 20 * BLOCK] += 0.1  # 15 blocks and the window's own
    found = count_alarms(REFERENCE, live, {"shift": SHIFT})["shift"]
    assert found == Alarms(alarms=2, starts=1, days=3.0)


def test_a_delay_is_counted_from_the_change() -> None:
    """Of 0.1 the mean of 120 has 0.01 after 12 predictions."""
    live = as_drawn(weak_stream(DAY + 500, 0.0, seed=2))
    assert delay(REFERENCE, live, SHIFT, 0.1) == pytest.approx(12, abs=6)
    assert math.isinf(delay(REFERENCE, live, SHIFT, 0.0))


def test_independent_bins_have_no_design_effect_and_dependent_ones_that_of_theory() -> None:
    """The share of time that a Gaussian process is above its mean has correlations of 2 / π · arcsin(φ^lag)."""
    theory = 1 + 2 * sum((1 - lag / 360) * 2 / math.pi * math.asin(0.9**lag) for lag in range(1, 360))
    for phi, effect in ((0.0, 1.0), (0.9, theory)):
        above = (autoregressive(phi, (200_000,)) > 0).astype(np.int64)
        assert mean_design_effect(above, 360) == pytest.approx(effect, rel=0.15)


def test_the_correction_widens_the_chi_square_limits_of_dependent_predictions() -> None:
    plain, wide = (chi_square_limits(weak_stream(5000), 30.0, corrected=corrected) for corrected in (False, True))
    assert all(wide[key] > 1.5 * plain[key] for key in plain)
    assert plain["class_psi", 120] == pytest.approx((1 / 120 + 1 / 5000) * -2 * math.log(1 / (30 * DAY * 9)))


def test_intervals_of_days_are_garwoods() -> None:
    assert poisson_days(10, 300.0) == pytest.approx((300 / 18.39, 300 / 4.795), rel=1e-3)
    assert poisson_days(0, 300.0) == pytest.approx((300 / 3.689, math.inf), rel=1e-3)


def test_alarms_that_come_by_themselves_have_a_dispersion_of_one() -> None:
    assert dispersion(np.random.default_rng(0).poisson(10, 2000).tolist()) == pytest.approx(1, rel=0.1)
    assert math.isnan(dispersion([3]))
    assert math.isnan(dispersion([0, 0]))


@pytest.mark.parametrize(
    ("interval", "is_missed"), [((5.0, 14.9), True), ((5.0, 15.0), False), ((60.0, 90.0), False), ((60.1, 90.0), True)]
)
def test_a_target_is_missed_where_the_whole_interval_is_further_than_a_factor_of_two(
    interval: tuple[float, float], is_missed: bool
) -> None:
    assert dataclasses.replace(ROW, interval=interval).is_missed is is_missed
    assert not dataclasses.replace(ROW, interval=interval, rule="PSI 0.1").is_missed


def test_models_watched_side_by_side_share_their_days() -> None:
    watched = [Watched(str(i), {OURS: Alarms(2, 1, 6.0)}, {}) for i in range(3)]
    [one_after_the_other], [together] = rows_of("all", watched, 1.0), rows_of("all", watched, 1.0, side_by_side=True)
    assert (one_after_the_other.days, together.days) == (18.0, 6.0)
    assert (together.alarms, together.starts) == (6, 3)


def test_streams_are_redrawn_with_the_spread_and_the_dependence_they_had() -> None:
    values = autoregressive(0.9, (20_000,))
    [drawn] = redraw([values], 1, 100_000, np.random.default_rng(0))
    assert drawn.std() == pytest.approx(values.std(), rel=0.05)
    assert np.corrcoef(drawn[:-1], drawn[1:])[0, 1] == pytest.approx(0.9, abs=0.02)
    assert gain(np.array([1.0, -0.9])) == pytest.approx(1 / (1 - 0.81))


def test_every_way_draws_confidences() -> None:
    for way in ways(weak_stream(2000)).values():
        drawn = way(500, np.random.default_rng(0))
        assert drawn.shape == (500,)
        assert (drawn >= 1 / 3).all() and (drawn <= 1).all()


def test_the_variance_of_means_is_that_of_a_plain_loop() -> None:
    values = np.random.default_rng(0).normal(size=50)
    assert variance_of_means(values, 7) == pytest.approx(np.var([values[i : i + 7].mean() for i in range(44)]))


def spans(first_ms: int, calibration: tuple[int, int], test: tuple[int, int]) -> dict[str, dict[str, str] | None]:
    def span(bars: tuple[int, int]) -> dict[str, str]:
        start, end = (iso(first_ms + 60_000 * bar) for bar in bars)
        return {"start": start, "end": end}

    return {"train": None, "calibration": span(calibration), "test": span(test)}


@pytest.fixture
def bars(tmp_path: Path) -> Path:
    (tmp_path / "bars").mkdir()
    with (tmp_path / "bars" / f"{BTC}.csv").open("w", newline="") as file:
        csv.writer(file).writerows([FIELDS, *to_rows(candles(BTC, 1500))])
    return tmp_path / "bars"


def test_models_are_read_over_the_spans_that_they_name(tmp_path: Path, bars: Path) -> None:
    first = int(candles(BTC, 1500).timestamp_ms[0])
    write_model(tmp_path, "v8", hidden=2, layers=1, spans=spans(first, (1050, 1199), (1250, 1499)))
    [model] = read_models(tmp_path, bars)
    assert model.name == "v8 BTC-USD"
    assert (len(model.watched), len(model.reference)) == (150 - 59 - 15, 250 - 59 - 15)
    assert model.reference.time_ms[0] == first + 60_000 * (1250 + 59 + 1)


def test_a_model_that_names_no_span_is_refused(tmp_path: Path, bars: Path) -> None:
    write_model(tmp_path, "v8", hidden=2, layers=1, spans={"train": None, "calibration": None, "test": None})
    with pytest.raises(OperatorError, match="calibrate it first"):
        read_models(tmp_path, bars)


def test_what_no_limit_sees_has_an_endless_delay() -> None:
    never = Limits((2.0, 5.0, 10.0), dict.fromkeys(SHIFT, (9.0, 9.0, 9.0)), (math.inf,) * 3, math.inf)
    pieces = [as_drawn(weak_stream(DAY + FAR))]
    assert drift.delays(weak_stream(2000), pieces, never) == {0.0: [math.inf], 0.5: [math.inf], 1.0: [math.inf]}
