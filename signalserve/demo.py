"""Generated one-minute candles for demonstrations and tests: like a market's, from no market.

Returns follow a GARCH(1,1) recursion with heavy tails, so volatility comes in clusters; volume rises with the
move and with the volatility. The scales are those of Binance's perpetuals in May 2025 (annualised volatility
38 % for BTC, 78 % for ETH and SOL; a one-minute kurtosis of 10). No model is trained or judged on these.
"""

import time
import zlib
from dataclasses import dataclass
from math import sqrt
from typing import Final

import numpy as np
import numpy.typing as npt

from signalserve.candles import INTERVAL_MS, Candles, Floats


@dataclass(frozen=True)
class _Market:
    """What a symbol's bars look like."""

    price: float  # level of the first bar, quote currency
    volatility: float  # deviation of a one-minute return, no unit
    volume: float  # median of a minute, base units
    decimals: int  # of a price: 1 is a tick of 0.1


MARKETS: Final = {
    "BTC-USD": _Market(price=104_000, volatility=5.3e-4, volume=70, decimals=1),
    "ETH-USD": _Market(price=2_500, volatility=1.08e-3, volume=2_700, decimals=2),
    "SOL-USD": _Market(price=165, volatility=1.05e-3, volume=9_700, decimals=2),
}
OTHER_MARKET: Final = _Market(price=100, volatility=1e-3, volume=1_000, decimals=2)

# Weights of the last squared shock and the last variance: persistence 0.97 is a half-life of 23 minutes.
SHOCK_WEIGHT: Final = 0.12
MEMORY_WEIGHT: Final = 0.85
TAIL_FREEDOM: Final = 6.0  # degrees of freedom of the t-distributed shocks
LARGEST_VARIANCE: Final = 25.0  # in units of the usual one: a minute moves by a few per cent at most


def demo_candles(symbol: str, n: int = 1200, *, end_ms: int | None = None, seed: int | None = None) -> Candles:
    """n generated one-minute bars that pass `check_candles`, the same for the same symbol and seed.

    end_ms: opening time of the last bar, rounded down to its minute; by default the last closed minute's.
    seed: another number is another market; None is the symbol's own.
    Raises ValueError for n < 1.
    """
    if n < 1:
        raise ValueError(f"n: expected at least 1 bar, got {n}")
    market = MARKETS.get(symbol, OTHER_MARKET)
    # crc32 rather than hash(), which differs from one process to the next.
    draw = np.random.default_rng(zlib.crc32(f"{symbol} {seed}".encode()))
    shocks = draw.standard_t(TAIL_FREEDOM, n) / sqrt(TAIL_FREEDOM / (TAIL_FREEDOM - 2))
    variances = _variances(shocks)
    returns = market.volatility * np.sqrt(variances) * shocks
    candles = _bars(market, returns, variances, draw)
    last_ms = time.time_ns() // 1_000_000 - INTERVAL_MS if end_ms is None else end_ms
    return Candles(_times(last_ms, n), *candles)


def _times(last_ms: int, n: int) -> npt.NDArray[np.int64]:
    """n opening times a minute apart, (n,), the last in the minute of last_ms."""
    last_minute = last_ms // INTERVAL_MS
    return np.arange(last_minute - n + 1, last_minute + 1, dtype=np.int64) * INTERVAL_MS


def _variances(shocks: Floats) -> Floats:
    """GARCH(1,1) variances of the shocks, (n,), in units of the long-run variance."""
    variances = np.empty_like(shocks)
    variance = 1.0
    for row, shock in enumerate(shocks.tolist()):
        variances[row] = variance
        variance *= SHOCK_WEIGHT * shock * shock + MEMORY_WEIGHT
        variance = min(variance + 1 - SHOCK_WEIGHT - MEMORY_WEIGHT, LARGEST_VARIANCE)
    return variances


def _bars(
    market: _Market, returns: Floats, variances: Floats, draw: np.random.Generator
) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """open, high, low, close and volume, each (n,), from the returns and their variances."""
    n, tick = len(returns), 10.0**-market.decimals
    close = np.maximum(np.round(market.price * np.exp(np.cumsum(returns)), market.decimals), 2 * tick)
    open_ = np.concatenate([[market.price], close[:-1]])

    # A minute's reach beyond its open and close is of the size of its volatility.
    spread = market.volatility * np.sqrt(variances)
    above, below = np.abs(draw.normal(scale=0.4, size=(2, n))) * spread
    top, bottom = np.maximum(open_, close), np.minimum(open_, close)
    high = np.maximum(np.round(top * (1 + above), market.decimals), top)
    low = np.clip(np.round(bottom * (1 - below), market.decimals), tick, bottom)

    size = np.abs(returns) / market.volatility
    logs = 0.5 * np.log(variances) + 0.45 * size + draw.normal(scale=0.55, size=n) - 0.1
    volume = np.round(market.volume * np.exp(np.minimum(logs, 5.0)), 3)
    return open_, high, low, close, volume
