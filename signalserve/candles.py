"""Bars of a market: what a candle is, what a usable series of them is."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Candles:
    """n closed bars, oldest first; every array has shape (n,).

    timestamp_ms: int64, the bar's opening time in milliseconds since the epoch, UTC.
    open, high, low, close: float64, in the quote currency.  volume: float64, in base units.
    """

    timestamp_ms: npt.NDArray[np.int64]
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats

    def __len__(self) -> int:
        return len(self.timestamp_ms)
