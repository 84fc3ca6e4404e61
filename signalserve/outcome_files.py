"""Files of outcomes: csv, parquet or json, one outcome a row, into what `SignalClient.outcomes` tells."""

import csv
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from signalserve.candle_files import plain_name, times_ms
from signalserve.client import InvalidInput, Outcome
from signalserve.errors import DataError

COLUMNS: Final = ("prediction_id", "symbol", "as_of", "direction", "close")

Row = tuple[str, Mapping[str, Any]]
"""Where it stands, such as `line 3`, and its values by the file's own names."""


def read_outcomes_file(path: Path) -> list[Outcome]:
    """Read a csv (with a header), parquet or json file: an array of objects, or one object a line.

    Each row has prediction_id, or symbol and as_of, and direction, or close; an empty cell or null is not given, other
    columns are left alone. Times: the closing time of the window's last bar, in any form that `read_candles` takes.
    Raises DataError, naming the file and the line, where it can't be read or a row is no outcome.
    """
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise DataError(f"{path}: expected a file ending in {', '.join(_READERS)}; convert it to one of them")
    try:
        outcomes = [_outcome(path, place, row) for place, row in read(path)]
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as {path.suffix[1:]}: {error}") from error
    if not outcomes:
        raise DataError(f"{path}: expected at least one outcome, got none")
    return outcomes


# ---- the formats: each gives its rows


def _csv_rows(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        first = file.readline()
        file.seek(0)
        reader = csv.reader(file, delimiter=max(",;\t", key=first.count))
        names = next(reader, [])
        for cells in reader:
            place = f"line {reader.line_num}"
            if len(cells) not in (0, len(names)):
                raise DataError(f"{path}: {place}: expected {len(names)} values as in the header, got {len(cells)}")
            if cells:
                yield place, dict(zip(names, cells, strict=True))


def _json_rows(path: Path) -> Iterator[Row]:
    text = path.read_text(encoding="utf-8-sig")
    if text.lstrip().startswith("["):
        yield from _objects(path, "object", enumerate(json.loads(text), 1))
    else:
        lines = ((number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip())
        yield from _objects(path, "line", ((number, _json_line(path, number, line)) for number, line in lines))


def _json_line(path: Path, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise DataError(
            f"{path}: line {number}: expected an object a line, or one array of objects: {error}"
        ) from error


def _objects(path: Path, unit: str, values: Iterator[tuple[int, Any]]) -> Iterator[Row]:
    for number, value in values:
        if not isinstance(value, dict):
            raise DataError(f"{path}: {unit} {number}: expected an object, got {value!r:.40}")
        yield f"{unit} {number}", value


def _parquet_rows(path: Path) -> Iterator[Row]:
    try:
        arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise DataError(f'{path}: reading parquet needs pyarrow: pip install "signalserve[cli]"') from error
    try:
        wanted = [name for name in parquet.read_schema(path).names if plain_name(name) in COLUMNS]
        table = parquet.read_table(path, columns=wanted)
        for i, field in enumerate(table.schema):
            if arrow.types.is_timestamp(field.type):  # nanoseconds have no datetime without pandas
                table = table.set_column(i, field.name, table.column(i).cast(arrow.timestamp("ms", field.type.tz)))
    except arrow.ArrowException as error:
        raise DataError(f"{path}: cannot be read as parquet: {error}") from error
    for number, row in enumerate(table.to_pylist(), 1):
        yield f"row {number}", row


_READERS: Final = {".csv": _csv_rows, ".json": _json_rows, ".ndjson": _json_rows, ".parquet": _parquet_rows}


# ---- from a row to an outcome


def _outcome(path: Path, place: str, row: Mapping[str, Any]) -> Outcome:
    try:
        given = {plain_name(name): _given(value) for name, value in row.items()}
        return Outcome(
            prediction_id=_text(given.get("prediction_id")),
            symbol=_text(given.get("symbol")),
            as_of=_time(path, given.get("as_of")),
            direction=_text(given.get("direction")),
            close=_price(given.get("close")),
        )
    except InvalidInput as error:
        raise DataError(f"{path}: {place}: {error}") from None


def _given(value: Any) -> Any:
    """None for an empty cell, and for the NaN by which pandas means one."""
    if isinstance(value, str):
        return value.strip() or None
    return None if value != value else value


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _time(path: Path, value: Any) -> datetime | None:
    if value is None:
        return None
    try:
        [time_ms] = times_ms(path, [value])
    except DataError:
        expected = "a time such as 2025-05-04T15:33:00Z, or a number since 1970"
        raise InvalidInput(f"as_of: expected {expected}, got {value!r:.40}") from None
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=float(time_ms))


def _price(value: Any) -> float | None:
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError, OverflowError):
        raise InvalidInput(f"close: expected a price above 0, got {value!r:.40}") from None
