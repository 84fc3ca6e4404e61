"""Files as people have them: every format, spelling and unit of time gives the same bars, or words that help."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from signalserve.candle_files import find_candle_files, read_candles
from signalserve.candles import FIELDS, Candles, to_rows
from signalserve.demo import demo_candles
from signalserve.errors import DataError

END = 1_746_372_780_000  # 2025-05-04T15:33:00Z
BARS = demo_candles("BTC-USD", 5, end_ms=END, seed=1)
NAMES = ["timestamp", "open", "high", "low", "close", "volume"]


def frame(**renamed: str) -> pd.DataFrame:
    """The bars as pandas holds them, with a time column in UTC."""
    table = pd.DataFrame(to_rows(BARS), columns=NAMES)
    table["timestamp"] = pd.to_datetime(table["timestamp"].astype("int64"), unit="ms", utc=True)
    return table.rename(columns=renamed)


def write_csv(path: Path, rows: list[list[object]], header: list[str] | None = NAMES, delimiter: str = ",") -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([*([header] if header else []), *rows])
    return path


def write_json(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def assert_same_bars(candles: Candles) -> None:
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(candles, name), getattr(BARS, name), strict=True)


@pytest.mark.parametrize(
    "header",
    [
        NAMES,
        ["time", "o", "h", "l", "c", "v"],
        ["Date", "Open", "High", "Low", "Close", "Volume"],
        ["DATETIME", "OPEN", "HIGH", "LOW", "CLOSE", "VOL"],
        ["Open time", "Open", "High", "Low", "Close", "Base Volume"],
        [" ts", "<open>", "<high>", "<low>", "<close>", "<vol>"],
        ["", "open", "high", "low", "close", "volume"],
    ],
)
def test_the_usual_spellings_are_understood(tmp_path, header):
    assert_same_bars(read_candles(write_csv(tmp_path / "x.csv", to_rows(BARS), header)))


@pytest.mark.parametrize("per_ms", [0.001, 1, 1000, 1_000_000])
def test_units_of_time_are_told_by_their_size(tmp_path, per_ms):
    rows = [[round(row[0] * per_ms), *row[1:]] for row in to_rows(BARS)]
    assert_same_bars(read_candles(write_csv(tmp_path / "x.csv", rows)))


@pytest.mark.parametrize(
    "form",
    ["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S+00:00", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M UTC", "%Y%m%dT%H%M%S"],
)
def test_iso_times_are_read_as_utc(tmp_path, form):
    table = frame()
    table["timestamp"] = table["timestamp"].dt.strftime(form)
    table.to_csv(tmp_path / "x.csv", index=False)
    assert_same_bars(read_candles(tmp_path / "x.csv"))


def test_another_time_zone_is_turned_into_utc(tmp_path):
    table = frame()
    table["timestamp"] = [time.isoformat() for time in table["timestamp"].dt.tz_convert("Asia/Tokyo")]
    table.to_csv(tmp_path / "x.csv", index=False)
    assert_same_bars(read_candles(tmp_path / "x.csv"))


def test_csv_may_lack_a_header_or_have_more_columns_or_another_delimiter(tmp_path):
    wide = [[*row, row[0] + 59_999, 1, 2] for row in to_rows(BARS)]  # as data.binance.vision has them
    assert_same_bars(read_candles(write_csv(tmp_path / "x.csv", wide, None)))
    more = [*NAMES, "close_time", "quote_volume", "trades"]
    assert_same_bars(read_candles(write_csv(tmp_path / "y.csv", wide, more, delimiter=";")))


def test_a_byte_order_mark_and_blank_lines_do_no_harm(tmp_path):
    path = write_csv(tmp_path / "x.csv", to_rows(BARS))
    path.write_text("\ufeff" + path.read_text() + "\n\n", encoding="utf-8")
    assert_same_bars(read_candles(path))


def test_json_may_be_objects_arrays_or_columns(tmp_path):
    rows = to_rows(BARS)
    records = [dict(zip(NAMES, map(str, row), strict=True)) for row in rows]  # Binance sends prices as strings
    columns = {name: list(column) for name, column in zip(NAMES, zip(*rows, strict=True), strict=True)}
    assert_same_bars(read_candles(write_json(tmp_path / "a.json", records)))
    assert_same_bars(read_candles(write_json(tmp_path / "b.json", [[*row, "more"] for row in rows])))
    assert_same_bars(read_candles(write_json(tmp_path / "c.json", columns)))


def test_a_stream_of_binance_is_told_from_its_capitals(tmp_path):
    keys = ["t", "T", "o", "h", "l", "c", "v", "V", "L"]
    rows = [dict(zip(keys, [row[0], row[0] + 59_999, *row[1:], 1, 2], strict=True)) for row in to_rows(BARS)]
    assert_same_bars(read_candles(write_json(tmp_path / "x.json", rows)))


def test_what_pandas_writes_is_read(tmp_path):
    table, indexed = frame(), frame().set_index("timestamp")
    table.to_json(tmp_path / "default.json", date_format="iso")
    table.to_json(tmp_path / "records.json", orient="records", date_format="iso")
    table.to_csv(tmp_path / "numbered.csv")
    indexed.rename_axis(None).to_csv(tmp_path / "unnamed.csv")
    for path in sorted(tmp_path.iterdir()):
        assert_same_bars(read_candles(path))


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_parquet_holds_times_of_any_unit(tmp_path, unit):
    pytest.importorskip("pyarrow")
    table = frame()
    table["timestamp"] = table["timestamp"].astype(f"datetime64[{unit}, UTC]")
    table.to_parquet(tmp_path / "column.parquet")
    table.set_index("timestamp").rename_axis(None).to_parquet(tmp_path / "index.parquet")
    table.assign(timestamp=table["timestamp"].astype("int64")).to_parquet(tmp_path / "integers.parquet")
    for path in sorted(tmp_path.iterdir()):
        assert_same_bars(read_candles(path))


def test_newest_first_is_turned_round(tmp_path):
    assert_same_bars(read_candles(write_csv(tmp_path / "x.csv", to_rows(BARS)[::-1])))


def test_the_real_bars_are_read_whole(real_bars):
    assert {symbol: len(candles) for symbol, candles in real_bars.items()} == dict.fromkeys(
        ("BTC-USD", "ETH-USD", "SOL-USD"), 43_199
    )
    assert real_bars["BTC-USD"].timestamp_ms[0] == 1_746_372_780_000
    assert real_bars["BTC-USD"].close[0] == 95_502.7


# ---- what cannot be used


def refused(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_candles(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_missing_column_is_named_with_those_found(tmp_path):
    path = write_csv(tmp_path / "x.csv", to_rows(BARS), [*NAMES[:4], "last_price", "volume"])
    found = "found timestamp, open, high, low, last_price, volume"
    assert f"expected a column for close, {found}; rename it to one of close, close_price, c" in refused(path)


def test_two_columns_for_one_field_are_named(tmp_path):
    path = write_csv(tmp_path / "x.csv", [[*row, 1] for row in to_rows(BARS)], [*[n.title() for n in NAMES], "CLOSE"])
    assert "expected one column for close, got Close, CLOSE; rename or drop one" in refused(path)


def test_a_gap_is_named_and_what_to_do(tmp_path):
    words = refused(write_csv(tmp_path / "x.csv", to_rows(BARS)[:2] + to_rows(BARS)[3:]))
    assert "expected bars 60 s apart without gaps, got a gap of 120 s between row 1 at 2025-05-04T15:30:00Z" in words
    assert "features need every bar of 60 s: mend the file or cut it at the fault" in words


def test_bars_of_another_interval_are_read_only_when_asked_for(tmp_path):
    start = END // 300_000 * 300_000
    rows = [[start + i * 300_000, *row[1:]] for i, row in enumerate(to_rows(BARS))]
    path = write_csv(tmp_path / "x.csv", rows)
    assert "expected bars 60 s apart, got bars 300 s apart" in refused(path)
    assert len(read_candles(path, interval_ms=300_000)) == 5


@pytest.mark.parametrize(
    ("cell", "column", "words"),
    [
        ("n/a", "close", "expected numbers in close, got 'n/a' in row 3"),
        ("", "close", "expected numbers in close, got '' in row 3"),
        ("nan", "close", "expected finite numbers under 1e18, got row 3 with close nan"),
        ("-1", "volume", "expected a volume of 0 or more, got row 3 with volume -1"),
        ("soon", "timestamp", "expected numbers in timestamp, got 'soon' in row 3"),
    ],
)
def test_a_cell_that_cannot_be_used_is_named(tmp_path, cell, column, words):
    rows = [list(row) for row in to_rows(BARS)]
    rows[3][NAMES.index(column)] = cell
    assert words in refused(write_csv(tmp_path / "x.csv", rows))


@pytest.mark.parametrize(
    ("timestamp", "words"),
    [
        (
            "04/05/2025 15:33",
            "expected times such as 2025-05-04T15:33:00Z or a number since 1970, got '04/05/2025 15:33'",
        ),
        (17, "expected times in seconds, milli-, micro- or nanoseconds since 1970, .* got 17 in row 0"),
    ],
)
def test_times_in_another_form_are_refused(tmp_path, timestamp, words):
    path = write_json(tmp_path / "x.json", [[timestamp, *row[1:]] for row in to_rows(BARS)])
    with pytest.raises(DataError, match=words):
        read_candles(path)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("x.csv", "", "expected bars, got an empty file"),
        ("x.csv", "timestamp,open,high,low,close,volume\n", "expected at least 1 row, got 0 rows"),
        ("x.csv", "timestamp,open,high,low,close,volume\n1,2\n", "expected 6 values a row, got 2 in row 0"),
        ("x.json", "{", "cannot be read as json: Expecting property name"),
        ("x.json", "[]", "expected an array of objects, an array of arrays or an object of columns"),
        ("x.json", "[[1, 2]]", "expected 6 values a row, got 2 in row 0"),
        ("x.json", '[{"open": 1}]', "expected a column for timestamp_ms, found open; rename it to one of open_time"),
        ("x.json", '{"t": [1], "o": 2, "h": 2, "l": 2, "c": 2, "v": 2}', "expected an array in column o, got 2"),
        ("x.json", '{"t": [1], "o": [], "h": [], "l": [], "c": [], "v": []}', "expected columns of one length, got"),
        ("x.json", '{"t": [1], "o": [[2]], "h": [2], "l": [2], "c": [2], "v": [2]}', "expected times in seconds"),
        ("x.json", '{"t": ["2025-01-01"], "o": [{}], "h": [2], "l": [2], "c": [2], "v": [2]}', "in open, got {}"),
        ("x.parquet", "no", "cannot be read as parquet"),
        ("x.xlsx", "no", "expected a file ending in .csv, .json, .parquet; convert it to one of them"),
    ],
)  # fmt: skip
def test_what_is_not_a_file_of_bars_says_so(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=words):
        read_candles(tmp_path / name)


@pytest.mark.parametrize("name", ["x.csv", "x.json", "x.parquet"])
def test_a_missing_file_says_so(tmp_path, name):
    assert "No such file" in refused(tmp_path / name)


def test_parquet_without_pyarrow_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    words = r'reading parquet needs pyarrow: pip install "signalserve\[cli\]"'
    with pytest.raises(DataError, match=words):
        read_candles(tmp_path / "x.parquet")


# ---- which file is whose


def found(folder: Path, *names: str) -> dict[str, str]:
    for name in names:
        (folder / name).touch()
    return {symbol: path.name for symbol, path in find_candle_files(folder).items()}


@pytest.mark.parametrize(
    ("name", "symbol"),
    [
        ("binance_perp_BTCUSDT_1m_2025-05-04_2025-06-03.parquet", "BTC-USD"),
        ("BTC_USDT_USDT-1m-futures.csv", "BTC-USD"),
        ("btc.json", "BTC-USD"),
        ("Kraken XBTUSD.csv", "BTC-USD"),
        ("ETH-USD.csv", "ETH-USD"),
        ("sol_1m.PARQUET", "SOL-USD"),
        ("coinbase-XRP-USDC-1m.csv", "XRP-USD"),
        ("1000PEPEUSDT.csv", "1000PEPE-USD"),
    ],
)
def test_the_symbol_is_in_the_files_name(tmp_path, name, symbol):
    assert found(tmp_path, name) == {symbol: name}


def test_features_and_other_files_are_left_out(tmp_path):
    others = ["BTC_features.parquet", "features_ETHUSDT.csv", "SOURCES.md", "SOL.txt", "summary.json", "usdt.csv"]
    assert found(tmp_path, "SOLUSDT.csv", "BTC.csv", *others) == {"BTC-USD": "BTC.csv", "SOL-USD": "SOLUSDT.csv"}


def test_two_files_for_one_symbol_are_refused_by_name(tmp_path):
    with pytest.raises(DataError, match=r"one file for BTC-USD, got BTC.csv and BTCUSDT.parquet; move one"):
        found(tmp_path, "BTC.csv", "BTCUSDT.parquet")


def test_a_folder_without_candles_says_what_it_looked_for(tmp_path):
    with pytest.raises(DataError, match=r"expected files named like BTCUSDT_1m.parquet .*, got notes.md"):
        found(tmp_path, "notes.md")
    with pytest.raises(DataError, match="expected a folder with files of candles; it does not exist"):
        find_candle_files(tmp_path / "nowhere")
