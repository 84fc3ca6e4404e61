"""PSI against plain loops, and the laws of a divergence."""

import math

import numpy as np
import pytest
from drift_streams import plain_counts, plain_psi
from hypothesis import given
from hypothesis import strategies as st

from signalserve.drift.psi import BINS, Bins, psi, smoothed

PAIRS = st.integers(2, 12).flatmap(
    lambda k: st.tuples(*(st.lists(st.integers(0, 10_000), min_size=k, max_size=k) for _ in range(2)))
)


@given(PAIRS)
def test_psi_is_that_of_a_plain_loop_and_never_below_zero(pair: tuple[list[int], list[int]]) -> None:
    window, reference = pair
    assert psi(window, reference) == pytest.approx(plain_psi(window, reference), rel=1e-9, abs=1e-12)
    assert psi(window, reference) >= 0


@given(PAIRS)
def test_psi_is_the_same_both_ways(pair: tuple[list[int], list[int]]) -> None:
    assert psi(*pair) == pytest.approx(psi(*reversed(pair)), rel=1e-9, abs=1e-12)


def test_the_same_counts_have_a_psi_of_zero() -> None:
    assert psi([3, 0, 7], [3, 0, 7]) == 0


def test_an_empty_bin_makes_it_large_but_finite() -> None:
    assert 1 < psi([0, 120], [5000, 5000]) < math.inf


def test_half_a_count_is_added_to_each_bin() -> None:
    assert smoothed([0, 1, 2]).tolist() == pytest.approx([0.5 / 4.5, 1.5 / 4.5, 2.5 / 4.5])


def test_a_window_of_independent_values_has_the_psi_that_chi_square_says() -> None:
    """(1/n + 1/m) times a chi-square of k - 1 degrees of freedom, of mean k - 1."""
    rng = np.random.default_rng(0)
    n, m = 2000, 50_000
    psis = [psi(*(rng.multinomial(size, np.full(10, 0.1)) for size in (n, m))) for _ in range(400)]
    assert np.mean(psis) == pytest.approx(9 * (1 / n + 1 / m), rel=0.1)


def test_quantile_bins_hold_a_tenth_of_their_reference_each() -> None:
    values = np.random.default_rng(0).normal(size=10_000)
    bins = Bins.of(values)
    assert bins.counts.tolist() == [1000] * BINS
    assert bins.psi(values) == 0


@given(st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.35, 0.9]), min_size=1, max_size=60))
def test_values_are_counted_as_a_plain_loop_counts_them_even_where_many_are_equal(values: list[float]) -> None:
    bins = Bins.of(np.array(values))
    assert bins.counts.tolist() == plain_counts(values, bins.edges.tolist())
    assert bins.count(values).tolist() == bins.counts.tolist()


def test_a_value_on_an_edge_lies_above_it_and_what_is_no_number_in_the_last_bin() -> None:
    bins = Bins([1.0, 2.0], [1, 1, 1])
    assert bins.which([1.0, 2.0, -math.inf, math.inf, math.nan]).tolist() == [1, 2, 0, 2, 2]


def test_a_constant_reference_has_one_bin_for_what_lies_below_and_one_for_all_else() -> None:
    bins = Bins.of(np.full(1000, 0.4))
    assert bins.counts.tolist() == [0] * 9 + [1000]
    assert bins.psi(np.full(1000, 0.4)) == bins.psi(np.full(1000, 0.5)) == 0
    assert bins.psi(np.full(1000, 0.3)) > 10


@pytest.mark.parametrize(
    ("edges", "counts", "words"),
    [
        ([1.0], [1, 1, 1], "one edge fewer"),
        ([], [1], "one edge fewer"),
        ([2.0, 1.0], [1, 1, 1], "ascending"),
        ([math.nan, 1.0], [1, 1, 1], "finite"),
        ([1.0], [0, 0], "at least one value"),
        ([1.0], [-1, 2], "at least one value"),
    ],
)
def test_bins_that_can_not_be_are_refused(edges: list[float], counts: list[int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Bins(edges, counts)
