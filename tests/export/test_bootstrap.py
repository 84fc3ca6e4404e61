"""The bootstrap against enumerations and loops that share no code with it, and its intervals against theory."""

import math

import numpy as np
import pytest
from scipy.stats import norm, t

from export.bootstrap import (
    FEWEST_BLOCKS,
    LONGER,
    Interval,
    autoregression,
    block_length,
    mean_interval,
    resample_means,
    statistic_interval,
    widening,
)
from signalserve.errors import DataError


def series(phi: float, n: int, count: int = 1, seed: int = 0) -> np.ndarray:
    return autoregression(phi, n, count, np.random.default_rng(seed))


def slow_block_length(values: list[float]) -> float:
    """Politis and White 2004 with the constants of 2009, in loops, as their paper tells it."""
    n = len(values)
    mean = sum(values) / n

    def covariance(lag: int) -> float:
        return sum((values[i] - mean) * (values[i + lag] - mean) for i in range(n - lag)) / n

    def is_small(lag: int) -> bool:
        return abs(covariance(lag) / covariance(0)) < 2 * math.sqrt(math.log10(n) / n)

    m = 0
    while not all(is_small(m + k) for k in range(1, 6)):
        m += 1
    bandwidth = min(2 * m, math.ceil(math.sqrt(n)) + 5)
    weights = {0: 1.0}
    for k in range(1, bandwidth + 1):
        weights[k] = weights[-k] = min(1.0, 2 * (1 - k / bandwidth))
    g = sum(weight * abs(k) * covariance(abs(k)) for k, weight in weights.items())
    d = 4 / 3 * sum(weight * covariance(abs(k)) for k, weight in weights.items()) ** 2
    return (2 * g**2 / d) ** (1 / 3) * n ** (1 / 3)


