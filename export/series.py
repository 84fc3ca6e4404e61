"""Candles or ready features of one symbol -> the rows that a model reads, with times and closes, checked once."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from export.feature_files import find_feature_files, read_features
from export.labels import direction_labels
from export.split import Part
from signalserve.bundle import Span
from signalserve.candle_files import find_candle_files, read_candles
from signalserve.candles import Candles, iso
from signalserve.errors import DataError
from signalserve.features import COLUMNS, MIN_CANDLES, WINDOW, compute_features

Floats = npt.NDArray[np.float64]
Times = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Source:
    """A folder of candle files, or of ready feature files."""

    folder: Path
    kind: Literal["bars", "features"]

    def files(self) -> dict[str, Path]:
        """Symbol -> file. Raises DataError where there is none."""
        return find_candle_files(self.folder) if self.kind == "bars" else find_feature_files(self.folder)

    def file_of(self, symbol: str) -> Path:
        files = self.files()
        if symbol not in files:
            raise DataError(f"{self.folder}: expected a file of {self.kind} of {symbol}, found {', '.join(files)}")
        return files[symbol]


@dataclass(frozen=True)
class Series:
    """One symbol's rows, a bar each, oldest first, without gaps.

    rows: (n, features), raw, in the model's column order.  times_ms: (n,), the bars' opening times, UTC; None where
    the file has none.  close: (n,), quote currency; None likewise.  first_row: the first whose features have settled
    as they will have in the service.
    """

    symbol: str
    path: Path
    interval_ms: int
    columns: tuple[str, ...]
    rows: Floats
    times_ms: Times | None
    close: Floats | None
    first_row: int

    def __len__(self) -> int:
        return len(self.rows)

    def labels(self, horizon: int, band: float) -> npt.NDArray[np.int64]:
        """`direction_labels` of every bar, (n,). Raises DataError where the file has no closes."""
        if self.close is None:
            raise DataError(f"{self.path}: expected a column of closes, without which there are no labels; add `close`")
        if horizon >= len(self):
            raise DataError(f"{self.path}: expected more than {horizon} bars for labels so far ahead, got {len(self)}")
        return direction_labels(self.close, horizon, band)

    def times(self) -> Times:
        """The bars' opening times. Raises DataError where the file has none."""
        if self.times_ms is None:
            raise DataError(
                f"{self.path}: has no column of times, so that nobody can tell which bars a model has seen; "
                "add `timestamp`"
            )
        return self.times_ms

    def span_of(self, part: Part) -> Span:
        """Every bar that a window or a label of this part touches."""
        times, bars = self.times(), part.bars
        return Span(start=iso(times[bars.start]), end=iso(times[bars.stop - 1]), bars=len(bars))


def read_series(source: Source, symbol: str, columns: Sequence[str], interval_ms: int) -> Series:
    """Raises DataError for a file that is missing, has gaps or another interval, or lacks a column of the model's."""
    path = source.file_of(symbol)
    if source.kind == "features":
        return _from_features(path, symbol, columns, interval_ms)
    foreign = [column for column in columns if column not in COLUMNS]
    if foreign:
        raise DataError(
            f"{path}: the model reads {', '.join(foreign[:5])}{' …' if len(foreign) > 5 else ''}, which candles do not "
            "give; pass a folder of ready features with --features"
        )
    candles, features = _computed(path, interval_ms)
    order = [COLUMNS.index(column) for column in columns]
    rows = features if order == list(range(len(COLUMNS))) else features[:, order]
    # the first window is the first that a request of candles could send
    first_row = MIN_CANDLES - WINDOW
    if len(candles) <= first_row:
        raise DataError(f"{path}: expected more than {first_row} bars, until which features settle, got {len(candles)}")
    return Series(symbol, path, interval_ms, tuple(columns), rows, candles.timestamp_ms, candles.close, first_row)


@cache
def _computed(path: Path, interval_ms: int) -> tuple[Candles, Floats]:
    """Two generations read one symbol's bars: the features are computed once."""
    candles = read_candles(path, interval_ms=interval_ms)
    return candles, compute_features(candles)


def _from_features(path: Path, symbol: str, columns: Sequence[str], interval_ms: int) -> Series:
    rows, times, close = read_features(path, columns)
    if times is not None and (np.diff(times) != interval_ms).any():
        row = int(np.argmax(np.diff(times) != interval_ms)) + 1
        raise DataError(
            f"{path}: expected a row every {interval_ms / 1000:g} s, got {(times[row] - times[row - 1]) / 1000:g} s "
            f"before row {row} ({iso(times[row])}); mend the file or cut it at the gap"
        )
    bad: npt.NDArray[np.bool_] = np.logical_not(np.isfinite(rows).all(axis=1))  # (n,)
    first_row = int(np.argmin(bad)) if not bad.all() else len(rows)  # rows of a warm-up have no features yet
    if bad[first_row:].any() or first_row == len(rows):
        row = first_row + int(np.argmax(bad[first_row:])) if first_row < len(rows) else len(rows) - 1
        column = columns[int(np.argmin(np.isfinite(rows[row])))]  # in the last row, where no warm-up excuses it
        raise DataError(
            f"{path}: expected finite numbers after the warm-up, got {column} = NaN or infinity in row {row}"
        )
    largest = float(np.abs(rows[first_row:]).max())
    if largest > float(np.finfo(np.float32).max):
        raise DataError(f"{path}: expected features within ±3.4e38, which is as far as float32 goes, got {largest:g}")
    if close is not None and not (np.isfinite(close).all() and (close > 0).all()):
        raise DataError(f"{path}: expected finite closes above 0")
    return Series(symbol, path, interval_ms, tuple(columns), rows, times, close, first_row)
