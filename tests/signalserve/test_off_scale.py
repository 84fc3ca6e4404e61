"""When a window is off the scale that a model was fitted for: many columns at once, not single values."""

import numpy as np
import pytest
from stores import BTC, ETH, SOL, candles, raw_window, scaler_of

from signalserve.bundle import ScalerValues
from signalserve.features import compute_features
from signalserve.off_scale import ScaleCheck

CHECK = ScaleCheck(ScalerValues(mean=[100.0] * 9, scale=[2.0] * 9))


def window(columns: int, bars: int, z: float) -> np.ndarray:
    """(60, 9): the last `bars` of the first `columns` lie z standard deviations off, the rest on the mean."""
    values = np.full((60, 9), 100.0, dtype=np.float32)
    values[60 - bars :, :columns] += 2.0 * z
    return values


@pytest.mark.parametrize(
    ("columns", "warned", "by_many"), [(1, False, False), (2, True, False), (3, True, False), (4, True, True)]
)
def test_more_than_a_sixth_warn_and_more_than_a_third_are_many(columns: int, warned: bool, by_many: bool):
    verdict = CHECK.judge(window(columns, 60, z=11.0))
    assert (verdict.off_scale, verdict.by_many) == (warned, by_many)


def test_the_verdict_measures_the_share_of_columns_and_the_furthest_value():
    values = window(2, 31, z=12.0)
    values[0, 8] = 100.0 - 2.0 * 50.0  # a single value: far, and no column's
    verdict = CHECK.judge(values)
    assert (verdict.share, verdict.largest) == (2 / 9, 50.0)


@pytest.mark.parametrize("z", [0.5, 9.9, 11.0, 999.0, 1001.0, 2e30])
def test_share_and_largest_agree_with_medians_whatever_the_verdict(z: float):
    values = raw_window(BTC) if z == 0.5 else window(4, 60, z)
    mean, scale = map(np.array, scaler_of(BTC)) if z == 0.5 else (np.full(9, 100.0), np.full(9, 2.0))
    deviations = np.abs((values.astype(np.float64) - mean) / scale)
    verdict = ScaleCheck(ScalerValues(mean=mean.tolist(), scale=scale.tolist())).judge(values)
    assert verdict.share == np.mean(np.median(deviations, axis=0) > 10)
    assert verdict.largest == pytest.approx(deviations.max(), rel=1e-12)


@pytest.mark.parametrize(("bars", "is_off"), [(1, False), (30, False), (31, True)])
def test_more_than_half_of_a_columns_bars_are_needed(bars: int, is_off: bool):
    assert CHECK.judge(window(9, bars, z=11.0)).off_scale == is_off


@pytest.mark.parametrize(
    ("z", "off_scale", "no_market"),
    [(9.9, False, False), (-10.1, True, False), (999.0, True, False), (1001.0, True, True), (1e30, True, True)],
)
def test_beyond_10_warns_and_beyond_1000_is_no_market(z: float, off_scale: bool, no_market: bool):
    values = window(9, 60, z)
    assert (CHECK.judge(values).off_scale, CHECK.judge(values).no_market is not None) == (off_scale, no_market)


def test_the_share_of_columns_is_told():
    assert CHECK.judge(window(6, 60, z=1001.0)).no_market == "67% of the columns beyond 1000 standard deviations"


@pytest.mark.parametrize(("z", "refused"), [(1e29, False), (1e31, True), (-1e31, True)])
def test_a_single_value_that_float32_sums_cannot_hold_is_no_market(z: float, refused: bool):
    values = window(1, 1, z=0.0)
    values[30, 4] = 2.0 * z
    assert (CHECK.judge(values).no_market is not None) == refused


def check_of(symbol: str) -> ScaleCheck:
    mean, scale = scaler_of(symbol)
    return ScaleCheck(ScalerValues(mean=mean, scale=scale))


@pytest.mark.parametrize("symbol", [BTC, ETH, SOL])
def test_a_markets_own_windows_are_on_its_scale(symbol: str):
    assert not check_of(symbol).judge(raw_window(symbol)).off_scale
    recent = compute_features(candles(symbol))[-60:].astype(np.float32)
    assert not check_of(symbol).judge(recent).off_scale


def test_scaled_features_where_raw_ones_belong_are_off_scale():
    mean, scale = map(np.array, scaler_of(BTC))
    scaled = ((raw_window(BTC) - mean) / scale).astype(np.float32)
    assert check_of(BTC).judge(scaled).off_scale


@pytest.mark.parametrize("other", [BTC, ETH, SOL])
@pytest.mark.parametrize("symbol", [BTC, ETH, SOL])
def test_windows_of_other_symbols_are_off_scale(symbol: str, other: str):
    assert check_of(symbol).judge(raw_window(other)).off_scale == (symbol != other)


def test_the_largest_float32_is_no_market_and_no_overflow():
    verdict = CHECK.judge(np.full((60, 9), 3.4e38, dtype=np.float32))
    assert verdict.no_market == "a value 2e+38 standard deviations from its mean"
