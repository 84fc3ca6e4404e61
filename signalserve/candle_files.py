"""Files of candles: csv, parquet or json, with the usual spellings of columns and times, into checked bars.

Offline only: the service reads candles from requests (`candles.parse_candles`). csv and json need nothing but
the standard library; parquet needs pyarrow, which is imported only when such a file is read.
"""

import csv
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np

from signalserve.candles import (
    EARLIEST_MS,
    FIELDS,
    INTERVAL_MS,
    LATEST_MS,
    Candles,
    Floats,
    check_candles,
    from_table,
)
from signalserve.errors import BadCandles, DataError

SUFFIXES: Final = (".csv", ".json", ".parquet")

SPELLINGS: Final[Mapping[str, tuple[str, ...]]] = {
    # open_time before timestamp: where both stand, the other may be the close's or the download's.
    # The last two are what pandas calls a time index without a name, in parquet and in csv.
    "timestamp_ms": (
        *("open_time", "opentime", "timestamp_ms", "timestamp", "datetime", "date", "time"),
        *("ts", "t", "unix", "index_level_0", ""),
    ),
    "open": ("open", "open_price", "o"),
    "high": ("high", "high_price", "h"),
    "low": ("low", "low_price", "l"),
    "close": ("close", "close_price", "c"),
    "volume": ("volume", "vol", "base_volume", "volume_base", "v"),
}
"""Column names by field, likeliest first, as `plain_name` writes them."""

TIME_UNITS: Final = ((1000, 1), (1, 1), (1, 1000), (1, 1_000_000))
"""Seconds, milli-, micro- and nanoseconds: a value times the first, by the second, is milliseconds. Two
integers, so that no digit is lost. Between 2000 and 2100 no value in one unit is also one in another."""

BASES: Final = ("BTC", "ETH", "SOL")
"""Base assets that a file name may give alone; others are found by the quote beside them."""
ALIASES: Final = {"XBT": "BTC"}
QUOTES: Final = ("USDT", "USDC", "FDUSD", "BUSD", "USD")

Table = dict[str, Sequence[Any]]
"""Each of FIELDS -> its n values as the file has them."""


def read_candles(path: Path, *, interval_ms: int = INTERVAL_MS) -> Candles:
    """Read a csv, parquet or json file of bars, one each interval_ms without gaps, and check them.

    csv: with a header, or without one in the order of FIELDS.
    json: an array of objects, an array of arrays in the order of FIELDS, or an object of columns.
    Times: the bar's opening, as ISO 8601 (UTC where no zone is given), as datetimes, or as seconds, milli-,
    micro- or nanoseconds since 1970, told apart by their size. Bars that are newest first are turned round.
    Raises DataError, naming the file and the place, where it can't be read or isn't such bars.
    """
    try:
        table = _read(path)
    except (OSError, UnicodeDecodeError, csv.Error, json.JSONDecodeError) as error:
        raise DataError(f"{path}: cannot be read as {path.suffix[1:]}: {error}") from error
    return _checked(path, _floats(path, table), interval_ms)


