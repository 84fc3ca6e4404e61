"""A dependent series -> how many independent values it is worth.

Labels look `horizon` bars ahead and stand one bar apart, so that neighbours share all but one bar of their future:
even a perfect model's errors are then a moving average of order horizon - 1. Their autocovariances are summed
unweighted up to that lag, beyond which they are zero by construction. Bartlett's weights, the usual choice where the
order is unknown, would shrink those that are not: with autocorrelations that fall in a line they find two thirds of
the long-run variance, and half as many values again as there are.
Source: Hansen and Hodrick 1980, Forward Exchange Rates as Optimal Predictors of Future Spot Rates.
"""

from math import ceil
from typing import Final

import numpy as np
import numpy.typing as npt
import scipy.fft

from signalserve.errors import DataError

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

FEWEST_EFFECTIVE_LABELS: Final = 1000
"""To fit anything. On 1,000 independent labels a weak model's temperature of 10 has a standard deviation of 1.2."""


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


def effective_hits(hits: Flags, selected: Flags, horizon: int) -> float:
    """How many independent predictions the selected ones are worth for the accuracy among them, 1 … their number.

    hits, selected: (n,), one a bar, in time order, at least one selected. The rest keep their place, as zeros, so
    that two selected predictions count as neighbours only if they were. Raises ValueError if none is selected.
    Source: the variance of a ratio by linearisation, Cochran 1977, Sampling Techniques.
    """
    count = int(selected.sum())
    if not count:
        raise ValueError("selected: expected at least one prediction, got none")
    deviations = np.where(selected, hits - hits[selected].mean(), 0.0)  # mean 0 by construction
    return max(1.0, effective_count(deviations, horizon - 1) * count / len(hits))


def require_labels(labels: Labels, horizon: int, what: str) -> float:
    """The effective number of labels, if it suffices for `what`.

    labels: (n,), one a bar, in time order.  horizon: bars that a label looks ahead.  what: completes the sentence
    "expected … effective labels to", e.g. "fit a temperature".
    Raises DataError, with how many more windows would be needed, below FEWEST_EFFECTIVE_LABELS.
    """
    n = len(labels)
    effective = effective_labels(labels, horizon) if n else 0.0
    if effective >= FEWEST_EFFECTIVE_LABELS:
        return effective
    windows_each = n / effective if n else horizon
    # To hundreds: the effective count is an estimate.
    missing = 100 * ceil((FEWEST_EFFECTIVE_LABELS - effective) * windows_each / 100)
    raise DataError(
        f"expected at least {FEWEST_EFFECTIVE_LABELS:,} effective labels to {what}, got {int(effective):,} from "
        f"{n:,} windows (labels {horizon} bars ahead overlap): give about {missing:,} more windows"
    )


def _long_run(covariances: Floats) -> float:
    """Long-run variance from autocovariances at lags 0, 1, …, always above 0."""
    unweighted = float(2 * covariances.sum() - covariances[0])
    if unweighted > 0:
        return unweighted
    # An unweighted sum of estimates may come out negative; Bartlett's never does (Newey and West 1987).
    weights = 1 - np.arange(len(covariances)) / len(covariances)
    return float(2 * weights @ covariances - covariances[0])