@pytest.mark.parametrize(("n", "block"), [(12, 4), (13, 4), (7, 1), (9, 8)])
def test_replicates_have_the_mean_and_the_covariance_of_all_possible_ones(n: int, block: int) -> None:
    values = np.random.default_rng(0).normal(size=(n, 2)).cumsum(axis=0)
    full, rest = -(-n // block) - 1, n - block * (-(-n // block) - 1)
    ring = values.tolist() * 2

    def block_sums(length: int) -> np.ndarray:
        return np.array([[sum(row[j] for row in ring[i : i + length]) for j in (0, 1)] for i in range(n)])

    covariance = (full * np.cov(block_sums(block).T, bias=True) + np.cov(block_sums(rest).T, bias=True)) / n**2
    means = resample_means(values, block, 60_000, seed=1)
    assert means.mean(axis=0) == pytest.approx(values.mean(axis=0), abs=4 * np.sqrt(covariance.max() / 60_000))
    assert np.cov(means.T) == pytest.approx(covariance, abs=0.03 * covariance.max())


def test_every_replicate_is_made_of_blocks_of_the_ring() -> None:
    values = 2.0 ** np.arange(5)[:, None]  # a sum tells which were drawn
    ring = [*range(5), *range(5)]
    possible = {
        sum(2.0**i for i in ring[first : first + 3]) + sum(2.0**i for i in ring[second : second + 2])
        for first in range(5)
        for second in range(5)
    }
    assert set(np.round(5 * resample_means(values, 3, 2000)[:, 0], 9)) == possible


def test_one_block_as_long_as_the_series_is_the_series() -> None:
    values = np.random.default_rng(0).normal(size=(50, 3))
    assert resample_means(values, 50, 10) == pytest.approx(np.tile(values.mean(axis=0), (10, 1)))


def test_a_columns_replicates_do_not_depend_on_its_company() -> None:
    values = np.random.default_rng(0).normal(size=(1000, 40))
    together, alone = resample_means(values, 7, 300), resample_means(values[:, 3:4], 7, 300)
    assert together[:, 3] == pytest.approx(alone[:, 0], abs=1e-14)


def test_a_far_off_level_costs_no_digits() -> None:
    values = np.random.default_rng(0).normal(size=(5000, 1))
    near, far = resample_means(values, 10, 100), resample_means(values + 1e6, 10, 100)
    assert far - 1e6 == pytest.approx(near, abs=1e-9)


def test_the_same_seed_gives_the_same_replicates_and_another_gives_others() -> None:
    values = np.random.default_rng(0).normal(size=(100, 1))
    first = resample_means(values, 5, 50, seed=3)
    assert (first == resample_means(values, 5, 50, seed=3)).all()
    assert not (first == resample_means(values, 5, 50, seed=4)).any()


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9, -0.5])
def test_the_block_length_is_that_of_the_paper_in_loops(phi: float) -> None:
    values = series(phi, 400, seed=5)
    expected = min(max(1, math.ceil(LONGER * slow_block_length(values[:, 0].tolist()))), 400 // FEWEST_BLOCKS)
    assert block_length(values) == expected


def test_the_block_length_of_a_long_series_is_the_theorys() -> None:
    phi, n = 0.9, 20_000
    theory = LONGER * (1.5 * (2 * phi / (1 - phi**2)) ** 2 * n) ** (1 / 3)
    found = [block_length(values[:, None]) for values in series(phi, n, 20).T]
    assert np.median(found) == pytest.approx(theory, rel=0.25)


def test_the_most_dependent_column_decides() -> None:
    quiet, slow = series(0.0, 2000), series(0.95, 2000)
    assert block_length(np.hstack([quiet, slow])) == block_length(slow) > block_length(quiet)


def test_blocks_are_no_shorter_than_asked_for_and_no_longer_than_a_third() -> None:
    assert block_length(series(0.0, 300), 15) >= 15
    assert block_length(np.arange(90.0)[:, None]) == 30
    assert block_length(np.ones((90, 1)), 15) == 15


def test_a_series_that_swings_back_at_once_still_has_a_block_length() -> None:
    assert 1 <= block_length(np.tile([1.0, -1.0], 100)[:, None]) <= 200 // FEWEST_BLOCKS


def test_too_short_a_series_is_refused_with_what_is_needed() -> None:
    with pytest.raises(DataError, match=r"at least 45 values in a row .*3 blocks of 15.*, got 44: give a longer span"):
        mean_interval(np.arange(44.0), 15)


@pytest.mark.parametrize(
    ("values", "minimum"), [(np.array([[1.0], [np.nan], [1.0]]), 1), (np.ones((9, 1)), 0), (np.ones(9), 1)]
)
def test_wrong_input_is_refused_in_words(values: np.ndarray, minimum: int) -> None:
    with pytest.raises(ValueError, match=r"\(n, k\) finite values and a minimum >= 1"):
        block_length(values, minimum)


def test_widening_is_students_and_vanishes_with_many_blocks() -> None:
    ratio = t.ppf(0.975, 1.5 * 20) / norm.ppf(0.975)
    assert widening(2000, 100, 0.95) == pytest.approx(ratio / math.sqrt(0.95), rel=1e-9)
    assert 1 < widening(1_000_000, 1, 0.95) < 1.00001
    assert widening(2000, 200, 0.95) > widening(2000, 100, 0.95)
    assert widening(2000, 100, 0.99) > widening(2000, 100, 0.95)


def test_intervals_of_independent_values_are_as_wide_as_the_textbooks() -> None:
    found = [mean_interval(values, 1) for values in series(0.0, 2000, 60).T]
    textbook = 2 * norm.ppf(0.975) / math.sqrt(2000)
    assert np.median([interval.high - interval.low for interval in found]) == pytest.approx(textbook, rel=0.15)


def test_intervals_of_dependent_values_are_as_wide_as_their_long_run_variance_says() -> None:
    found = [mean_interval(values, 1) for values in series(0.9, 20_000, 20).T]
    theory = 2 * norm.ppf(0.975) * math.sqrt((1 + 0.9) / (1 - 0.9) / 20_000)
    assert np.median([interval.high - interval.low for interval in found]) == pytest.approx(theory, rel=0.15)


def test_a_higher_level_is_wider() -> None:
    values = series(0.5, 1000)[:, 0]
    narrow, wide = mean_interval(values, 1, level=0.8), mean_interval(values, 1, level=0.99)
    assert wide.low < narrow.low < narrow.high < wide.high
    assert (narrow.level, wide.level) == (0.8, 0.99)


def test_a_series_that_never_changes_has_an_interval_of_no_width() -> None:
    assert mean_interval(np.full(100, 0.25), 15) == Interval(0.25, 0.25, 0.95)


def test_a_ratio_of_means_has_the_width_of_the_delta_method() -> None:
    random = np.random.default_rng(0)
    hits, weights = random.random(4000) < 0.6, random.random(4000)
    found = statistic_interval(np.stack([hits * weights, weights], axis=1), lambda m: m[:, 0] / m[:, 1], 1)
    ratio = (hits * weights).sum() / weights.sum()
    error = np.sqrt(((weights * (hits - ratio)) ** 2).sum()) / weights.sum()
    assert found.high - found.low == pytest.approx(2 * norm.ppf(0.975) * error, rel=0.1)
    assert (found.low + found.high) / 2 == pytest.approx(ratio, abs=0.2 * error)


def test_a_statistic_that_is_the_mean_has_its_interval() -> None:
    values = series(0.5, 500)
    assert statistic_interval(values, lambda means: means[:, 0], 15) == mean_interval(values[:, 0], 15)


def test_simulated_series_have_the_autocorrelation_and_the_variance_asked_for() -> None:
    values = series(0.9, 2000, 200)
    assert values.var() == pytest.approx(1.0, rel=0.05)
    assert values[0].var() == pytest.approx(1.0, rel=0.3)
    assert (values[1:] * values[:-1]).mean() == pytest.approx(0.9, rel=0.05)
