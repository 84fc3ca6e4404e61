"""The 72 columns against a slow reference that was written from their specification alone, and their laws."""

import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signalserve.candles import FIELDS, LARGEST, SMALLEST_PRICE, Candles, check_candles, last
from signalserve.demo import demo_candles
from signalserve.features import COLUMNS, MIN_CANDLES, WARM_UP, WINDOW, compute_features

SETTLING = MIN_CANDLES - WINDOW
SPECIFIED = """
atr_14, bb_lower_20, bb_lower_50, bb_position_20, bb_position_50, bb_upper_20, bb_upper_50, close_open_ratio,
ema_10, ema_20, ema_200, ema_5, ema_50, high_low_ratio, log_returns, macd_12_26, macd_5_35, macd_histogram_12_26,
macd_histogram_5_35, macd_signal_12_26, macd_signal_5_35, momentum_10, momentum_20, momentum_5, momentum_50,
price_channel_high_20, price_channel_high_50, price_channel_low_20, price_channel_low_50,
price_channel_position_20, price_channel_position_50, price_to_ema_10, price_to_ema_20, price_to_ema_200,
price_to_ema_5, price_to_ema_50, price_to_sma_10, price_to_sma_20, price_to_sma_200, price_to_sma_5,
price_to_sma_50, returns, returns_lag_1, returns_lag_2, returns_lag_3, returns_lag_5, roc_10, roc_20, roc_5,
roc_50, rsi_14, rsi_21, rsi_30, sma_10, sma_20, sma_200, sma_5, sma_50, stoch_d_14, stoch_d_21, stoch_k_14,
stoch_k_21, volatility_20, volatility_50, volume_lag_1, volume_lag_2, volume_lag_3, volume_lag_5,
volume_price_trend, volume_ratio, williams_r_14, williams_r_21
"""
EPSILON = 1e-10


# ---- the reference: one row at a time, plain floats, exact sums