def find_candle_files(folder: Path) -> dict[str, Path]:
    """Symbol (BTC-USD) -> its file of candles in `folder`, told by the file's name, sorted by symbol.

    A name holds the base asset alone (BTC_1m.csv; for BASES) or with a dollar quote (XRPUSDT_1m.parquet,
    XRP-USD.csv). Files with "features" in their name, and names without an asset, are left out.
    Raises DataError where two files give one symbol, or none gives any.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: expected a folder with files of candles; it does not exist")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        symbol = _symbol_of(path)
        if symbol in found:
            raise DataError(
                f"{folder}: expected one file for {symbol}, got {found[symbol].name} and {path.name}; "
                "move one of them elsewhere"
            )
        if symbol:
            found[symbol] = path
    if not found:
        names = ", ".join(sorted(path.name for path in folder.iterdir())[:10]) or "nothing"
        raise DataError(f"{folder}: expected files named like BTCUSDT_1m.parquet or ETH-USD.csv, got {names}")
    return dict(sorted(found.items()))


def _symbol_of(path: Path) -> str | None:
    """BTC-USD for binance_perp_BTCUSDT_1m.parquet; None where the name says no asset, or says features."""
    if path.suffix.lower() not in SUFFIXES or "features" in path.stem.lower():
        return None
    return symbol_of_name(path.stem)


def symbol_of_name(name: str) -> str | None:
    """BTC-USD for any name that holds BTC, BTCUSDT, XBT_USD …; None where it names no asset."""
    words = [word for word in re.split(r"[^A-Z0-9]+", name.upper()) if word]
    bases = [base for word in words if (base := ALIASES.get(word, word)) in BASES]
    for word in words:
        joined = re.fullmatch(rf"([A-Z0-9]{{2,}}?)({'|'.join(QUOTES)})", word)
        if joined and word not in QUOTES:
            bases.append(ALIASES.get(joined[1], joined[1]))
    for base, quote in pairwise(words):
        if quote in QUOTES and base.isalpha() and base not in QUOTES:
            bases.append(base)
    return f"{bases[0]}-USD" if bases else None


# ---- the formats: each gives the columns of FIELDS as the file has them


def _read(path: Path) -> Table:
    match path.suffix.lower():
        case ".csv":
            return _read_csv(path)
        case ".json":
            return _read_json(path)
        case ".parquet":
            return _read_parquet(path)
    raise DataError(f"{path}: expected a file ending in {', '.join(SUFFIXES)}; convert it to one of them")


def _read_csv(path: Path) -> Table:
    with path.open(encoding="utf-8-sig", newline="") as file:
        first = file.readline()
        file.seek(0)
        delimiter = max(",;\t", key=first.count)
        rows = [row for row in csv.reader(file, delimiter=delimiter) if row]
    if not rows:
        raise DataError(f"{path}: expected bars, got an empty file")
    if _is_bar(rows[0]):
        return _by_position(path, rows)
    return _by_name(path, rows[0], rows[1:])


def _read_json(path: Path) -> Table:
    content = json.loads(path.read_text(encoding="utf-8-sig"))
    if isinstance(content, dict):
        return _by_column(path, content)
    if isinstance(content, list) and content and all(isinstance(row, list) for row in content):
        return _by_position(path, content)
    if isinstance(content, list) and content and all(isinstance(row, dict) for row in content):
        names = list(content[0])
        return _by_name(path, names, [[row.get(name) for name in names] for row in content])
    raise DataError(f"{path}: expected an array of objects, an array of arrays or an object of columns")


def _read_parquet(path: Path) -> Table:
    try:
        arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise DataError(f'{path}: reading parquet needs pyarrow: pip install "signalserve[cli]"') from error
    try:
        picked = _pick_columns(path, parquet.read_schema(path).names)
        table = parquet.read_table(path, columns=list(picked.values()))
        columns = {field: table.column(name) for field, name in picked.items()}
        times = columns["timestamp_ms"]
        if arrow.types.is_temporal(times.type):
            columns["timestamp_ms"] = times.cast(arrow.timestamp("ms")).cast(arrow.int64())
    except arrow.ArrowException as error:
        raise DataError(f"{path}: cannot be read as parquet: {error}") from error
    return {field: column.to_pylist() for field, column in columns.items()}


def _is_bar(cells: Sequence[str]) -> bool:
    """Whether a csv's first line already is a bar: five numbers after the time."""
    try:
        return len([float(cell) for cell in cells[1 : len(FIELDS)]]) == len(FIELDS) - 1
    except ValueError:
        return False


def _by_position(path: Path, rows: Sequence[Sequence[Any]]) -> Table:
    """Columns from rows in the order of FIELDS; anything after the sixth value is left alone."""
    return _by_name(path, FIELDS, [row[: len(FIELDS)] for row in rows])


