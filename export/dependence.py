"""Labels that overlap -> how many independent ones they are worth, and whether these suffice to fit anything.

Labels look `horizon` bars ahead and stand one bar apart, so that neighbours share all but one bar of their future:
even a perfect model's errors are then a moving average of order horizon - 1. Their autocovariances are summed
unweighted up to that lag, beyond which they are zero by construction. Bartlett's weights, the usual choice where the
order is unknown, would shrink those that are not: with autocorrelations that fall in a line they find two thirds of
the long-run variance, and half as many values again as there are.

This counts the overlap and nothing else. A real model's hits, and the classes of a market that moves for hours, depend
on each other for longer, and are worth fewer: intervals of shares take `shares.independent`, all others the bootstrap.
It is right for saying whether labels suffice, which must not depend on the model: what decides the temperature is the
slope of the loss, whose own dependence is short. On the calibration parts of four reference models (V6-fixed and V8 of
BTC and ETH, version 2) means of blocks of 60 to 350 slopes gave 988 to 2,632 independent ones; their labels are worth
1,195 and 1,224 by this count.
Source: Hansen and Hodrick 1980, Forward Exchange Rates as Optimal Predictors of Future Spot Rates.
"""

from math import ceil
from typing import Final

import numpy as np
import numpy.typing as npt
import scipy.fft

from signalserve import CLASSES
from signalserve.errors import DataError

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

FEWEST_EFFECTIVE_LABELS: Final = 1000
"""To fit anything. On 1,000 independent labels a weak model's temperature of 10 has a standard deviation of 1.2."""

FEWEST_OF_A_CLASS: Final = 30
"""Effective labels: the share of a class that came 30 times is known to 18 % (1 / √30), of one that never came not at
all; the likeliest temperature of labels that are all alike is an end of the search."""

FEWEST_TO_JUDGE: Final = 300
"""Effective labels: an accuracy of 0.5 among 300 says 0.44 to 0.56 (Wilson, 95 %); fewer tell nothing apart."""


def effective_count(values: Floats, lags: int) -> float:
    """The number of independent values whose mean would be as uncertain as this series' mean, 1 … n.

    values: (n,) or (n, k), in time order, n > 0; columns are pooled: n · Σ variances / Σ long-run variances.
    lags: the last one at which values depend on each other, >= 0; horizon - 1 for what is judged by labels.
    A series that never changes, or is no longer than its dependence, shows nothing to estimate from: its
    n / (lags + 1) disjoint stretches are counted. Raises ValueError for an empty series or negative lags.
    """
    if values.ndim not in (1, 2) or not values.size or lags < 0:
        raise ValueError(f"expected (n,) or (n, k) values, n > 0, and lags >= 0, got {values.shape} and {lags}")
    n = len(values)
    centred = (values - values.mean(axis=0)).reshape(n, -1)
    if n <= lags + 1 or not np.ptp(values, axis=0).any():
        return max(1.0, n / (lags + 1))
    covariances = autocovariances(centred, lags)
    return float(np.clip(n * covariances[0] / _long_run(covariances), 1, n))


def autocovariances(centred: Floats, lags: int) -> Floats:
    """Sample autocovariances at lags 0 … `lags`, summed over the columns, (lags + 1,).

    centred: (n, k), each column less its mean.  By Fourier transform (Wiener and Khinchin): the products of 10,000
    numbers and more go to several threads of the linear algebra library, which wait for one another on busy cores.
    """
    n = len(centred)
    size = scipy.fft.next_fast_len(n + lags, real=True)  # room enough for the series not to meet its own start
    spectrum = (np.abs(scipy.fft.rfft(centred, size, axis=0)) ** 2).sum(axis=1)
    summed: Floats = scipy.fft.irfft(spectrum, size)[: lags + 1] / n
    return summed


def effective_labels(labels: Labels, horizon: int) -> float:
    """How many independent labels these are worth, by the indicators of their classes, 1 … n.

    labels: (n,), one a bar, in time order, n > 0.  horizon: bars that a label looks ahead, > 0.
    """
    indicators = (labels[:, None] == np.unique(labels)).astype(np.float64)  # (n, classes that occur)
    return effective_count(indicators, horizon - 1)


def require_labels(
    labels: Labels,
    horizon: int,
    what: str,
    *,
    knows_neutral: bool = False,
    windows: int | None = None,
) -> float:
    """The effective number of labels, if it suffices to fit anything.

    labels: (n,), 0 … 2, one a bar, in time order.  horizon: bars that a label looks ahead.  what: completes the
    sentence "expected … effective labels to", e.g. "fit a temperature".  knows_neutral: whether NEUTRAL must come too;
    UP, DOWN and whatever does come must.  windows: all that there are, of which these labels are a part; n by default.
    Raises DataError below FEWEST_EFFECTIVE_LABELS, with how many windows it would take, and with the counts where a
    class has fewer than FEWEST_OF_A_CLASS.
    """
    effective = require_count(labels, horizon, FEWEST_EFFECTIVE_LABELS, what, windows=windows)
    wanted = {*np.unique(labels).tolist(), 0, 2, *([1] if knows_neutral else [])}
    counts = {CLASSES[k]: effective_of_class(labels == k, horizon) for k in sorted(wanted)}
    if min(counts.values()) < FEWEST_OF_A_CLASS:
        told = ", ".join(f"{name} {int(count):,}" for name, count in counts.items())
        raise DataError(
            f"expected at least {FEWEST_OF_A_CLASS} effective labels of each class to {what}, got {told}: give bars in "
            "which each of them comes, or labels of another band"
        )
    return effective


def require_count(labels: Labels, horizon: int, fewest: int, what: str, *, windows: int | None = None) -> float:
    """The effective number of labels, at least `fewest`; parameters and DataError as for `require_labels`."""
    n = len(labels)
    of = n if windows is None else windows
    effective = effective_labels(labels, horizon) if n else 0.0
    if effective >= fewest:
        return effective
    # To hundreds: the effective count is an estimate. Where there is no label, the least is told.
    needed = max(fewest * (of / effective if n else horizon), of)
    in_all, more = (100 * ceil(count / 100) for count in (needed, needed - of))
    told = f"{n:,}" if of == n else f"{n:,} of {of:,}"
    raise DataError(
        f"expected at least {fewest:,} effective labels to {what}, got {int(effective):,} from {told} windows (labels "
        f"{horizon} bars ahead overlap): about {in_all:,} windows are needed in all, so give about {more:,} more bars"
    )


def effective_of_class(came: npt.NDArray[np.bool_], horizon: int) -> float:
    """How many independent labels the ones of a class are worth, 0 … their number.

    came: (n,), which labels are of the class, one a bar, in time order, n > 0.  horizon: bars that a label looks ahead.
    """
    share = float(came.mean())
    return share * effective_count(came.astype(np.float64), horizon - 1)


def _long_run(covariances: Floats) -> float:
    """Long-run variance from autocovariances at lags 0, 1, …, always above 0."""
    unweighted = float(2 * covariances.sum() - covariances[0])
    if unweighted > 0:
        return unweighted
    # An unweighted sum of estimates may come out negative; Bartlett's never does (Newey and West 1987).
    weights = 1 - np.arange(len(covariances)) / len(covariances)
    return float(2 * weights @ covariances - covariances[0])
