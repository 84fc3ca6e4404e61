"""A window beside its reference: plain numbers, their limits, and nothing where nothing can be told."""

import dataclasses
import math

import numpy as np
import pytest
from drift_streams import BAR_MS, plain_counts, plain_psi, pool_of, weak_stream

from signalserve import CLASSES
from signalserve.drift import DAY, DISTRIBUTIONS, FEWEST, OF_MODELS, STATISTICS, WINDOWS
from signalserve.drift.limits import Limits, simulate_limits
from signalserve.drift.reference import Reference, make_reference
from signalserve.drift.stream import Stream
from signalserve.drift.watch import BIN_NAMES, NOTHING, Drift, Measured, distributions_of, measure, statistics_of

CLAMP, DAYS = 15.0, 30.0
PAST = weak_stream(4000, seed=1)
LIVE = weak_stream(DAY, seed=2)


@pytest.fixture(scope="module")
def limits() -> Limits:
    return simulate_limits(PAST, simulated_days=100)


@pytest.fixture(scope="module")
def reference(limits: Limits) -> Reference:
    return make_reference(PAST, limits, clamp=CLAMP, columns=72)


def measured(live: Stream, reference: Reference | None) -> Drift:
    return measure(live, reference, clamp=CLAMP, days=DAYS)


def saying(classes: list[int]) -> Stream:
    """One prediction for each, which says it with 0.4."""
    probabilities = np.full((len(classes), 3), 0.3)
    probabilities[np.arange(len(classes)), classes] = 0.4
    return Stream(np.arange(len(classes)) * BAR_MS, probabilities, np.ones(len(classes)), None)


def test_every_statistic_is_the_plain_one_of_its_window(reference: Reference) -> None:
    drift = measured(LIVE, reference)
    for window in WINDOWS:
        found = drift.windows[window].measured
        assert list(found) == list(STATISTICS)
        part = LIVE.last(window)
        assert part.largest_logit is not None
        said = [int((part.classes == i).sum()) for i in range(3)]
        confidence = plain_counts(part.confidence, reference.confidence.edges.tolist())
        assert found["confidence_psi"].value == pytest.approx(plain_psi(confidence, reference.confidence.counts))
        assert found["class_psi"].value == pytest.approx(plain_psi(said, reference.said))
        assert reference.largest_logit is not None
        logits = plain_counts(part.largest_logit, reference.largest_logit.edges.tolist())
        assert found["logit_psi"].value == pytest.approx(plain_psi(logits, reference.largest_logit.counts))
        shift = math.fsum(part.confidence) / window - math.fsum(PAST.confidence) / 4000
        assert found["confidence_shift"].value == pytest.approx(shift, abs=1e-12)
        assert drift.windows[window].counts == {"confidence_psi": confidence, "class_psi": said, "logit_psi": logits}


def test_limits_are_those_for_the_days_asked(reference: Reference) -> None:
    at = reference.limits.at(DAYS)
    for window, drift in measured(LIVE, reference).windows.items():
        for name in (*DISTRIBUTIONS, "confidence_shift"):
            assert drift.measured[name].limit == at[name, window]
        assert drift.measured["clamp_rate"].limit == pytest.approx(0.05)


def test_a_stream_like_the_reference_raises_no_alarm(reference: Reference) -> None:
    assert measured(LIVE, reference).alarms == []


def test_confidence_moved_by_a_deviation_is_an_alarm_in_every_window(reference: Reference) -> None:
    moved = LIVE.probabilities + np.where(LIVE.probabilities == LIVE.confidence[:, None], 0.1, -0.05)
    alarms = measured(dataclasses.replace(LIVE, probabilities=moved), reference).alarms
    assert {("confidence_shift", window) for window in WINDOWS} <= set(alarms)
    assert not any(name in {"class_psi", "logit_psi", "clamp_rate"} for name, _ in alarms)


@pytest.mark.parametrize("n", [0, 1, FEWEST - 1])
def test_with_fewer_than_a_hundred_nothing_is_told_but_how_many(reference: Reference, n: int) -> None:
    live = Stream(LIVE.time_ms[:n], LIVE.probabilities[:n], np.ones(n), np.zeros(n))
    drift = measured(live, reference)
    assert {window: part.n for window, part in drift.windows.items()} == dict.fromkeys(WINDOWS, n)
    assert not any(part.measured or part.counts for part in drift.windows.values())
    assert drift.alarms == []


def test_with_a_hundred_every_window_is_those_hundred(reference: Reference) -> None:
    windows = measured(LIVE.last(FEWEST), reference).windows.values()
    assert {part.n for part in windows} == {FEWEST}
    assert len({part.measured["class_psi"].value for part in windows}) == 1


def test_a_window_is_worth_its_predictions_by_the_design_effect(reference: Reference) -> None:
    part = measured(LIVE, reference).windows[360]
    assert part.effective_n == pytest.approx(360 / reference.design_effect[360])
    assert part.effective_n < 200


def test_without_a_reference_rates_are_told_without_limits() -> None:
    drift = measured(LIVE, None)
    assert list(drift.windows[120].measured) == ["saturation_rate", "clamp_rate", "off_scale_rate"]
    assert all(math.isnan(each.limit) and math.isnan(each.ratio) for each in drift.windows[120].measured.values())
    assert math.isnan(drift.run.limit)
    assert drift.reference_counts == {}
    assert drift.alarms == []


def test_a_pool_has_only_what_it_can_have(limits: Limits) -> None:
    pool = make_reference(pool_of(PAST), limits, clamp=None, columns=None)
    drift = measure(pool_of(LIVE), pool, clamp=None, days=DAYS)
    assert list(drift.windows[1440].measured) == statistics_of("ensemble")
    assert list(drift.windows[1440].counts) == list(drift.reference_counts) == distributions_of("ensemble")


