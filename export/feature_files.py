"""Files of ready features, as their owners keep them (BTC_features.parquet) -> rows in a model's own column order."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow
import pyarrow.parquet

from signalserve.candle_files import SPELLINGS, plain_name, symbol_of_name, times_ms
from signalserve.errors import DataError

Floats = npt.NDArray[np.float64]

MARKET: Final = frozenset(spelling for spellings in SPELLINGS.values() for spelling in spellings) | {"symbol", "label"}
"""Columns that are no features, by their plain names: times, prices, volume and what names or labels a row."""


def find_feature_files(folder: Path) -> dict[str, Path]:
    """Symbol (BTC-USD) -> its parquet file with "features" in the name. Raises DataError where there is none or two."""
    if not folder.is_dir():
        raise DataError(f"{folder}: expected a folder with files such as BTC_features.parquet; it does not exist")
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("*.parquet")):
        if "features" not in path.stem.lower():
            continue
        symbol = symbol_of_name(path.stem)
        if symbol in found:
            raise DataError(f"{folder}: expected one file for {symbol}, got {found[symbol].name} and {path.name}")
        if symbol:
            found[symbol] = path
    if not found:
        names = ", ".join(sorted(path.name for path in folder.iterdir())[:10]) or "nothing"
        raise DataError(f"{folder}: expected files named like BTC_features.parquet, got {names}")
    return found


def read_features(path: Path, columns: Sequence[str]) -> tuple[Floats, npt.NDArray[np.int64] | None, Floats | None]:
    """Rows (n, len(columns)) in the order of `columns`, opening times (n,) in ms, closes (n,); the last two if there.

    Where the model's columns have no names (feature_0, feature_1, …), the file's feature columns are taken in the
    order in which they stand. Raises DataError that names the missing columns.
    """
    try:
        table = pyarrow.parquet.read_table(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{path}: cannot be read as parquet: {error}") from None
    if not table.num_rows:
        raise DataError(f"{path}: expected rows, got none")
    names = table.column_names
    wanted = list(columns)
    if all(name == unnamed(i) for i, name in enumerate(columns)) and not set(columns) <= set(names):
        wanted = [name for name in names if plain_name(name) not in MARKET]
        if len(wanted) != len(columns):
            raise DataError(
                f"{path}: expected {len(columns)} feature columns, which the model reads by position, got {len(wanted)}"
            )
    missing = [name for name in wanted if name not in names]
    if missing:
        raise DataError(
            f"{path}: lacks {len(missing)} of the model's {len(wanted)} columns: {', '.join(missing[:8])}"
            f"{' …' if len(missing) > 8 else ''}; write them into the file under these names"
        )
    rows = np.column_stack([_numbers(path, table, name) for name in wanted])
    return rows, _times(path, table), _close(path, table)


def unnamed(position: int) -> str:
    """What a model's input is called when nobody knows its name."""
    return f"feature_{position}"


def _numbers(path: Path, table: pyarrow.Table, name: str) -> Floats:
    try:
        column = table.column(name).cast(pyarrow.float64())
    except pyarrow.ArrowException:
        raise DataError(f"{path}: column {name}: expected numbers, got {table.column(name).type}") from None
    return np.asarray(column.to_numpy(), dtype=np.float64)


def _market_column(table: pyarrow.Table, field: str) -> str | None:
    for spelling in SPELLINGS[field]:
        for name in table.column_names:
            if plain_name(name) == spelling:
                return str(name)
    return None


def _times(path: Path, table: pyarrow.Table) -> npt.NDArray[np.int64] | None:
    name = _market_column(table, "timestamp_ms")
    if name is None:
        return None
    column = table.column(name)
    if column.null_count:
        row = int(np.argmax(column.is_null().to_numpy()))
        raise DataError(f"{path}: expected a time in every row, got none in row {row} of {name}; fill it or cut it off")
    if pyarrow.types.is_temporal(column.type):
        column = column.cast(pyarrow.timestamp("ms")).cast(pyarrow.int64())
    return np.asarray(times_ms(path, column.to_pylist())).astype(np.int64)


def _close(path: Path, table: pyarrow.Table) -> Floats | None:
    name = _market_column(table, "close")
    return None if name is None else _numbers(path, table, name)
