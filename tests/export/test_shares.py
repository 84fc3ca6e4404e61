"""Shares of dependent predictions against simulated spread and a drawn bootstrap."""

import numpy as np
import pytest
from scipy.special import ndtri

from export.bootstrap import autoregression, block_length, resample_means, widening
from export.shares import independent, share_interval, worth
from signalserve.dependence import effective_count

ALL = np.ones(2000, dtype=bool)


def dependent(share: float, phi: float, random: np.random.Generator, n: int = 2000) -> np.ndarray:
    """Flags that are true in a share of the cases, and alike from one to the next."""
    return autoregression(phi, n, 1, random)[:, 0] < ndtri(share)


@pytest.mark.parametrize("phi", [0.0, 0.9])
@pytest.mark.parametrize("share", [0.05, 0.4])
def test_an_interval_of_95_per_cent_holds_the_truth_in_at_least_90(share: float, phi: float) -> None:
    random, held = np.random.default_rng(3), 0
    for _ in range(100):
        interval = share_interval(dependent(share, phi, random), ALL, 15)
        assert interval is not None
        assert 0 <= interval.low <= interval.high <= 1
        held += interval.low <= share <= interval.high
    assert held >= 90


def test_the_variance_is_that_of_a_bootstrap_that_is_drawn() -> None:
    random = np.random.default_rng(5)
    flags, among = dependent(0.4, 0.9, random), dependent(0.3, 0.8, random)
    share = flags[among].mean()
    deviations = np.where(among, flags - share, 0.0)[:, None] * 2000 / among.sum()
    block = block_length(deviations, 15)
    drawn = resample_means(deviations, block, 40_000).var() * widening(2000, block, 0.95) ** 2
    assert independent(flags, among, 15) == pytest.approx(share * (1 - share) / drawn, rel=0.03)


def test_runs_of_luck_longer_than_the_labels_overlap_are_counted() -> None:
    flags = np.repeat(np.random.default_rng(0).random(200) < 0.4, 100)  # a model that is right for 100 bars or wrong
    found = independent(flags, np.ones(20_000, dtype=bool), 15)
    assert found == pytest.approx(200, rel=0.35)
    assert effective_count(flags.astype(float), 14) > 3 * found  # a count of the overlap alone


def test_dependent_predictions_are_worth_fewer() -> None:
    loose = worth(dependent(0.4, 0.0, np.random.default_rng(4)), ALL, 15)
    tied = worth(dependent(0.4, 0.9, np.random.default_rng(4)), ALL, 15)
    assert 1200 < loose <= 2000
    assert tied < 400


def test_selecting_every_15th_of_overlapping_flags_makes_them_independent() -> None:
    flags = np.repeat(np.random.default_rng(0).random(2000) < 0.6, 15)
    apart = np.arange(len(flags)) % 15 == 0
    assert worth(flags, np.ones_like(apart), 15) == pytest.approx(2000, rel=0.25)
    assert worth(flags, apart, 15) == pytest.approx(2000, rel=0.25)


def test_what_never_happened_still_has_an_upper_limit() -> None:
    interval = share_interval(~ALL, ALL, 60)
    assert interval is not None
    blocks, z2 = len(ALL) / 60, ndtri(0.975) ** 2
    assert interval.low == pytest.approx(0, abs=1e-12)
    assert interval.high == pytest.approx(z2 / (blocks + z2))


def test_too_few_windows_have_no_interval_and_count_by_blocks() -> None:
    flags = np.arange(179) % 2 == 0
    assert share_interval(flags, ALL[:179], 60) is None
    assert worth(flags, ALL[:179], 60) == pytest.approx(179 / 60)
    assert worth(flags, np.arange(179) == 4, 60) == 1
    assert share_interval(ALL, ~ALL, 1) is None


def test_a_lone_cluster_shows_no_dependence_and_counts_by_blocks() -> None:
    cluster = np.abs(np.arange(2000) - 1007) < 5  # in one stretch of 15
    flags = np.arange(2000) % 5 != 0
    assert independent(flags, cluster, 15) is None
    assert worth(flags, cluster, 15) == 1
