"""Is this the scaler of these bars? Right ones are never called wrong, wrong ones always; generated and real bars."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from stores import BTC, ETH, SOL

from export.diagnosis_features import (
    Displaced,
    FeatureFit,
    feature_fit,
    fitting_symbol,
    is_identity,
    tiny_scales,
    was_constant,
)
from export.series import Series
from signalserve.bundle import ScalerValues, load_bundle, newest_bundles
from signalserve.candles import Candles
from signalserve.demo import demo_candles
from signalserve.features import COLUMNS, MIN_CANDLES, compute_features

SYMBOLS = (BTC, ETH, SOL)
COMMITTED = Path(__file__).resolve().parents[2] / "model_store" / "bundles"
DAY = 1440


def settled(candles: Candles) -> np.ndarray:
    return compute_features(candles)[MIN_CANDLES:]


def scaler_on(rows: np.ndarray) -> ScalerValues:
    return ScalerValues(mean=rows.mean(axis=0).tolist(), scale=rows.std(axis=0).tolist())


def in_order(scaler: ScalerValues, order: Sequence[int]) -> ScalerValues:
    return ScalerValues(mean=[scaler.mean[i] for i in order], scale=[scaler.scale[i] for i in order])


def fit(rows: np.ndarray, scaler: ScalerValues, columns: Sequence[str] = COLUMNS) -> FeatureFit:
    return feature_fit(rows, columns, scaler, bars_per_day=DAY)


@pytest.fixture(scope="module")
def rows() -> dict[str, np.ndarray]:
    """Symbol -> eight days of generated bars' features."""
    return {
        symbol: settled(demo_candles(symbol, 8 * DAY + MIN_CANDLES, end_ms=1_764_000_000_000)) for symbol in SYMBOLS
    }


@pytest.fixture(scope="module")
def real_rows(real_bars: dict[str, Candles]) -> dict[str, np.ndarray]:
    return {symbol: settled(candles) for symbol, candles in real_bars.items()}


def test_a_column_is_described_before_and_after_scaling():
    raw = np.random.default_rng(1).normal(7, 2, size=(500, 1))
    raw[3] = 100
    column = fit(raw, ScalerValues(mean=[5.0], scale=[4.0]), ["a"]).columns[0]
    scaled = [(float(x) - 5) / 4 for x in raw[:, 0]]
    mean = sum(scaled) / 500
    assert column.raw_mean == pytest.approx(sum(raw[:, 0]) / 500)
    assert column.mean == pytest.approx(mean)
    assert column.deviation == pytest.approx((sum((z - mean) ** 2 for z in scaled) / 500) ** 0.5)
    assert column.median == pytest.approx(np.median(scaled))
    assert (column.largest, column.beyond) == (pytest.approx(95 / 4), pytest.approx(1 / 500))
    assert column.largest_row == 3
    assert column.width == pytest.approx(2 / 4, rel=0.1)
    assert column.misfit is None


def test_one_bad_bar_does_not_make_a_scaler_wrong(rows: dict[str, np.ndarray]):
    spoilt = rows[BTC].copy()
    spoilt[100] *= 1000
    assert not fit(spoilt, scaler_on(rows[BTC])).misfits


def test_a_scaler_on_its_own_bars_is_right(rows: dict[str, np.ndarray]):
    for symbol in SYMBOLS:
        found = fit(rows[symbol], scaler_on(rows[symbol]))
        assert not found.misfits
        assert not found.displaced


def test_another_symbols_scaler_is_foreign_and_no_other_order_of_the_right_one(rows: dict[str, np.ndarray]):
    for symbol in SYMBOLS:
        for other in SYMBOLS:
            found = fit(rows[symbol], scaler_on(rows[other]))
            assert found.is_foreign == (symbol != other)
            assert not found.displaced


def test_returns_of_16_percent_a_bar_are_no_markets(rows: dict[str, np.ndarray]):
    """V7's stored scaler: prices on another level by less than two deviations, returns of noise."""
    right = scaler_on(rows[BTC])
    scale = [0.16 if "returns" in name else value for name, value in zip(COLUMNS, right.scale, strict=True)]
    found = fit(rows[BTC], ScalerValues(mean=right.mean, scale=scale))
    assert {column.name for column in found.misfits} == {name for name in COLUMNS if "returns" in name}
    assert {column.misfit for column in found.misfits} == {"too narrow"}
    assert found.is_foreign


def test_bars_of_a_day_are_not_called_too_narrow(rows: dict[str, np.ndarray]):
    """Within a day prices stand nearly still beside what they do in a month."""
    wide = scaler_on(rows[BTC])
    month = ScalerValues(mean=wide.mean, scale=[40 * scale for scale in wide.scale])
    assert not fit(rows[BTC][:DAY], month).misfits
    assert fit(rows[BTC], month).is_foreign