def _by_name(path: Path, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    for index, row in enumerate(rows):
        if len(row) != len(names):
            raise DataError(f"{path}: expected {len(names)} values a row, got {len(row)} in row {index}")
    picked = _pick_columns(path, names)
    columns: list[Sequence[Any]] = list(zip(*rows, strict=True)) or [()] * len(names)
    return {field: columns[names.index(name)] for field, name in picked.items()}


def _by_column(path: Path, content: dict[str, Any]) -> Table:
    """From {"open": [...]} or, as pandas writes by default, {"open": {"0": ...}}."""
    table: Table = {}
    for field, name in _pick_columns(path, list(content)).items():
        column = content[name]
        values = list(column.values()) if isinstance(column, dict) else column
        if not isinstance(values, list):
            raise DataError(f"{path}: expected an array in column {name}, got {values!r:.40}")
        table[field] = values
    lengths = {name: len(values) for name, values in table.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"{path}: expected columns of one length, got {lengths}")
    return table


def _pick_columns(path: Path, names: Sequence[str]) -> dict[str, str]:
    """Field -> the name of the file's column that holds it."""
    return {field: _pick_column(path, field, names) for field in FIELDS}


def _pick_column(path: Path, field: str, names: Sequence[str]) -> str:
    for spelling in SPELLINGS[field]:
        # Exact first: in Binance's streams t, l and v are what we want, T, L and V are something else.
        matches = [name for name in names if name == spelling] or [
            name for name in names if plain_name(name) == spelling
        ]
        if len(matches) > 1:
            both = ", ".join(matches)
            raise DataError(f"{path}: expected one column for {field}, got {both}; rename or drop one")
        if matches:
            return matches[0]
    known = ", ".join(spelling for spelling in SPELLINGS[field] if spelling)
    found = ", ".join(names) or "none"
    raise DataError(f"{path}: expected a column for {field}, found {found}; rename it to one of {known}")


def plain_name(name: str) -> str:
    """A column's name without case, brackets and separators: `Open time` -> open_time."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


# ---- from the file's values to checked bars


def _floats(path: Path, table: Table) -> Floats:
    """(6, n) float64 in the order of FIELDS, times in milliseconds."""
    times = times_ms(path, table["timestamp_ms"])
    return np.array([times, *(_numbers(path, field, table[field]) for field in FIELDS[1:])])


def _numbers(path: Path, field: str, values: Sequence[Any]) -> Floats:
    """(n,) float64 from numbers or strings of numbers; null becomes NaN, which the checks name."""
    try:
        return np.array([float("nan" if value is None else value) for value in values])
    except (TypeError, ValueError, OverflowError) as error:
        row = next(row for row, value in enumerate(values) if value is not None and not _is_number(value))
        got = f"{values[row]!r:.40} in row {row}"
        raise DataError(f"{path}: expected numbers in {field}, got {got}") from error


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def times_ms(path: Path, values: Sequence[Any]) -> Floats:
    """(n,) milliseconds since 1970, UTC, from any of the forms that `read_candles` names."""
    if not values:
        return np.empty(0)
    if not _is_number(values[0]):
        return np.array([_iso_ms(path, row, value) for row, value in enumerate(values)])
    times = _numbers(path, "timestamp", values)
    for factor, divisor in TIME_UNITS:
        if EARLIEST_MS <= times[0] * factor / divisor < LATEST_MS:
            return times * factor / divisor
    raise DataError(
        f"{path}: expected times in seconds, milli-, micro- or nanoseconds since 1970, "
        f"from the years 2000 to 2099, got {values[0]} in row 0"
    )


def _iso_ms(path: Path, row: int, value: object) -> float:
    """Milliseconds since 1970 of an ISO 8601 time; without a zone it is UTC."""
    try:
        time = datetime.fromisoformat(str(value).strip().removesuffix(" UTC"))
    except ValueError as error:
        raise DataError(
            f"{path}: expected times such as 2025-05-04T15:33:00Z or a number since 1970, "
            f"got {value!r:.40} in row {row}"
        ) from error
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    return (time - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(milliseconds=1)


def _checked(path: Path, table: Floats, interval_ms: int) -> Candles:
    """Bars from a (6, n) table, oldest first, once `check_candles` has nothing against them."""
    if np.all(np.diff(table[0]) < 0):
        table = table[:, ::-1]
    try:
        candles = from_table(np.ascontiguousarray(table))
        check_candles(candles, interval_ms, minimum=1)
    except BadCandles as error:
        raise DataError(
            f"{path}: expected {error.expected}, got {error.got} (rows count from 0, oldest first); "
            f"features need every bar of {interval_ms / 1000:g} s: mend the file or cut it at the fault"
        ) from error
    return candles
