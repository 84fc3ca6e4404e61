"""Candles -> the 72 columns of V6: the one definition, for training and for serving.

Every formula stands in one of the five group functions (`_ratios`, `_averages`, `_oscillators`, `_channels`,
`_lags`), under the column's own name; `compute_features` only puts them in the model's order.

How the definitions were read:

- Every quotient's denominator takes +1e-10: c/o, h/l, volume_ratio, returns, the ratio inside log_returns,
  price_to_x, gain/loss, stochastics, Williams, positions and roc. The one exception is rsi's outer
  100/(1 + gain/loss), whose denominator cannot fall below 1. So a bar that closes where the last one did has
  returns of -1e-10/c, not 0, and a flat window has position, stochastic and Williams 0 and rsi 0.
- bb and volatility are sample deviations (ddof 1); rsi and atr are plain rolling means, not Wilder's.
- macd_signal is the ema_9 of the macd; since an ema starts at its first value, macd and signal start at 0.
- The true range of the first bar, which has no close before it, is its high - low.
- stoch_d is the mean of the last 3 stoch_k of the same window.
- A row still in a column's warm-up is NaN in that column. Exponential averages start at the first value, so
  they are finite from row 0, and settle: 1,000 bars leave (199/201)^1000 = 4.5e-5 of ema_200's start.

How they are computed: a rolling value is built by doubling (runs of 2, 4, 8, … bars, then a window from the
runs that add up to it) and an exponential average likewise. That takes about log2(window) vector steps; it
subtracts nothing, where a running sum over a month of 100,000 USD prices loses digits of a deviation; and a
row sees the same operations whatever comes after it: a prefix keeps its features, bit by bit.
"""

from collections.abc import Callable
from typing import Final

import numpy as np

from signalserve.candles import Candles, Floats

WINDOW: Final = 60
"""Rows that a model sees: 60 bars, oldest first."""

MIN_CANDLES: Final = WINDOW + 1000
"""Bars that a request must send: the window, and what ema_200 needs to settle to 5e-5 of its start."""

WARM_UP: Final = 199
"""First rows that are not valid: sma_200 needs 200 bars, every other column fewer."""

EPSILON: Final = 1e-10
"""Added to every quotient's denominator, as the models' owners did: a flat or empty bar gives no infinity."""

COLUMNS: Final[tuple[str, ...]] = (
    "atr_14",
    "bb_lower_20",
    "bb_lower_50",
    "bb_position_20",
    "bb_position_50",
    "bb_upper_20",
    "bb_upper_50",
    "close_open_ratio",
    "ema_10",
    "ema_20",
    "ema_200",
    "ema_5",
    "ema_50",
    "high_low_ratio",
    "log_returns",
    "macd_12_26",
    "macd_5_35",
    "macd_histogram_12_26",
    "macd_histogram_5_35",
    "macd_signal_12_26",
    "macd_signal_5_35",
    "momentum_10",
    "momentum_20",
    "momentum_5",
    "momentum_50",
    "price_channel_high_20",
    "price_channel_high_50",
    "price_channel_low_20",
    "price_channel_low_50",
    "price_channel_position_20",
    "price_channel_position_50",
    "price_to_ema_10",
    "price_to_ema_20",
    "price_to_ema_200",
    "price_to_ema_5",
    "price_to_ema_50",
    "price_to_sma_10",
    "price_to_sma_20",
    "price_to_sma_200",
    "price_to_sma_5",
    "price_to_sma_50",
    "returns",
    "returns_lag_1",
    "returns_lag_2",
    "returns_lag_3",
    "returns_lag_5",
    "roc_10",
    "roc_20",
    "roc_5",
    "roc_50",
    "rsi_14",
    "rsi_21",
    "rsi_30",
    "sma_10",
    "sma_20",
    "sma_200",
    "sma_5",
    "sma_50",
    "stoch_d_14",
    "stoch_d_21",
    "stoch_k_14",
    "stoch_k_21",
    "volatility_20",
    "volatility_50",
    "volume_lag_1",
    "volume_lag_2",
    "volume_lag_3",
    "volume_lag_5",
    "volume_price_trend",
    "volume_ratio",
    "williams_r_14",
    "williams_r_21",
)
"""The 72 columns in the model's order."""

Columns = dict[str, Floats]
Merge = Callable[[Floats, int, Floats, int], Floats]
"""(older run, its bars, newer run, its bars) -> the two as one run; shapes (..., m)."""