def test_two_swapped_columns_are_named(rows: dict[str, np.ndarray]):
    i, j = COLUMNS.index("rsi_14"), COLUMNS.index("returns")
    order = np.arange(len(COLUMNS))
    order[[i, j]] = j, i
    found = fit(rows[BTC], in_order(scaler_on(rows[BTC]), order))
    assert list(found.displaced) == [Displaced("returns", "rsi_14"), Displaced("rsi_14", "returns")]


def test_any_order_but_the_right_one_is_found(rows: dict[str, np.ndarray]):
    draw = np.random.default_rng(2)
    for _ in range(5):
        order = draw.permutation(len(COLUMNS))
        found = fit(rows[ETH], in_order(scaler_on(rows[ETH]), order))
        assert len(found.displaced) > 30
        # what is named is what the place holds, or a column of the same scale
        named = {one.column: one.holds for one in found.displaced}
        scales = dict(zip(COLUMNS, rows[ETH].std(axis=0), strict=True))
        held = {name: COLUMNS[place] for name, place in zip(COLUMNS, order, strict=True)}
        assert all(0.2 < scales[holds] / scales[held[name]] < 5 for name, holds in named.items())


def test_columns_of_one_scale_in_another_order_are_no_fault():
    """Standardised features under no scaler: any order is as good, and none is reported."""
    noise = np.random.default_rng(4).normal(size=(2000, 10))
    found = fit(noise, ScalerValues(mean=[0.0] * 10, scale=[1.0] * 10), [f"feature_{i}" for i in range(10)])
    assert not found.misfits
    assert not found.displaced


def test_a_column_that_never_changes_is_constant():
    two = np.random.default_rng(6).normal(size=(300, 2))
    two[:, 1] = 104_000.001  # float32 cannot tell it from its neighbours
    two[::2, 1] += 1e-4
    found = fit(two, ScalerValues(mean=[0.0, 104_000.0], scale=[1.0, 500.0]), ["moves", "stands"])
    assert [column.constant for column in found.columns] == [False, True]


def test_a_scale_that_float32_cannot_resolve_is_tiny():
    scaler = ScalerValues(mean=[100_000.0, 1.0, 0.0], scale=[1e-3, 1e-3, 1e-300])
    assert tiny_scales(scaler, ["price", "ratio", "dead"]) == ["price", "dead"]


def test_a_scale_of_exactly_1_marks_a_column_that_was_constant():
    assert was_constant(ScalerValues(mean=[5.0, 2.0], scale=[1.0, 0.5]), ["a", "b"]) == ["a"]
    nothing = ScalerValues(mean=[0.0, 0.0], scale=[1.0, 1.0])
    assert is_identity(nothing)
    assert was_constant(nothing, ["a", "b"]) == []


def test_the_symbol_that_a_scaler_does_fit_is_found_among_others(rows: dict[str, np.ndarray]):
    others = [Series(s, Path(s), 60_000, COLUMNS, rows[s], None, None, 0) for s in (ETH, SOL)]
    assert fitting_symbol(others, scaler_on(rows[SOL]), bars_per_day=DAY) == SOL
    assert fitting_symbol(others, scaler_on(rows[BTC]), bars_per_day=DAY) is None


def test_on_real_bars_right_scalers_are_right_on_every_later_day(real_rows: dict[str, np.ndarray]):
    """Fitted on the first half, as the reference models' are, and asked of each day and each week."""
    for rows in real_rows.values():
        scaler = scaler_on(rows[: len(rows) // 2])
        for days in (1, 7):
            for start in range(0, len(rows) - days * DAY, days * DAY):
                found = fit(rows[start : start + days * DAY], scaler)
                assert not found.misfits
                assert not found.displaced


def test_on_real_bars_another_symbols_scaler_is_foreign_on_every_day(real_rows: dict[str, np.ndarray]):
    for symbol, rows in real_rows.items():
        for other in set(real_rows) - {symbol}:
            scaler = scaler_on(real_rows[other][: len(real_rows[other]) // 2])
            for start in range(0, len(rows) - DAY, 5 * DAY):
                found = fit(rows[start : start + DAY], scaler)
                assert found.is_foreign
                assert not found.displaced


def test_on_real_bars_the_reference_models_scalers_are_those_of_their_own_symbols(real_rows: dict[str, np.ndarray]):
    for folder in newest_bundles(COMMITTED):
        manifest = load_bundle(folder).manifest
        for symbol, rows in real_rows.items():
            found = fit(rows, manifest.scaler, manifest.columns)
            assert bool(found.misfits) == found.is_foreign == (symbol != manifest.symbol)
            assert not found.displaced
