"""Confidence less accuracy, and the limit that chance stays under, against simulated spread and plain formulas."""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.special import ndtr

from signalserve.journal.reading import Matured
from signalserve.watcher.calibration_gap import MULTIPLES, RARE, Gap, GapLimit, gap_of
from signalserve.watcher.quality import quality_of

LAGS = 14
OVER, UNDER = Gap(0.75, 0.5, 0.05), Gap(0.5, 0.75, 0.05)


def calibrated(n, seed, low=0.4, high=0.9):
    """Confidences between low and high, and hits that come true as often as they say; labels 15 steps ahead overlap."""
    random = np.random.default_rng(seed)
    future = np.convolve(random.normal(size=n + 15), np.ones(15), mode="valid")[1 : n + 1] / math.sqrt(15)
    confidence = random.uniform(low, high, n)
    return confidence, ndtr(future) < confidence


def judged(confidence, hits):
    """The same as predictions of UP, whose outcome is UP or DOWN."""
    rest = (1 - confidence) / 2
    return Matured(
        probabilities=np.stack([rest, rest, confidence], axis=1),
        outcomes=np.where(hits, 2, 0),
        time_ms=np.arange(len(hits)) * 60_000,
        horizon_ms=15 * 60_000,
    )


def test_the_gap_is_mean_confidence_less_accuracy():
    confidence, hits = calibrated(500, 1)
    gap = quality_of(judged(confidence, hits), None).scores.gap
    assert gap.confidence == pytest.approx(sum(confidence.tolist()) / 500, rel=1e-12)
    assert gap.value == pytest.approx(np.mean(confidence - hits), rel=1e-12)


def test_the_standard_error_is_the_spread_of_gaps():
    gaps = [quality_of(judged(*calibrated(1440, seed)), None).scores.gap for seed in range(400)]
    spread = np.std([gap.value for gap in gaps])
    assert np.mean([gap.standard_error for gap in gaps]) == pytest.approx(spread, rel=0.15)


def test_the_standard_error_is_that_of_the_effective_number():
    confidence, hits = calibrated(1000, 2)
    variance = max(np.var(confidence - hits), np.mean(confidence * (1 - confidence)))
    assert gap_of(confidence, hits, 101.0, LAGS).standard_error == pytest.approx(math.sqrt(variance / 100), rel=1e-12)


def test_a_model_that_is_wrong_throughout_varies_at_least_as_its_confidence_implies():
    confidence, hits = np.full(1440, 0.75), np.zeros(1440, dtype=bool)
    gap = gap_of(confidence, hits, 1440.0, LAGS)
    assert gap.standard_error == pytest.approx(math.sqrt(0.75 * 0.25 / (1440 / 15 - 1)), rel=1e-12)


@pytest.mark.parametrize("claimed", [0.98, 0.999])
def test_a_day_without_a_miss_does_not_make_a_nearly_certain_model_underconfident(claimed):
    confidence = np.random.default_rng(0).normal(claimed, 1e-4, 1440)
    gap = quality_of(judged(confidence, np.ones(1440, dtype=bool)), None).scores.gap
    assert gap.value == pytest.approx(claimed - 1, abs=1e-4)
    assert GapLimit(streams=9).words(gap) is None


def test_rare_misses_show_no_dependence_and_count_by_stretches():
    confidence, hits = np.full(1440, 0.9), np.ones(1440, dtype=bool)
    hits[: RARE * (LAGS + 1)] = False
    common, rare = (gap_of(confidence, now, 800.0, LAGS) for now in (hits, hits | (np.arange(1440) == 0)))
    assert common.standard_error == pytest.approx(math.sqrt(0.09 / 799), rel=1e-12)
    assert rare.standard_error == pytest.approx(math.sqrt(0.09 / (1440 / 15 - 1)), rel=1e-12)


@pytest.mark.parametrize(("effective_n", "lags"), [(None, None), (1.9, 14), (500.0, 999)])
def test_without_independent_outcomes_there_is_a_gap_and_no_limit(effective_n, lags):
    confidence, hits = calibrated(200, 3)
    gap = gap_of(confidence, hits, effective_n, lags)
    assert gap.value == pytest.approx(np.mean(confidence - hits))
    assert (gap.standard_error, GapLimit().of(gap), GapLimit().words(gap)) == (None, None, None)


def test_who_knows_no_neutral_is_judged_on_moves():
    confidence, hits = calibrated(900, 4, low=0.55)
    given = judged(confidence, hits)
    probabilities = np.stack([1 - confidence, 0 * confidence, confidence], axis=1)
    outcomes = np.where(np.arange(900) % 3 == 0, 1, given.outcomes)
    gap = quality_of(Matured(probabilities, outcomes, given.time_ms, given.horizon_ms), None, knows_neutral=False)
    came = outcomes != 1
    assert gap.scores.gap.value == pytest.approx(np.mean(confidence[came] - hits[came]), rel=1e-12)


# ---- the limit


@pytest.mark.parametrize(("multiple", "days"), MULTIPLES)
def test_a_kept_multiple_is_in_force_for_its_days(multiple, days):
    assert GapLimit(days, streams=1).multiple == pytest.approx(multiple, rel=1e-12)
    assert GapLimit(days / 9, streams=9).multiple == pytest.approx(multiple, rel=1e-12)


def test_the_longer_the_days_and_the_more_the_series_the_higher_the_limit():
    days = [0.5, *(days * factor for _, days in MULTIPLES for factor in (1.0, 1.5)), 10_000, 100_000]
    found = [GapLimit(each).multiple for each in days]
    assert found[0] == found[1] == MULTIPLES[0][0]
    assert all(one < other for one, other in pairwise(found[1:]))
    assert 4.5 < found[-2] < 5.5


def test_the_limit_is_a_multiple_of_the_standard_error():
    limit = GapLimit(30, streams=9)
    assert limit.of(OVER) == limit.multiple * 0.05


@pytest.mark.parametrize(("days", "streams"), [(0, 1), (-1, 1), (math.nan, 1), (math.inf, 1), (30, 0)])
def test_a_wish_without_meaning_is_refused(days, streams):
    with pytest.raises(ValueError, match="days above 0 and at least 1 series, got"):
        GapLimit(days, streams)


def test_both_signs_pass_the_limit_and_the_words_differ():
    limit = GapLimit(streams=9)
    assert limit.words(OVER).startswith("overconfident: says 0.750 on average and is right in 0.500, a gap of +0.250")
    assert limit.words(UNDER).startswith("underconfident: says 0.500 on average and is right in 0.750, a gap of -0.250")
    assert limit.words(Gap(0.6, 0.5, 0.05)) is limit.words(Gap(0.5, 0.6, 0.05)) is None


def test_a_calibrated_model_hardly_ever_passes():
    passed = sum(
        GapLimit(streams=9).words(quality_of(judged(*calibrated(720, seed)), None).scores.gap) is not None
        for seed in range(300)
    )
    assert passed <= 1


def test_a_model_that_claims_three_in_four_and_is_right_in_one_of_two_passes_within_a_day():
    found = 0
    for seed in range(30):
        confidence, hits = calibrated(1440, seed, low=0.499, high=0.501)
        found += GapLimit(streams=9).words(quality_of(judged(confidence + 0.25, hits), None).scores.gap) is not None
    assert found >= 28
