"""Rows of the journal -> a parquet or csv file, as a whole or not at all."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from signalserve.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIXES: Final = (".parquet", ".csv")

MOMENTS: Final = {
    "as_of_ms": "as_of",
    "received_ms": "received_at",
    "time_ms": "time",
    "outcome_at_ms": "outcome_at",
    "first_ms": "first_at",
    "at_ms": "at",
    "told_ms": "told_at",
}
"""Columns that become moments in UTC, by the name they get."""


def check_suffix(path: Path) -> None:
    """Raises DataError for a kind of file that is none of SUFFIXES."""
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(f"{path}: expected a file ending in {' or '.join(SUFFIXES)}")


def write_rows(batches: Iterable[list[tuple[Any, ...]]], columns: Sequence[str], path: Path) -> int:
    """Write rows to a file, which replaces one of that name once it is whole. Returns how many there were.

    batches: of values by columns, as `tables.Batches` gives them.  columns: names in the journal.  Raises DataError for
    another ending than SUFFIXES, and where the file cannot be written.
    """
    import pyarrow as pa

    check_suffix(path)
    schema, count = _schema(columns), 0
    try:
        with _staged(path) as file, _writer(path.suffix.lower(), file, schema) as writer:
            for batch in batches:
                by_column = zip(*batch, strict=True) if batch else ((),) * len(columns)
                arrays = [pa.array(values, field.type) for values, field in zip(by_column, schema, strict=True)]
                writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
                count += len(batch)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror or error}") from error
    return count


@contextmanager
def _staged(path: Path) -> Iterator[BinaryIO]:
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with staged.open("wb") as file:
            yield file
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)


def _writer(suffix: str, file: BinaryIO, schema: "pa.Schema") -> Any:
    """Of either kind: a context manager with write_batch."""
    import pyarrow.csv
    import pyarrow.parquet

    return pyarrow.csv.CSVWriter(file, schema) if suffix == ".csv" else pyarrow.parquet.ParquetWriter(file, schema)


def _schema(columns: Sequence[str]) -> "pa.Schema":
    """The file's columns, in that order; what is not listed here is text."""
    import pyarrow as pa

    numbers = ("row_id", "answered", "horizon_ms", "outcome")
    reals = ("temperature", "latency_ms", "close", "band", "outcome_close", "off_scale", "largest_z")
    types = {
        **dict.fromkeys(MOMENTS, pa.timestamp("ms", tz="UTC")),
        **dict.fromkeys(numbers, pa.int64()),
        **dict.fromkeys(reals, pa.float64()),
        **{name: pa.float64() for name in columns if name.startswith(("logit_", "p_"))},
    }
    return pa.schema([(MOMENTS.get(name, name), types.get(name, pa.string())) for name in columns])
