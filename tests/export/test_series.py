"""Candles or feature files -> a model's rows; what is wrong with a file is said with its place."""

from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from stores import BTC, candles

from export.series import Series, Source, read_series
from signalserve.candles import FIELDS
from signalserve.errors import DataError
from signalserve.features import COLUMNS, MIN_CANDLES, WINDOW, compute_features

MINUTE = 60_000


def write_bars(folder: Path, n: int = 1500, **changes: np.ndarray) -> Path:
    bars = candles(BTC, n)
    columns = {field: getattr(bars, field) for field in FIELDS} | changes
    pyarrow.parquet.write_table(pyarrow.table(columns), folder / "BTCUSDT_1m.parquet")
    return folder


def write_features(folder: Path, **columns: object) -> Path:
    pyarrow.parquet.write_table(pyarrow.table(columns), folder / "BTC_features.parquet")
    return folder


def from_features(folder: Path, *columns: str) -> Series:
    return read_series(Source(folder, "features"), BTC, columns, MINUTE)


def test_candles_become_rows_in_the_models_own_column_order(tmp_path: Path):
    columns = ("rsi_14", "atr_14", "close_open_ratio")
    series = read_series(Source(write_bars(tmp_path), "bars"), BTC, columns, MINUTE)
    expected = compute_features(candles(BTC, 1500))[:, [COLUMNS.index(column) for column in columns]]
    np.testing.assert_array_equal(series.rows, expected)
    np.testing.assert_array_equal(series.times(), candles(BTC, 1500).timestamp_ms)
    assert series.first_row == MIN_CANDLES - WINDOW


def test_a_model_of_other_features_cannot_read_candles(tmp_path: Path):
    with pytest.raises(DataError, match=r"reads sentiment, which candles do not give; pass .* --features"):
        read_series(Source(write_bars(tmp_path), "bars"), BTC, ("rsi_14", "sentiment"), MINUTE)


def test_too_few_bars_for_features_to_settle_are_refused_with_the_number(tmp_path: Path):
    with pytest.raises(DataError, match=r"expected more than 1000 bars, until which features settle, got 900"):
        read_series(Source(write_bars(tmp_path, 900), "bars"), BTC, COLUMNS, MINUTE)


def test_another_symbol_than_there_are_files_of_is_refused_by_name(tmp_path: Path):
    with pytest.raises(DataError, match=r"expected a file of bars of ETH-USD, found BTC-USD"):
        read_series(Source(write_bars(tmp_path), "bars"), "ETH-USD", COLUMNS, MINUTE)


def test_features_are_taken_by_name_with_times_and_closes(tmp_path: Path):
    folder = write_features(
        tmp_path, b=[1.0, 2.0], timestamp=[MINUTE * 30_000_000, MINUTE * 30_000_001], a=[3, 4], close=[9.0, 8.0]
    )
    series = from_features(folder, "a", "b")
    assert series.rows.tolist() == [[3, 1], [4, 2]]
    assert series.close is not None and series.close.tolist() == [9, 8]
    assert series.times().tolist() == [MINUTE * 30_000_000, MINUTE * 30_000_001]


def test_columns_without_names_are_taken_in_the_files_order(tmp_path: Path):
    folder = write_features(tmp_path, second=[1.0], close=[9.0], first=[2.0])
    assert from_features(folder, "feature_0", "feature_1").rows.tolist() == [[1, 2]]


def test_a_file_of_another_width_cannot_be_read_by_position(tmp_path: Path):
    with pytest.raises(DataError, match=r"expected 2 feature columns, which the model reads by position, got 1"):
        from_features(write_features(tmp_path, only=[1.0]), "feature_0", "feature_1")


def test_missing_columns_are_named(tmp_path: Path):
    with pytest.raises(DataError, match=r"lacks 1 of the model's 2 columns: rsi"):
        from_features(write_features(tmp_path, a=[1.0]), "a", "rsi")


def test_rows_of_the_warm_up_are_left_out_and_later_holes_are_refused(tmp_path: Path):
    assert from_features(write_features(tmp_path, a=[np.nan, np.nan, 1.0, 2.0]), "a").first_row == 2
    with pytest.raises(DataError, match=r"got a = NaN or infinity in row 3"):
        from_features(write_features(tmp_path, a=[np.nan, 1.0, 2.0, np.nan]), "a")


def test_a_gap_is_refused_with_its_row_and_time(tmp_path: Path):
    times = np.array([0, 1, 3]) * MINUTE + 1_800_000_000_000
    with pytest.raises(DataError, match=r"expected a row every 60 s, got 120 s before row 2 \(2027-01-15T08:03:00Z\)"):
        from_features(write_features(tmp_path, a=[1.0, 2.0, 3.0], timestamp=times), "a")


def test_without_closes_there_are_no_labels_and_without_times_no_spans(tmp_path: Path):
    series = from_features(write_features(tmp_path, a=[1.0, 2.0]), "a")
    with pytest.raises(DataError, match=r"expected a column of closes"):
        series.labels(1, 0.001)
    with pytest.raises(DataError, match=r"has no column of times"):
        series.times()


def test_labels_further_ahead_than_there_are_bars_are_refused(tmp_path: Path):
    with pytest.raises(DataError, match=r"expected more than 15 bars for labels so far ahead, got 2"):
        from_features(write_features(tmp_path, a=[1.0, 2.0], close=[1.0, 2.0]), "a").labels(15, 0.001)


@pytest.mark.parametrize("columns", [{"a": ["x"]}, {"a": [1.0], "close": [-1.0]}])
def test_what_is_no_feature_or_price_is_refused(tmp_path: Path, columns: dict[str, object]):
    with pytest.raises(DataError, match=r"expected numbers|expected finite closes above 0"):
        from_features(write_features(tmp_path, **columns), "a")


def test_a_folder_without_feature_files_says_what_it_found(tmp_path: Path):
    write_bars(tmp_path)
    with pytest.raises(DataError, match=r"expected files named like BTC_features.parquet, got BTCUSDT_1m.parquet"):
        Source(tmp_path, "features").files()


def test_a_file_without_rows_or_with_a_row_without_time_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match="expected rows, got none"):
        from_features(write_features(tmp_path, a=pyarrow.array([], pyarrow.float64())), "a")
    times = pyarrow.array([1_800_000_000_000, None], pyarrow.timestamp("ms"))
    with pytest.raises(DataError, match="expected a time in every row, got none in row 1 of timestamp"):
        from_features(write_features(tmp_path, a=[1.0, 2.0], timestamp=times), "a")


def test_a_column_that_is_never_there_is_the_one_that_is_named(tmp_path: Path):
    folder = write_features(tmp_path, a=[np.nan, 1.0, 2.0], b=[np.nan] * 3)
    with pytest.raises(DataError, match="got b = NaN or infinity in row 2"):
        from_features(folder, "a", "b")


def test_features_that_float32_cannot_hold_are_refused(tmp_path: Path):
    with pytest.raises(DataError, match=r"expected features within ±3.4e38.*got 1e\+39"):
        from_features(write_features(tmp_path, a=[1.0, 1e39]), "a")
