"""close -> the direction that a model is taught: where the close stands `horizon` bars later.

The classes are those of `signalserve.CLASSES`: 0 DOWN, 1 NEUTRAL, 2 UP.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from signalserve.labels import classes_of

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

UNKNOWN: Final = -1
"""The label of a bar whose future is not in the data."""


def forward_returns(close: Floats, horizon: int) -> Floats:
    """close[t + horizon] / close[t] - 1, shape (n,), no unit; NaN in the last `horizon` rows.

    close: (n,), positive, quote currency.  horizon: bars, > 0.  Raises ValueError otherwise.
    """
    if horizon < 1:
        raise ValueError(f"horizon: expected at least 1 bar, got {horizon}")
    if close.ndim != 1 or not (np.isfinite(close).all() and (close > 0).all()):
        raise ValueError("close: expected one series of finite prices above 0")
    returns = np.full(len(close), np.nan)
    returns[:-horizon] = close[horizon:] / close[:-horizon] - 1
    return returns


def neutral_band(close: Floats, horizon: int, span: range) -> float:
    """The band that calls about a third of `span` NEUTRAL: the 1/3 quantile of |return over `horizon` bars|.

    The band is symmetric, so UP and DOWN share the other two thirds as the market's drift has it; elsewhere than in
    `span` the shares follow the volatility there. That is wanted: a band fitted anew to each part would be another
    question in each.

    close: (n,).  span: the training part's bars; only returns that begin and end in it count.
    Returns a share of the close, >= 0.  Raises ValueError where span holds no such return.
    """
    if span.step != 1 or span.start < 0 or span.stop > len(close):
        raise ValueError(f"span: expected consecutive bars of the {len(close)}, got {span}")
    if len(span) <= horizon:
        raise ValueError(f"span: expected more than {horizon} bars, got {len(span)}")
    returns = forward_returns(close[span.start : span.stop], horizon)[:-horizon]
    return float(np.quantile(np.abs(returns), 1 / 3))


def direction_labels(close: Floats, horizon: int, band: float) -> Labels:
    """0 DOWN, 1 NEUTRAL, 2 UP for every bar, shape (n,), int64; UNKNOWN in the last `horizon` rows.

    close: (n,), quote currency.  horizon: bars.  band: a share of the close, >= 0; a move of exactly the band is
    NEUTRAL.  Raises ValueError for a band that is negative or not finite.
    """
    returns = forward_returns(close, horizon)
    labels = classes_of(returns, band)
    labels[np.isnan(returns)] = UNKNOWN
    return labels
