"""What the bot of a drill sends: one symbol's bars, minute by minute, and what can be wrong with them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import orjson

from signalserve.candle_files import find_candle_files, read_candles
from signalserve.candles import INTERVAL_MS, Candles, iso
from signalserve.demo import demo_candles
from signalserve.errors import DataError
from signalserve.features import COLUMNS, MIN_CANDLES, WINDOW, compute_features

DAY: Final = 1440
VOLATILITY: Final = 3.0
GENERATED_BEFORE_NOW_MS: Final = 30 * 86_400_000
"""as_of may not be ahead of the clock, however long the drill's days take."""

Values = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Feed:
    """One symbol. features: (bars, 72).  first: the bar of minute 0.  stands_from: the minute whose bar is sent again
    from then on, in a feed that is frozen.
    """

    symbol: str
    candles: Candles
    features: Values
    first: int
    stands_from: int | None = None

    @property
    def minutes(self) -> int:
        """How many there are."""
        return len(self.candles) - self.first

    def request(self, minute: int) -> bytes:
        """What is asked at a minute, 0 and more, as JSON. Features by position, and the close: outcomes follow."""
        bar = self.first + (minute if self.stands_from is None else min(minute, self.stands_from))
        return orjson.dumps(
            {
                "symbol": self.symbol,
                "features": np.ascontiguousarray(self.features[bar - WINDOW + 1 : bar + 1]),
                "as_of": iso(self.candles.timestamp_ms[bar] + INTERVAL_MS),
                "close": float(self.candles.close[bar]),
            },
            option=orjson.OPT_SERIALIZE_NUMPY,
        )


Change = Callable[[Feed, int], Feed]
"""A feed and the minute from which on it is wrong -> the wrong one, to be asked from that minute on."""


def read_feeds(symbols: Sequence[str], folder: Path | None, minutes: int, until_ms: int | None) -> list[Feed]:
    """The last so many minutes of each symbol whose bars closed by until_ms; generated ones where there is no folder.

    Raises DataError for too few.
    """
    return [_feed(symbol, _candles(symbol, folder, minutes, until_ms), minutes) for symbol in symbols]


def frozen(feed: Feed, since: int) -> Feed:
    """The bot gets no new bar, and asks on about the last one."""
    return replace(feed, stands_from=since)


def volatile(feed: Feed, since: int) -> Feed:
    """Every return, range included, is VOLATILITY times what it was, in logarithms; volumes stay."""
    bars, at = feed.candles, feed.first + since
    base = float(bars.close[at - 1])
    prices = {
        name: np.where(np.arange(len(bars)) < at, values, base * (values / base) ** VOLATILITY)
        for name, values in ((name, getattr(bars, name)) for name in ("open", "high", "low", "close"))
    }
    return _feed(feed.symbol, replace(bars, **prices), feed.minutes)


def swapped(first: str, second: str) -> Change:
    """Two columns stand in each other's place."""
    order = np.arange(len(COLUMNS))
    i, j = COLUMNS.index(first), COLUMNS.index(second)
    order[[i, j]] = order[[j, i]]
    return lambda feed, _: replace(feed, features=np.ascontiguousarray(feed.features[:, order]))


def shuffled(feed: Feed, since: int) -> Feed:  # noqa: ARG001  # a Change
    """All columns stand in an order of their own, the same at every minute."""
    order = np.random.default_rng(0).permutation(len(COLUMNS))
    return replace(feed, features=np.ascontiguousarray(feed.features[:, order]))


def _candles(symbol: str, folder: Path | None, minutes: int, until_ms: int | None) -> Candles:
    wanted = MIN_CANDLES - 1 + minutes
    if folder is None:
        import time

        return demo_candles(symbol, wanted, end_ms=time.time_ns() // 1_000_000 - GENERATED_BEFORE_NOW_MS)
    files = find_candle_files(folder)
    if symbol not in files:
        raise DataError(f"{folder}: expected a file of candles of {symbol}, found {', '.join(files) or 'none'}")
    bars = read_candles(files[symbol])
    end = len(bars)
    if until_ms is not None:
        end = int(np.searchsorted(bars.timestamp_ms + INTERVAL_MS, until_ms, side="right"))
    if end < wanted:
        raise DataError(f"{files[symbol]}: expected {wanted:,} bars before the reference's own, got {end:,}; add bars")
    return Candles(*(getattr(bars, name)[end - wanted : end] for name in bars.__dataclass_fields__))


def _feed(symbol: str, bars: Candles, minutes: int) -> Feed:
    """minutes: the last of the bars, which are replayed; those before let the features settle."""
    return Feed(symbol, bars, np.asarray(compute_features(bars), dtype=np.float32), len(bars) - minutes)