def compute_features(candles: Candles) -> Floats:
    """All 72 columns of every bar, from that bar and those before it.

    candles: n closed bars that passed `check_candles` (positive prices, evenly spaced, finite).
    Returns (n, 72) float64, columns in the order of COLUMNS, prices in the quote currency; a value whose
    window reaches before the first bar is NaN, so rows from WARM_UP on are finite.
    Source: the owners' definitions of V6, as read in this module's docstring.
    """
    returns = _ratio(candles.close, _lag(candles.close, 1)) - 1
    columns = (
        _ratios(candles, returns)
        | _averages(candles.close, returns)
        | _oscillators(candles)
        | _channels(candles)
        | _lags(candles, returns)
    )
    return np.stack([columns[name] for name in COLUMNS], axis=1)


# ---- the formulas, by group: columns of shape (n,) under their own names


def _ratios(candles: Candles, returns: Floats) -> Columns:
    """What one bar says against itself, the bar before, or its usual volume."""
    close, volume = candles.close, candles.volume
    return {
        "close_open_ratio": _ratio(close, candles.open),
        "high_low_ratio": _ratio(candles.high, candles.low),
        "returns": returns,
        "log_returns": np.log(_ratio(close, _lag(close, 1))),
        "volume_ratio": _ratio(volume, _means(volume, (20,))[20]),
        "volume_price_trend": volume * returns,
    }


def _averages(close: Floats, returns: Floats) -> Columns:
    """Simple and exponential means of the close, the bands around them, macd, and the spread of returns."""
    out: Columns = {}
    means, deviations = _moments(close, (5, 10, 20, 50, 200))
    for n, mean in means.items():
        out[f"sma_{n}"] = mean
        out[f"price_to_sma_{n}"] = _ratio(close, mean)
    for n in (20, 50):
        upper, lower = means[n] + 2 * deviations[n], means[n] - 2 * deviations[n]
        out[f"bb_upper_{n}"], out[f"bb_lower_{n}"] = upper, lower
        out[f"bb_position_{n}"] = _position(close, lower, upper)

    # As distances from the first close: macd, the difference of two, keeps more digits than from levels.
    offsets = _emas_from_start(close, (5, 10, 12, 20, 26, 35, 50, 200))
    for n in (5, 10, 20, 50, 200):
        ema = close[:1] + offsets[n]
        out[f"ema_{n}"] = ema
        out[f"price_to_ema_{n}"] = _ratio(close, ema)
    for fast, slow in ((12, 26), (5, 35)):
        macd = offsets[fast] - offsets[slow]
        signal = macd[:1] + _emas_from_start(macd, (9,))[9]
        out[f"macd_{fast}_{slow}"] = macd
        out[f"macd_signal_{fast}_{slow}"] = signal
        out[f"macd_histogram_{fast}_{slow}"] = macd - signal

    for n, deviation in _moments(returns, (20, 50))[1].items():
        out[f"volatility_{n}"] = deviation
    return out


def _oscillators(candles: Candles) -> Columns:
    """rsi, atr, momentum and rate of change."""
    close, before = candles.close, _lag(candles.close, 1)
    out: Columns = {}
    gains = _means(np.maximum(close - before, 0.0), (14, 21, 30))
    losses = _means(np.maximum(before - close, 0.0), (14, 21, 30))
    for n in (14, 21, 30):
        out[f"rsi_{n}"] = 100 - 100 / (1 + _ratio(gains[n], losses[n]))

    # fmax leaves out the NaN where the first bar has no close before it: its range is high - low.
    from_close = np.fmax(np.abs(candles.high - before), np.abs(candles.low - before))
    true_range = np.fmax(candles.high - candles.low, from_close)
    out["atr_14"] = _means(true_range, (14,))[14]

    for n in (5, 10, 20, 50):
        then = _lag(close, n)
        out[f"momentum_{n}"] = close - then
        out[f"roc_{n}"] = 100 * _ratio(close - then, then)
    return out


def _channels(candles: Candles) -> Columns:
    """Where the close stands between the highest high and the lowest low."""
    close = candles.close
    highest = _fold(candles.high, (14, 20, 21, 50), _merge_max)
    lowest = _fold(candles.low, (14, 20, 21, 50), _merge_min)
    out: Columns = {}
    for n in (14, 21):
        stoch_k = 100 * _position(close, lowest[n], highest[n])
        out[f"stoch_k_{n}"] = stoch_k
        out[f"stoch_d_{n}"] = _means(stoch_k, (3,))[3]
        out[f"williams_r_{n}"] = -100 * _ratio(highest[n] - close, highest[n] - lowest[n])
    for n in (20, 50):
        out[f"price_channel_high_{n}"], out[f"price_channel_low_{n}"] = highest[n], lowest[n]
        out[f"price_channel_position_{n}"] = _position(close, lowest[n], highest[n])
    return out


def _lags(candles: Candles, returns: Floats) -> Columns:
    """Returns and volumes of a few bars ago."""
    out: Columns = {}
    for n in (1, 2, 3, 5):
        out[f"returns_lag_{n}"] = _lag(returns, n)
        out[f"volume_lag_{n}"] = _lag(candles.volume, n)
    return out