class Reference:
    """The specification read aloud. `row(i)` is the bar's 72 values by name; None while in warm-up."""

    def __init__(self, candles: Candles) -> None:
        self.o, self.h, self.l, self.c, self.v = (getattr(candles, name).tolist() for name in FIELDS[1:])
        self.emas = {n: ema(self.c, n) for n in (5, 10, 12, 20, 26, 35, 50, 200)}
        self.macds = {(a, b): minus(self.emas[a], self.emas[b]) for a, b in ((12, 26), (5, 35))}
        self.signals = {pair: ema(macd, 9) for pair, macd in self.macds.items()}

    def row(self, i: int) -> dict[str, float | None]:
        o, h, l, c, v = self.o, self.h, self.l, self.c, self.v  # noqa: E741 - the specification's letters
        out: dict[str, float | None] = {
            "close_open_ratio": over(c[i], o[i]),
            "high_low_ratio": over(h[i], l[i]),
            "volume_ratio": self.when(19, i, lambda: over(v[i], mean(window(v, i, 20)))),
            "returns": self.returns(i),
            "log_returns": self.when(1, i, lambda: math.log(over(c[i], c[i - 1]))),
            "volume_price_trend": self.when(1, i, lambda: v[i] * self.returns(i)),
            "atr_14": self.when(13, i, lambda: mean([self.true_range(j) for j in range(i - 13, i + 1)])),
        }
        for n in (1, 2, 3, 5):
            out[f"returns_lag_{n}"] = self.returns(i - n)
            out[f"volume_lag_{n}"] = v[i - n] if i >= n else None
        for n in (5, 10, 20, 50, 200):
            sma = mean(window(c, i, n)) if i >= n - 1 else None
            out[f"sma_{n}"] = sma
            out[f"price_to_sma_{n}"] = over(c[i], sma) if sma is not None else None
            out[f"ema_{n}"] = self.emas[n][i]
            out[f"price_to_ema_{n}"] = over(c[i], self.emas[n][i])
        for n in (14, 21, 30):
            out[f"rsi_{n}"] = self.when(n, i, lambda n=n: self.rsi(i, n))
        for pair in ((12, 26), (5, 35)):
            name = "{}_{}".format(*pair)
            out[f"macd_{name}"] = self.macds[pair][i]
            out[f"macd_signal_{name}"] = self.signals[pair][i]
            out[f"macd_histogram_{name}"] = self.macds[pair][i] - self.signals[pair][i]
        for n in (20, 50):
            middle, spread = (out[f"sma_{n}"], deviation(window(c, i, n))) if i >= n - 1 else (None, None)
            lower = middle - 2 * spread if middle is not None else None
            upper = middle + 2 * spread if middle is not None else None
            out[f"bb_lower_{n}"], out[f"bb_upper_{n}"] = lower, upper
            out[f"bb_position_{n}"] = over(c[i] - lower, upper - lower) if lower is not None else None
            out[f"volatility_{n}"] = self.when(
                n, i, lambda n=n: deviation([self.returns(j) for j in range(i - n + 1, i + 1)])
            )
        for n in (14, 21):
            out[f"stoch_k_{n}"] = self.stoch_k(i, n)
            out[f"stoch_d_{n}"] = self.when(n + 1, i, lambda n=n: mean([self.stoch_k(j, n) for j in (i - 2, i - 1, i)]))
            out[f"williams_r_{n}"] = self.when(n - 1, i, lambda n=n: self.williams_r(i, n))
        for n in (5, 10, 20, 50):
            out[f"momentum_{n}"] = c[i] - c[i - n] if i >= n else None
            out[f"roc_{n}"] = 100 * over(c[i] - c[i - n], c[i - n]) if i >= n else None
        for n in (20, 50):
            top, bottom = (max(window(h, i, n)), min(window(l, i, n))) if i >= n - 1 else (None, None)
            out[f"price_channel_high_{n}"], out[f"price_channel_low_{n}"] = top, bottom
            out[f"price_channel_position_{n}"] = over(c[i] - bottom, top - bottom) if i >= n - 1 else None
        return out

    @staticmethod
    def when(first, i, value):
        return value() if i >= first else None

    def returns(self, i):
        return over(self.c[i], self.c[i - 1]) - 1 if i >= 1 else None

    def true_range(self, i):
        h, l, before = self.h[i], self.l[i], self.c[i - 1]  # noqa: E741
        return max(h - l, abs(h - before), abs(l - before)) if i >= 1 else h - l

    def rsi(self, i, n):
        changes = [self.c[j] - self.c[j - 1] for j in range(i - n + 1, i + 1)]
        gain, loss = mean([max(x, 0.0) for x in changes]), mean([max(-x, 0.0) for x in changes])
        return 100 - 100 / (1 + over(gain, loss))

    def stoch_k(self, i, n):
        if i < n - 1:
            return None
        top, bottom = max(window(self.h, i, n)), min(window(self.l, i, n))
        return 100 * over(self.c[i] - bottom, top - bottom)

    def williams_r(self, i, n):
        top, bottom = max(window(self.h, i, n)), min(window(self.l, i, n))
        return -100 * over(top - self.c[i], top - bottom)


def over(numerator, denominator):
    return numerator / (denominator + EPSILON)


def window(values, i, n):
    return values[i - n + 1 : i + 1]


def mean(values):
    return math.fsum(values) / len(values)


def deviation(values):
    middle = mean(values)
    return math.sqrt(math.fsum((x - middle) ** 2 for x in values) / (len(values) - 1))


def minus(left, right):
    return [a - b for a, b in zip(left, right, strict=True)]


def ema(values, span):
    alpha, out = 2 / (span + 1), [values[0]]
    for x in values[1:]:
        out.append(alpha * x + (1 - alpha) * out[-1])
    return out


