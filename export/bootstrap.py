"""A dependent series -> an interval for its mean, or for a function of means, by the circular block bootstrap.

Blocks of consecutive values are drawn with replacement, from a series closed to a ring, so that dependence within a
block is kept and every value is drawn equally often. How long they should be is estimated from the series.
Plain percentiles of the replicates cover too little where dependence is strong. Two things are done about it: blocks
are longer than the best ones for a variance (LONGER), and deviations are widened for there being few of them
(`widening`).

Own code because all that is bootstrapped here are means, and those need no resampled series: the sums of all blocks
come from prefix sums, and a replicate adds n / block of them instead of n values.

Sources: Politis and Romano 1992, A Circular Block-Resampling Procedure for Stationary Data; Politis and White 2004,
Automatic Block-Length Selection for the Dependent Bootstrap, with the correction by Patton, Politis and White 2009;
Sun, Phillips and Jin 2008, Optimal Bandwidth Selection in Heteroskedasticity-Autocorrelation Robust Testing; Sun 2014,
Let's Fix It: Fixed-b Asymptotics versus Small-b Asymptotics in Heteroskedasticity and Autocorrelation Robust Inference.
"""

from collections.abc import Callable
from math import ceil, log10, sqrt
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri, stdtrit

from signalserve.dependence import autocovariances
from signalserve.errors import DataError
from signalserve.intervals import Interval

Floats = npt.NDArray[np.float64]

FEWEST_BLOCKS: Final = 3
"""Politis and White's own bound; with fewer an interval says nothing."""

LONGER: Final = 2
"""Times Politis and White's length. Theirs is best for the variance; an interval wants less bias for more noise (Sun,
Phillips and Jin 2008), since the noise is known and widened for, and the bias is not."""

IN_A_ROW: Final = 5
"""Insignificant autocorrelations that end the dependence; Politis and White's choice for every n below 10^25."""

AT_ONCE: Final = 20_000
"""Blocks drawn at once: few enough that 200 columns of their sums take 32 MB, enough that the loop costs nothing. It
does not depend on the number of columns, so that each column's replicates do not depend on its company."""


def mean_interval(
    values: Floats, minimum_block: int, *, level: float = 0.95, rounds: int = 2000, seed: int = 0
) -> Interval:
    """An interval for the mean of a dependent series.

    values: (n,), in time order, finite.  minimum_block: values that depend on each other by construction, such as
    the labels' horizon.  Raises DataError for fewer than FEWEST_BLOCKS such blocks, ValueError for other input.
    """
    return statistic_interval(
        values[:, None], lambda means: means[:, 0], minimum_block, level=level, rounds=rounds, seed=seed
    )


def statistic_interval(
    values: Floats,
    statistic: Callable[[Floats], Floats],
    minimum_block: int,
    *,
    level: float = 0.95,
    rounds: int = 2000,
    seed: int = 0,
) -> Interval:
    """An interval for a function of means, e.g. for the ratio of two.

    values: (n, k), in time order, finite.  statistic: means (rounds, k) -> (rounds,).  minimum_block: as for
    `mean_interval`.  Raises as that does.
    """
    block = block_length(values, minimum_block)
    centre = values.mean(axis=0)
    means = centre + widening(len(values), block, level) * (resample_means(values, block, rounds, seed) - centre)
    low, high = np.quantile(statistic(means), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), level)