def test_a_logit_that_is_no_number_counts_as_clamped_and_as_the_largest(reference: Reference) -> None:
    logits = np.ones(DAY)
    logits[-12:] = [math.nan] * 6 + [CLAMP + 1] * 5 + [CLAMP]
    found = measured(dataclasses.replace(LIVE, largest_logit=logits), reference).windows[120]
    assert found.measured["clamp_rate"].value == pytest.approx(11 / 120)
    assert found.measured["clamp_rate"].ratio > 1
    assert found.counts["logit_psi"][-1] == 12


def test_probabilities_that_are_no_numbers_lie_in_the_last_bin_and_leave_no_mean(reference: Reference) -> None:
    probabilities = LIVE.probabilities.copy()
    probabilities[-60:] = math.nan
    part = measured(dataclasses.replace(LIVE, probabilities=probabilities), reference).windows[120]
    assert part.counts["confidence_psi"][-1] >= 60
    assert math.isnan(part.measured["confidence_shift"].value)
    assert sum(part.counts["class_psi"]) == 120


def test_saturated_confidences_are_a_rate(reference: Reference) -> None:
    probabilities = LIVE.probabilities.copy()
    probabilities[-12:] = [1.0, 0.0, 0.0]
    rate = measured(dataclasses.replace(LIVE, probabilities=probabilities), reference).windows[120]
    assert rate.measured["saturation_rate"].value == pytest.approx(0.1)
    assert rate.measured["saturation_rate"].ratio == pytest.approx(2)


@pytest.mark.parametrize(
    ("off_scale", "rate"), [([math.nan, 0.5], 0.5), ([math.nan, math.nan], None), ([0.0, 1.0], 0.5)]
)
def test_columns_off_scale_are_averaged_where_somebody_recorded_them(
    reference: Reference, off_scale: list[float], rate: float | None
) -> None:
    live = dataclasses.replace(LIVE, off_scale=np.resize(off_scale, DAY))
    found = measured(live, reference).windows[360].measured.get("off_scale_rate")
    assert (found and found.value) == rate


@pytest.mark.parametrize(("recorded", "is_told"), [(FEWEST - 1, False), (FEWEST, True)])
def test_a_few_that_recorded_their_columns_are_no_rate(reference: Reference, recorded: int, is_told: bool) -> None:
    off_scale = np.full(DAY, math.nan)
    off_scale[-recorded:] = 0.5
    live = dataclasses.replace(LIVE, off_scale=off_scale)
    assert ("off_scale_rate" in measured(live, reference).windows[120].measured) == is_told


def test_class_shares_are_those_of_a_whole_day(reference: Reference) -> None:
    shares = measured(LIVE, reference).class_shares
    said = np.bincount(LIVE.classes, minlength=3)
    assert {name: share.value for name, share in shares.items()} == pytest.approx(
        dict(zip(CLASSES, (said / DAY).tolist(), strict=True))
    )
    floors = [share.limit for share in shares.values()]
    assert floors == pytest.approx([count / 4000 / 8 for count in reference.said])


def test_before_a_whole_day_no_share_is_told(reference: Reference) -> None:
    shares = measured(LIVE.last(DAY - 1), reference).class_shares
    assert all(math.isnan(share.value) for share in shares.values())


def test_a_class_that_stays_away_by_chance_has_no_floor(reference: Reference) -> None:
    often = dataclasses.replace(reference.limits, class_days=(DAYS - 1, math.inf, math.inf))
    shares = measured(LIVE, dataclasses.replace(reference, limits=often)).class_shares
    assert [math.isnan(share.limit) for share in shares.values()] == [True, False, False]


def test_a_run_is_of_the_class_said_last(reference: Reference) -> None:
    live = saying([0] * 200 + [1] * 150)
    seldom = dataclasses.replace(reference, longest_run=90, limits=dataclasses.replace(reference.limits, run_days=30.0))
    run = measured(live, seldom).run
    assert (run.value, run.limit) == (150, 135)
    assert run.ratio > 1


def test_a_run_that_is_usual_has_a_limit_further_out(reference: Reference) -> None:
    usual = dataclasses.replace(reference, limits=dataclasses.replace(reference.limits, run_days=29.0))
    assert measured(LIVE, usual).run.limit > 1.5 * reference.longest_run


def test_runs_that_chance_alone_makes_in_a_reference_have_no_limit(reference: Reference) -> None:
    usual = dataclasses.replace(reference, limits=dataclasses.replace(reference.limits, run_days=1.0))
    assert math.isnan(measured(LIVE, usual).run.limit)


@pytest.mark.parametrize(
    ("value", "limit", "ratio"),
    [(0.3, 0.2, 1.5), (-0.3, 0.2, 1.5), (0.3, math.nan, None), (math.nan, 0.2, None), (0.3, 0.0, None)],
)
def test_the_ratio_is_of_the_size_to_the_limit(value: float, limit: float, ratio: float | None) -> None:
    found = Measured(value, limit).ratio
    assert math.isnan(found) if ratio is None else found == pytest.approx(ratio)


def test_nothing_measured_has_every_window_and_class() -> None:
    assert list(NOTHING.windows) == list(WINDOWS)
    assert list(NOTHING.class_shares) == list(CLASSES)
    assert NOTHING.alarms == []


def test_a_model_has_every_statistic_and_each_distribution_its_bins() -> None:
    assert statistics_of("v8") == list(STATISTICS)
    assert set(statistics_of("v8")) - set(statistics_of("ensemble")) == OF_MODELS
    assert list(BIN_NAMES) == distributions_of("v6_fixed") == list(DISTRIBUTIONS)
