"""Effective counts against loops that share no code with them, against theory, and against simulated spread."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.dependence import (
    FEWEST_EFFECTIVE_LABELS,
    effective_count,
    effective_hits,
    effective_labels,
    require_labels,
)
from signalserve.errors import DataError

HORIZON = 15


def overlapping_labels(n: int, seed: int = 0) -> np.ndarray:
    """Labels from the sum of the next 15 independent steps: DOWN, NEUTRAL, UP about equally often."""
    steps = np.random.default_rng(seed).normal(size=n + HORIZON)
    ahead = np.convolve(steps, np.ones(HORIZON), mode="valid")[1:]
    return np.digitize(ahead, [-1.67, 1.67])


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


@given(st.lists(st.integers(0, 2), min_size=1, max_size=80), st.integers(1, 20))
def test_labels_are_worth_at_least_1_and_at_most_their_number(labels: list[int], horizon: int) -> None:
    assert 1 <= effective_labels(np.array(labels), horizon) <= len(labels)


def test_a_sum_of_covariances_below_zero_still_gives_a_count() -> None:
    alternating = np.tile([1.0, -1.0], 50)
    assert effective_count(alternating, 1) == 100  # worth more than independent ones: at most its number


def test_names_of_classes_do_not_matter() -> None:
    labels = overlapping_labels(3000)
    assert effective_labels(2 - labels, HORIZON) == pytest.approx(effective_labels(labels, HORIZON))
    assert effective_labels(labels[labels != 1], 1) == effective_labels(labels[labels != 1] // 2, 1)


def test_the_spread_of_class_shares_is_that_of_as_many_independent_labels() -> None:
    shares = np.array([(overlapping_labels(3000, seed) == 2).mean() for seed in range(400)])
    worth = shares.mean() * (1 - shares.mean()) / shares.var()
    counts = [effective_labels(overlapping_labels(3000, seed), HORIZON) for seed in range(20)]
    assert np.mean(counts) == pytest.approx(worth, rel=0.2)


def test_enough_labels_pass_and_say_their_worth() -> None:
    labels = overlapping_labels(20_000)
    assert require_labels(labels, HORIZON, "fit a temperature") == effective_labels(labels, HORIZON)


def test_too_few_labels_are_refused_with_the_number_and_how_many_more_are_needed() -> None:
    labels = overlapping_labels(6000)
    effective = effective_labels(labels, HORIZON)
    with pytest.raises(DataError, match=r"1,000 effective labels to fit a temperature, got (\d+) from 6,000") as caught:
        require_labels(labels, HORIZON, "fit a temperature")
    more = int(str(caught.value).split("give about ")[1].split(" more")[0].replace(",", ""))
    assert 0 <= more - (FEWEST_EFFECTIVE_LABELS - effective) * 6000 / effective < 100
    assert f"got {int(effective)} from" in str(caught.value)


def test_no_labels_at_all_are_refused_in_the_same_words() -> None:
    with pytest.raises(DataError, match=r"got 0 from 0 windows .*give about 15,000 more windows"):
        require_labels(np.zeros(0, dtype=np.int64), HORIZON, "fit a temperature")


def test_independent_hits_are_worth_their_number_whatever_is_selected() -> None:
    random = np.random.default_rng(0)
    hits, selected = random.random(30_000) < 0.6, random.random(30_000) < 0.3
    assert effective_hits(hits, selected, HORIZON) == pytest.approx(selected.sum(), rel=0.15)


def test_selecting_every_15th_of_overlapping_hits_makes_them_independent() -> None:
    hits = np.repeat(np.random.default_rng(0).random(2000) < 0.6, HORIZON)
    apart = np.arange(len(hits)) % HORIZON == 0
    assert effective_hits(hits, np.ones_like(apart), HORIZON) == pytest.approx(2000, rel=0.15)
    assert effective_hits(hits, apart, HORIZON) == 2000


def test_the_spread_of_an_accuracy_is_that_of_as_many_independent_predictions() -> None:
    random = np.random.default_rng(3)
    found, counts = [], []
    for _ in range(400):
        selected = np.repeat(random.random(400) < 0.3, 10)  # confidence comes in runs of 10
        hits = np.repeat(random.random(400 * 10 // 5) < 0.7, 5)
        found.append(hits[selected].mean())
        counts.append(effective_hits(hits, selected, 5))
    assert np.mean(counts) == pytest.approx(0.7 * 0.3 / np.var(found), rel=0.2)


def test_only_hits_count_as_disjoint_stretches() -> None:
    selected = np.arange(3000) < 600
    assert effective_hits(np.ones(3000, dtype=bool), selected, HORIZON) == pytest.approx(600 / HORIZON)


def test_wrong_input_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="n > 0"):
        effective_count(np.zeros(0), 3)
    with pytest.raises(ValueError, match="lags >= 0"):
        effective_count(np.zeros(3), -1)
    with pytest.raises(ValueError, match="expected at least one prediction, got none"):
        effective_hits(np.ones(3, dtype=bool), np.zeros(3, dtype=bool), 15)
