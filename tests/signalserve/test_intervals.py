"""Intervals against scipy's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, ttest_1samp

from signalserve.intervals import student, wilson


@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
@pytest.mark.parametrize(("hits", "n"), [(0, 7), (7, 7), (1, 2), (680, 1000), (999, 1000)])
def test_the_interval_is_scipys(hits: int, n: int, level: float) -> None:
    expected = binomtest(hits, n).proportion_ci(level, method="wilson")
    found = wilson(hits / n, n, level)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert found.level == level


@given(st.floats(0, 1), st.floats(0.5, 1e6))
def test_the_interval_of_any_share_lies_in_0_to_1_and_holds_the_share(share: float, n: float) -> None:
    found = wilson(share, n)
    assert 0 <= found.low <= share + 1e-12
    assert share - 1e-12 <= found.high <= 1


@pytest.mark.parametrize(("share", "n"), [(1.1, 10), (-0.1, 10), (0.5, 0), (0.5, -1), (float("nan"), 10)])
def test_a_share_that_is_none_is_refused(share: float, n: float) -> None:
    with pytest.raises(ValueError, match="expected a share of 0 … 1 and n > 0"):
        wilson(share, n)


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_the_interval_of_a_mean_is_scipys(level: float) -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, size=12)
    expected = ttest_1samp(values, 0).confidence_interval(level)
    found = student(float(values.mean()), float(values.var()), len(values), level)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-12)


def test_one_observation_shows_no_spread() -> None:
    assert student(1.0, 0.0, 1.9) is None
    assert student(1.0, 0.0, 2.0) is not None
