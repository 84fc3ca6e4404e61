"""Values that depend on their neighbours -> how many independent ones they are worth.

Labels look some bars ahead and stand one bar apart, so that neighbours share all but one bar of their future: even a
perfect model's errors are then a moving average of order horizon - 1. Their autocovariances are summed unweighted up
to that lag, beyond which they are zero by construction. Bartlett's weights, the usual choice where the order is
unknown, would shrink those that are not: with autocorrelations that fall in a line they find two thirds of the long-run
variance, and half as many values again as there are.

This counts the overlap and nothing else. A real model's hits, and the classes of a market that moves for hours, depend
on each other for longer, and are worth fewer.
Source: Hansen and Hodrick 1980, Forward Exchange Rates as Optimal Predictors of Future Spot Rates.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


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
    import scipy.fft

    n = len(centred)
    size = scipy.fft.next_fast_len(n + lags, real=True)  # room enough for the series not to meet its own start
    spectrum = (np.abs(scipy.fft.rfft(centred, size, axis=0)) ** 2).sum(axis=1)
    summed: Floats = scipy.fft.irfft(spectrum, size)[: lags + 1] / n
    return summed


def _long_run(covariances: Floats) -> float:
    """Long-run variance from autocovariances at lags 0, 1, …, always above 0."""
    unweighted = float(2 * covariances.sum() - covariances[0])
    if unweighted > 0:
        return unweighted
    # An unweighted sum of estimates may come out negative; Bartlett's never does (Newey and West 1987).
    weights = 1 - np.arange(len(covariances)) / len(covariances)
    return float(2 * weights @ covariances - covariances[0])