def resample_means(values: Floats, block: int, rounds: int, seed: int = 0) -> Floats:
    """Means of `rounds` circular block resamples of a series, (rounds, k).

    values: (n, k), in time order, finite.  block: 1 … n; where n is no multiple of it, the last block is cut.
    """
    n, k = values.shape
    centre = values.mean(axis=0)
    # Sums of centred values lose no digits, however far from zero the values lie.
    ring = np.concatenate([values, values[: block - 1]]) - centre  # (n + block - 1, k)
    prefix = np.concatenate([np.zeros((1, k)), ring.cumsum(axis=0)])  # (n + block, k)
    blocks = ceil(n / block)
    rest = n - (blocks - 1) * block  # the length of the last block, 1 … block
    sums = prefix[block:] - prefix[:n]  # (n, k), by the block's first value
    rest_sums = prefix[rest : rest + n] - prefix[:n]  # (n, k)

    random = np.random.default_rng(seed)
    means = np.empty((rounds, k))
    part = max(1, AT_ONCE // blocks)
    for first in range(0, rounds, part):
        some = min(part, rounds - first)
        drawn = sums[random.integers(n, size=(some, blocks - 1))].sum(axis=1)  # (some, k)
        means[first : first + some] = drawn + rest_sums[random.integers(n, size=some)]
    resampled: Floats = centre + means / n
    return resampled


def block_length(values: Floats, minimum: int = 1) -> int:
    """How long blocks should be: LONGER times the length by Politis and White 2004, corrected 2009.

    values: (n, k), n > 0, in time order, finite; of k columns the most dependent decides.  minimum: > 0.
    Returns minimum … n / FEWEST_BLOCKS. Raises DataError where n is too small for that, ValueError for other input.
    """
    if values.ndim != 2 or not np.isfinite(values).all() or minimum < 1:
        raise ValueError(f"expected (n, k) finite values and a minimum >= 1, got {values.shape} and {minimum}")
    n = len(values)
    if n < FEWEST_BLOCKS * minimum:
        raise DataError(
            f"expected at least {FEWEST_BLOCKS * minimum} values in a row for an interval ({FEWEST_BLOCKS} blocks of "
            f"{minimum}), got {n}: give a longer span"
        )
    length = LONGER * max(_variance_length(column) for column in values.T)
    return int(np.clip(ceil(length), minimum, n // FEWEST_BLOCKS))


def widening(n: int, block: int, level: float) -> float:
    """The factor, above 1, by which deviations of replicates must grow for intervals to hold at their level.

    n, block: of the series, block < n.  level: of the interval, 0 … 1.
    The bootstrap's variance is the estimate with Bartlett's kernel of bandwidth `block`. Not yet small beside n, it
    is too low by the share block / n, and spread like a χ² with 1.5 · n / block degrees of freedom (Sun 2014).
    """
    tail = (1 + level) / 2
    return float(stdtrit(1.5 * n / block, tail) / ndtri(tail)) / sqrt(1 - block / n)


def coverage(
    phi: float, *, n: int = 2000, data_sets: int = 500, level: float = 0.95, rounds: int = 500, seed: int = 0
) -> float:
    """The share of simulated data sets whose interval holds the true mean: what an interval is worth.

    phi: autocorrelation of the AR(1) series with normal innovations, -1 … 1.  n: values of each.
    """
    series = autoregression(phi, n, data_sets, np.random.default_rng(seed))
    found = [mean_interval(values, 1, level=level, rounds=rounds) for values in series.T]
    return sum(interval.low <= 0 <= interval.high for interval in found) / data_sets


def autoregression(phi: float, n: int, count: int, random: np.random.Generator) -> Floats:
    """`count` stationary AR(1) series of mean 0 and variance 1, in columns, (n, count)."""
    series = random.normal(size=(n, count))
    for step in range(1, n):
        series[step] = phi * series[step - 1] + sqrt(1 - phi**2) * series[step]
    return series


def _variance_length(values: Floats) -> float:
    """The block length that gives the bootstrap's variance its smallest squared error, (n,) -> values, >= 0.

    Source: Politis and White 2004, section 3; corrected by Patton, Politis and White 2009.
    """
    n = len(values)
    centred = values - values.mean()
    if not np.ptp(values):
        return 0.0
    last = min(n - 1, ceil(sqrt(n)) + IN_A_ROW)
    covariances = autocovariances(centred[:, None], last)
    is_small = np.abs(covariances[1:]) < 2 * sqrt(log10(n) / n) * covariances[0]
    bandwidth = min(2 * _first_run(is_small, IN_A_ROW), last)
    if not bandwidth:
        return 0.0
    lags = np.arange(1, bandwidth + 1)
    flat_top = np.minimum(1, 2 * (1 - lags / bandwidth))
    tapered = flat_top * covariances[1 : bandwidth + 1]
    spectrum = covariances[0] + 2 * tapered.sum()
    slope = 2 * (lags * tapered).sum()
    if spectrum <= 0:
        return float(n)  # the flat-top estimate failed: as long as is allowed, to be safe
    return float((1.5 * (slope / spectrum) ** 2 * n) ** (1 / 3))


def _first_run(flags: npt.NDArray[np.bool_], length: int) -> int:
    """Where the first `length` true flags in a row begin; what lies behind the end counts as true."""
    padded = np.concatenate([flags, np.ones(length, dtype=bool)])
    return int(np.lib.stride_tricks.sliding_window_view(padded, length).all(axis=1).argmax())