def scales(candles: Candles) -> np.ndarray:
    """What each column's rounding is measured against where the value itself is near 0, (72,).

    A difference of prices (macd, momentum) carries the rounding of the prices, 1e-16 of their level, however
    small it is, and a position the same over the width of its band. A return carries that of a ratio near 1 and
    no more: at 0.01 its floor is 1e-14, which tells c/(c + 1e-10) from c/c at 165 USD.
    """
    price = float(candles.close.mean())
    priced = ("macd", "momentum", "atr", "bb_upper", "bb_lower", "sma", "ema", "price_channel_high")
    returns = ("returns", "log_returns", "volatility")
    return np.array(
        [price if name.startswith(priced) else 0.01 if name.startswith(returns) else 1.0 for name in COLUMNS]
    )


def assert_as_reference(features: np.ndarray, candles: Candles, rows: range) -> None:
    """1e-9 of the value, or 1e-12 of the column's scale (the rounding above, a few thousand times over)."""
    reference = Reference(candles)
    expected = np.array(
        [[np.nan if value is None else value for value in map(reference.row(i).get, COLUMNS)] for i in rows]
    )
    got = features[rows.start : rows.stop]
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
    allowed = 1e-9 * np.abs(expected) + 1e-12 * scales(candles)
    worst = np.nanmax(np.abs(got - expected) / allowed, axis=0)
    assert worst.max() <= 1, f"{COLUMNS[int(worst.argmax())]}: {worst.max():.3g} times what is allowed"


def slice_of(candles: Candles, rows: slice) -> Candles:
    return Candles(**{name: getattr(candles, name)[rows] for name in FIELDS})


# ---- the tests


def test_columns_are_the_specified_ones_in_the_models_order():
    assert tuple(SPECIFIED.replace(",", " ").split()) == COLUMNS
    assert len(COLUMNS) == 72


@pytest.mark.parametrize("symbol", ["BTC-USD", "SOL-USD"])
def test_every_row_and_column_is_the_references_on_generated_bars(symbol):
    candles = demo_candles(symbol, 1300, end_ms=1_748_964_660_000)
    assert_as_reference(compute_features(candles), candles, range(1300))


@pytest.mark.parametrize("symbol", ["BTC-USD", "ETH-USD", "SOL-USD"])
def test_a_month_of_real_bars_ends_as_the_reference_does(real_bars, symbol):
    candles = real_bars[symbol]
    n = len(candles)
    assert_as_reference(compute_features(candles), candles, range(n - 500, n))


def test_a_month_of_generated_bars_ends_as_the_reference_does():
    candles = demo_candles("BTC-USD", 43_199, end_ms=1_748_964_660_000)
    assert_as_reference(compute_features(candles), candles, range(43_199 - 100, 43_199))


def test_a_market_that_does_not_move_has_no_infinity_and_no_spread():
    flat = np.full(300, 104_000.3)
    still = Candles(np.arange(300) * 60_000, flat, flat, flat, flat, np.zeros(300))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        now = dict(zip(COLUMNS, compute_features(still)[-1], strict=True))
    spreads = ("bb_position_20", "macd_12_26", "macd_signal_5_35", "volatility_50", "rsi_14", "stoch_k_14")
    assert {name: now[name] for name in spreads} == dict.fromkeys(spreads, 0.0)
    assert (now["sma_200"], now["ema_200"], now["bb_upper_20"], now["volume_ratio"]) == (
        *(104_000.3,) * 3,
        0.0,
    )


@given(st.lists(st.sampled_from([SMALLEST_PRICE, 1e-6, 1.0, 1e5, LARGEST * 0.99]), min_size=3, max_size=9))
@settings(max_examples=25, deadline=None)
def test_whatever_the_checks_let_through_has_finite_features(levels):
    close = np.resize(levels, 260)
    open_ = np.roll(close, 1)
    high, low, volume = np.maximum(open_, close), np.minimum(open_, close), close[::-1].copy()
    candles = Candles(1_748_964_660_000 + np.arange(260) * 60_000, open_, high, low, close, volume)
    check_candles(candles, 60_000, 260)
    assert np.isfinite(compute_features(candles)[WARM_UP:]).all()