# ---- the arithmetic they share


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    return numerator / (denominator + EPSILON)


def _position(value: Floats, low: Floats, high: Floats) -> Floats:
    return _ratio(value - low, high - low)


def _lag(series: Floats, bars: int) -> Floats:
    """The value `bars` rows earlier, (n,); NaN in the first `bars` rows."""
    out = np.full_like(series, np.nan)
    out[bars:] = series[:-bars]
    return out


def _fold(series: Floats, widths: tuple[int, ...], merge: Merge) -> dict[int, Floats]:
    """Fold every window of the given widths with an associative `merge`.

    series: (..., n).  Returns width -> (..., n), indexed by a window's last row, NaN where it is not full.

    Runs of 1, 2, 4, … rows come from joining neighbours; a window of 50 is runs of 2, 16 and 32 side by side.
    `runs[..., i]` and `done[width][..., i]` are indexed by their first row, hence n - length + 1 of them.
    """
    n = series.shape[-1]
    done: dict[int, Floats] = {}
    runs, rows = series, 1
    while rows <= max(widths) and rows <= n:
        for width in widths:
            if width & rows and width <= n:
                done[width] = _join(done.get(width), width % rows, runs, rows, merge)
        runs = merge(runs[..., :-rows], rows, runs[..., rows:], rows)
        rows *= 2
    return {width: _pad_front(done.get(width), series) for width in widths}


def _join(older: Floats | None, older_rows: int, runs: Floats, rows: int, merge: Merge) -> Floats:
    """Lengthen the windows begun in `older` by the run that follows each of them."""
    if older is None:
        return runs
    newer = runs[..., older_rows:]
    return merge(older[..., : newer.shape[-1]], older_rows, newer, rows)


def _pad_front(windows: Floats | None, series: Floats) -> Floats:
    """Put the windows' values at the end of an array shaped like `series`, NaN before them."""
    out = np.full_like(series, np.nan)
    if windows is not None:
        out[..., series.shape[-1] - windows.shape[-1] :] = windows
    return out


def _merge_sum(older: Floats, _older_rows: int, newer: Floats, _newer_rows: int) -> Floats:
    return older + newer


def _merge_max(older: Floats, _older_rows: int, newer: Floats, _newer_rows: int) -> Floats:
    return np.maximum(older, newer)


def _merge_min(older: Floats, _older_rows: int, newer: Floats, _newer_rows: int) -> Floats:
    return np.minimum(older, newer)


def _merge_moments(older: Floats, older_rows: int, newer: Floats, newer_rows: int) -> Floats:
    """Join (mean, sum of squared deviations) of two runs, shape (2, m); a flat run stays exactly flat.

    Source: Chan, Golub and LeVeque 1983, "Algorithms for computing the sample variance", equation 2.1.
    """
    rows = older_rows + newer_rows
    distance = newer[0] - older[0]
    out = np.empty_like(older)
    np.add(older[0], distance * (newer_rows / rows), out=out[0])
    np.add(older[1] + newer[1], distance * distance * (older_rows * newer_rows / rows), out=out[1])
    return out


def _means(series: Floats, widths: tuple[int, ...]) -> dict[int, Floats]:
    """Rolling means: width -> (n,)."""
    return {width: total / width for width, total in _fold(series, widths, _merge_sum).items()}


def _moments(series: Floats, widths: tuple[int, ...]) -> tuple[dict[int, Floats], dict[int, Floats]]:
    """Rolling means and rolling sample deviations (ddof 1): two maps width -> (n,)."""
    single = np.stack([series, np.where(np.isnan(series), np.nan, 0.0)])
    moments = _fold(single, widths, _merge_moments)
    means = {width: mean for width, (mean, _) in moments.items()}
    return means, {width: np.sqrt(squares / (width - 1)) for width, (_, squares) in moments.items()}


def _emas_from_start(series: Floats, spans: tuple[int, ...]) -> dict[int, Floats]:
    """Exponential means less the series' first value: span -> (n,).

    The mean y[i] = a x[i] + (1 - a) y[i-1], a = 2/(span + 1), y[0] = x[0], is here a sum over earlier bars of
    a (1 - a)^k (x[i-k] - x[0]). A pass doubles the number k of bars that the sum reaches back.
    """
    alphas = np.array([[2 / (span + 1)] for span in spans])
    sums = alphas * (series - series[:1])  # (spans, n)
    decay, reach = 1 - alphas, 1
    # Below 1e-20 a further pass is under a thousandth of the last bit.
    while reach < series.shape[0] and decay.max() > 1e-20:
        sums[:, reach:] += decay * sums[:, :-reach]
        decay, reach = decay * decay, 2 * reach
    return dict(zip(spans, sums, strict=True))
