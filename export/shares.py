"""A share among dependent predictions -> how many independent ones it rests on, and the interval that these allow.

Hits and classes of neighbours depend on each other beyond the bars that their labels share: a model is right for a
while and wrong for a while. How far that reaches is no fixed number of lags, so the block bootstrap estimates it.
"""

from math import ceil

import numpy as np
import numpy.typing as npt

from export.bootstrap import FEWEST_BLOCKS, block_length, widening
from signalserve.intervals import LEVEL, Interval, wilson

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


def share_interval(flags: Flags, among: Flags, block: int, *, level: float = LEVEL) -> Interval | None:
    """An interval for the share of `flags` among some of the predictions; None where these lie in too few blocks.

    flags, among: (m,), in time order.  block: neighbours that depend on each other by construction, > 0.
    The block bootstrap says how many independent predictions these are worth, Wilson's interval what so many tell
    of a share: near 0 and 1, where the bootstrap's own shrinks to a point, it stays honest.
    """
    worth = independent(flags, among, block, level=level)
    return None if worth is None else wilson(float(flags[among].mean()), worth, level)


def independent(flags: Flags, among: Flags, block: int, *, level: float = LEVEL) -> float | None:
    """How many independent predictions would give the share of `flags` among these an interval as wide; None as above.

    The variance is that of the linearised ratio (Cochran, Sampling Techniques, section 2.11), so that predictions
    that do not count keep their place. Flags that are all alike show no dependence to estimate from: every `block`
    of them count as one.
    """
    n, count = len(among), int(among.sum())
    touched = len(np.unique(np.flatnonzero(among) // block))  # a lone cluster's deviations from its mean cancel out
    if n < FEWEST_BLOCKS * block or touched < FEWEST_BLOCKS:
        return None
    share = float(flags[among].mean())
    if share in (0.0, 1.0):
        return max(1.0, count / block)
    deviations = np.where(among, flags - share, 0.0) * n / count  # mean 0 by construction
    length = block_length(deviations[:, None], block)
    variance = widening(n, length, level) ** 2 * _bootstrap_variance(deviations, length)
    of_one = share * (1 - share)
    return float(np.clip(of_one / max(variance, of_one / count), 1, count))


def worth(flags: Flags, among: Flags, block: int, *, level: float = LEVEL) -> float:
    """As `independent`, of at least one prediction: where they are too few for that, every `block` count as one."""
    found = independent(flags, among, block, level=level)
    return max(1.0, int(among.sum()) / block) if found is None else found


def _bootstrap_variance(values: Floats, block: int) -> float:
    """The variance of `bootstrap.resample_means` over endless rounds; drawing them would only add noise.

    values: (n,), in time order, of mean 0.  Its blocks are drawn independently of each other, so their variances add.
    """
    n = len(values)
    prefix = np.concatenate([[0.0], np.concatenate([values, values[: block - 1]]).cumsum()])  # (n + block,)
    blocks = ceil(n / block)
    rest = n - (blocks - 1) * block  # the length of the last block, 1 … block
    whole, last = prefix[block:] - prefix[:n], prefix[rest : rest + n] - prefix[:n]  # sums, (n,)
    return float((blocks - 1) * whole.var() + last.var()) / n**2