def test_only_the_warm_up_is_nan():
    features = compute_features(demo_candles("ETH-USD", 400))
    assert np.isfinite(features[WARM_UP:]).all()
    assert np.isnan(features[WARM_UP - 1]).any()
    first_valid = dict(zip(COLUMNS, np.isnan(features).sum(axis=0).tolist(), strict=True))
    assert max(first_valid.values()) == first_valid["sma_200"] == WARM_UP
    expected = {"ema_200": 0, "macd_signal_5_35": 0, "returns": 1, "returns_lag_5": 6, "rsi_30": 30}
    expected |= {"volatility_50": 50, "stoch_d_21": 22, "atr_14": 13, "volume_ratio": 19, "roc_50": 50}
    assert {name: first_valid[name] for name in expected} == expected


@pytest.mark.parametrize("n", [0, 1, 2, 5, 13, 60, 199])
def test_short_series_give_rows_that_are_nan_where_they_must_be(n):
    longer = demo_candles("BTC-USD", 200)
    np.testing.assert_array_equal(
        compute_features(slice_of(longer, slice(n))), compute_features(longer)[:n], strict=True
    )


def test_later_bars_do_not_change_earlier_rows_by_a_bit():
    candles = demo_candles("BTC-USD", 1300)
    later = np.where(np.arange(1300) < 900, 1, 3)
    changed = replace(candles, **{name: getattr(candles, name) * later for name in FIELDS[1:]})
    np.testing.assert_array_equal(compute_features(changed)[:900], compute_features(candles)[:900])
    assert not np.array_equal(compute_features(changed)[900], compute_features(candles)[900])


@pytest.mark.parametrize("n", [200, 511, 512, 1061])
def test_features_of_a_prefix_are_the_prefix_of_the_features(n):
    candles = demo_candles("SOL-USD", 1300)
    np.testing.assert_array_equal(compute_features(slice_of(candles, slice(n))), compute_features(candles)[:n])


def test_windowed_columns_do_not_depend_on_where_the_series_starts():
    candles = demo_candles("BTC-USD", 1300)
    windowed = [i for i, name in enumerate(COLUMNS) if "ema" not in name and "macd" not in name]
    whole, tail = compute_features(candles)[-60:], compute_features(last(candles, 259))[-60:]
    np.testing.assert_array_equal(tail[:, windowed], whole[:, windowed])


def settling_error(candles: Candles) -> float:
    """How far the last 60 rows from MIN_CANDLES bars are from those of the whole history, of the price.

    Averages and macd are in the quote currency and price_to_ema is around 1: each is judged by that level.
    """
    whole = compute_features(candles)[-WINDOW:]
    short = compute_features(last(candles, MIN_CANDLES))[-WINDOW:]
    return float((np.abs(short - whole) / np.maximum(np.abs(whole), scales(candles))).max())


def test_a_request_of_the_least_length_has_settled():
    assert settling_error(demo_candles("BTC-USD", 20_000)) <= 5e-5
    assert (1 - 2 / 201) ** SETTLING <= 5e-5  # what is left of ema_200's start, whatever the prices did


def test_a_request_of_the_least_length_has_settled_on_real_bars(real_bars):
    assert max(map(settling_error, real_bars.values())) <= 5e-5


def test_a_crash_just_before_the_request_still_settles():
    """A start 30 % off the average leaves 0.3 (199/201)^941 = 2.5e-5 in the window's first ema_200."""
    candles = demo_candles("BTC-USD", 3000, seed=1)
    before = np.where(np.arange(3000) < 3000 - MIN_CANDLES, 1.3, 1.0)
    crash = replace(candles, **{name: getattr(candles, name) * before for name in FIELDS[1:5]})
    assert 1e-5 < settling_error(crash) <= 5e-5
