"""Windows of bars in every form a request may take."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import orjson

from signalserve.candles import Candles, to_rows
from signalserve.features import COLUMNS, MIN_CANDLES, compute_features

JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Case:
    """One window and the bars it came from. values: (60, 72) float32, computed from exactly those bars."""

    symbol: str
    rows: list[list[float]]
    values: np.ndarray

    @cached_property
    def forms(self) -> dict[str, tuple[bytes, dict[str, str]]]:
        """Every form as body and headers, made once."""
        contents = {"candles": self.candles(), "by name": self.by_name(), "by position": self.by_position()}
        return {name: (orjson.dumps(content), JSON) for name, content in contents.items()} | {"npy": self.npy()}

    def candles(self) -> dict[str, Any]:
        return {"symbol": self.symbol, "candles": self.rows}

    def by_name(self) -> dict[str, Any]:
        return {"symbol": self.symbol, "features": {c: self.values[:, i].tolist() for i, c in enumerate(COLUMNS)}}

    def by_position(self) -> dict[str, Any]:
        return {"symbol": self.symbol, "features": self.values.tolist()}

    def npy(self) -> tuple[bytes, dict[str, str]]:
        return npy_of(self.values), {"Content-Type": "application/x-npy", "X-Symbol": self.symbol}


def npy_of(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def last_windows(symbol: str, bars: Candles, count: int) -> Iterator[Case]:
    """The last `count` windows of the bars, each from its own 1,060 candles."""
    rows = to_rows(bars)
    for end in range(len(rows) - count + 1, len(rows) + 1):
        start = end - MIN_CANDLES
        part = Candles(*(getattr(bars, name)[start:end] for name in bars.__dataclass_fields__))
        values = np.ascontiguousarray(compute_features(part)[-60:], dtype=np.float32)
        yield Case(symbol, rows[start:end], values)
