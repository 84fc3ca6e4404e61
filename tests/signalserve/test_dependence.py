"""Effective counts against loops that share no code with them, and against theory."""

import numpy as np
import pytest

from signalserve.dependence import effective_count

HORIZON = 15


def slow_effective_count(values: np.ndarray, lags: int) -> float:
    n, variance, long_run = len(values), 0.0, 0.0
    for column in values.reshape(n, -1).T.tolist():
        mean = sum(column) / n
        for lag in range(lags + 1):
            covariance = sum((column[t] - mean) * (column[t + lag] - mean) for t in range(n - lag)) / n
            variance += covariance if lag == 0 else 0
            long_run += covariance if lag == 0 else 2 * covariance
    return min(max(n * variance / long_run, 1), n)


@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("lags", [0, 1, 14])
def test_the_count_is_that_of_a_plain_loop(columns: int, lags: int) -> None:
    values = np.random.default_rng(0).normal(size=(300, columns)).cumsum(axis=0)
    values[50:] -= values[:-50]  # moving sums
    assert effective_count(values, lags) == pytest.approx(slow_effective_count(values, lags), rel=1e-12)


def test_one_column_needs_no_second_axis() -> None:
    values = np.random.default_rng(0).normal(size=200)
    assert effective_count(values, 5) == effective_count(values[:, None], 5)


def test_independent_values_are_worth_their_number() -> None:
    values = np.random.default_rng(1).normal(size=50_000)
    assert effective_count(values, 14) == pytest.approx(50_000, rel=0.1)
    assert effective_count(values, 0) == pytest.approx(50_000)


def test_sums_of_15_steps_are_worth_a_15th() -> None:
    ahead = np.convolve(np.random.default_rng(1).normal(size=60_014), np.ones(HORIZON), mode="valid")
    assert effective_count(ahead, HORIZON - 1) == pytest.approx(60_000 / HORIZON, rel=0.1)


def test_a_scale_and_a_shift_change_nothing() -> None:
    values = np.convolve(np.random.default_rng(2).normal(size=2000), np.ones(5), mode="valid")
    assert effective_count(1e-3 * values + 1e3, 4) == pytest.approx(effective_count(values, 4), rel=1e-6)


@pytest.mark.parametrize(("n", "lags", "worth"), [(300, 14, 20.0), (10, 14, 1.0), (1, 0, 1.0), (30, 14, 2.0)])
def test_a_series_that_never_changes_counts_its_disjoint_stretches(n: int, lags: int, worth: float) -> None:
    assert effective_count(np.ones(n), lags) == worth


def test_a_series_shorter_than_its_dependence_counts_as_one() -> None:
    assert effective_count(np.random.default_rng(0).normal(size=15), 14) == 1.0


def test_a_sum_of_covariances_below_zero_still_gives_a_count() -> None:
    alternating = np.tile([1.0, -1.0], 50)
    assert effective_count(alternating, 1) == 100  # worth more than independent ones: at most its number


def test_wrong_input_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="n > 0"):
        effective_count(np.zeros(0), 3)
    with pytest.raises(ValueError, match="lags >= 0"):
        effective_count(np.zeros(3), -1)
