"""Closed bars from a crypto exchange through ccxt: what `signalserve predict --exchange` and a bot send.

    exchange = open_exchange("kraken")
    candles = recent_candles(exchange, market_of(exchange, "BTC-USD"), 1060)

The data's way: candles page by page, oldest first; from public trades what those don't reach back to; gaps filled as an
exchange would; checked by the rule the service has for a request.

Tested with ccxt's own client against stand-ins that speak Kraken's and Coinbase's public API on this machine, not
against the exchanges themselves.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from signalserve.candles import FIELDS, INTERVAL_MS, Candles, Floats, check_candles, from_table, iso, last, to_rows
from signalserve.errors import BadCandles, ConfigError, DataError
from signalserve.words import listed

LONGEST_GAP: Final = 15
"""Bars in a row without a trade: the horizon of the reference models' labels. A market that is silent for longer is
halted, or hardly one."""

LARGEST_QUIET_SHARE: Final = 0.1
"""Of bars without a trade, whether the exchange lists them or they are filled in here. A choice: the reference models
learned from markets that traded in every minute."""

WAY_OUT: Final = "take another exchange, or a file of candles (--candles FILE)"

LONGEST_DETAIL: Final = 160
"""Characters of ccxt's own words in an error: they may hold a whole page."""

RETRIES: Final = 2
RETRY_DELAY_MS: Final = 3000  # ccxt keeps to the exchange's rate between requests, but not between tries of one

_Trade = Mapping[str, Any]
"""ccxt's: timestamp in ms, price, amount in base units."""

Progress = Callable[[int, int], None]
"""Told how many bars have come, and of how many."""


def _unheard(came: int, total: int) -> None:
    """The progress that nobody asked for."""


class Exchange(Protocol):
    """What is used of a ccxt client."""

    id: str
    has: Mapping[str, Any]
    timeframes: Mapping[str, Any]
    markets: Mapping[str, Any]
    urls: dict[str, Any]
    options: dict[str, Any]
    enableRateLimit: bool  # noqa: N815

    def load_markets(self) -> Any: ...
    def fetch_time(self) -> int | None: ...
    def parse_timeframe(self, timeframe: str) -> int: ...
    def feature_value(self, symbol: str, methodName: str, paramName: str) -> Any: ...  # noqa: N803
    def fetch_ohlcv(self, symbol: str, timeframe: str, since: int, limit: int | None) -> list[list[Any]]: ...
    def fetch_trades(self, symbol: str, since: int, limit: int | None, params: Mapping[str, Any]) -> list[_Trade]: ...


def open_exchange(name: str, *, base_url: str | None = None) -> Exchange:
    """ccxt's client of an exchange, asking no faster than the exchange allows. Use one for all symbols.

    name: ccxt's, such as kraken or coinbase.  base_url: takes the place of each of its API's hosts, as a test's
    stand-in does.  Opens no connection.
    Raises ConfigError where ccxt is not installed, or knows no such exchange.
    """
    try:
        import ccxt
    except ModuleNotFoundError as error:
        raise ConfigError(f"candles from an exchange need {error.name}: pip install 'signalserve[exchange]'") from error
    if name not in ccxt.exchanges:
        close = get_close_matches(name.lower(), ccxt.exchanges, n=3) or ["kraken", "coinbase", "binance"]
        raise ConfigError(f"--exchange: expected a name that ccxt knows, such as {', '.join(close)}, got {name!r}")
    exchange: Exchange = getattr(ccxt, name)({"enableRateLimit": True})
    exchange.options.update(maxRetriesOnFailure=RETRIES, maxRetriesOnFailureDelay=RETRY_DELAY_MS)
    if base_url is not None:
        exchange.urls["api"] = _moved(exchange.urls["api"], base_url)
    return exchange


def market_of(exchange: Exchange, symbol: str, market: str | None = None) -> str:
    """The exchange's market for a symbol: BTC/USD for BTC-USD, unless another is named, such as BTC/USDT.

    Asks the exchange for its markets at the first call.
    Raises ConfigError where it has no such market, DataError where it can't be asked.
    """
    with _errors_in_words(exchange):
        exchange.load_markets()
    if not exchange.markets:
        raise DataError(f"{exchange.id} lists no markets: see whether this machine reaches it, or ask again later")
    wanted = market or symbol.replace("-", "/")
    if wanted in exchange.markets:
        return wanted
    base = wanted.partition("/")[0]
    others = sorted((name for name in exchange.markets if name.startswith(f"{base}/")), key=len)
    advice = f"it has {listed(others)}: name one with --market" if others else "take another exchange"
    raise ConfigError(f"{exchange.id}: expected a market that it has, got {wanted}; {advice}")


def recent_candles(
    exchange: Exchange,
    market: str,
    n: int,
    *,
    interval_ms: int = INTERVAL_MS,
    now_ms: int | None = None,
    known: Candles | None = None,
    on_progress: Progress = _unheard,
) -> Candles:
    """The newest n closed bars of a market, oldest first, as `check_candles` wants them.

    market: as `market_of` gives it.  now_ms: by default the exchange's clock, or this machine's where it shows none.
    known: what an earlier call for n bars returned; only its last one and newer ones are asked for.
    A bar that the exchange leaves out, because nobody traded, has the close before it and no volume. None is added
    after the newest bar that came: a later one may only be late.
    Raises DataError where the exchange can't be asked or has too few bars, and where more than LONGEST_GAP in a row or
    LARGEST_QUIET_SHARE of them had no trade; ConfigError where it has no candles of this interval.
    """
    source = _Source(exchange, market, interval_ms, _timeframe(exchange, interval_ms))
    # Read before the bars are: one that closes in between has come unfinished.
    end = (source.clock_ms() if now_ms is None else now_ms) // interval_ms * interval_ms
    start = end - (n + LONGEST_GAP) * interval_ms  # a gap at the beginning is filled with a close from before it
    kept: _Rows = {}
    if known is not None and known.timestamp_ms[0] <= end - n * interval_ms and start <= known.timestamp_ms[-1]:
        kept = _rows(known)
        start = max(kept)  # once more: some exchanges still add trades to a bar that has just closed
    total = max(end - start, 0) // interval_ms
    came: _Rows = {}
    for rows in source.candle_pages(start, end):
        came |= rows
        on_progress(len(came), total)
    oldest = min(came, default=end)
    reaches_back = oldest - start <= LONGEST_GAP * interval_ms
    if not reaches_back:
        trades: list[_Trade] = []
        for page in source.trade_pages(start, oldest):
            trades += page
            on_progress(len(came) + (trades[-1]["timestamp"] - start) // interval_ms + 1, total)
        kept |= _rows(_bars(trades, interval_ms))
    candles = _checked(source, kept | came, n, end)
    if not reaches_back and now_ms is None:  # reading trades takes its time, and bars have closed meanwhile
        return recent_candles(exchange, market, n, interval_ms=interval_ms, known=candles)
    return candles


def bars_of_trades(times_ms: npt.NDArray[np.int64], prices: Floats, amounts: Floats, interval_ms: int) -> Candles:
    """The bars that trades make, one for each interval that has any.

    times_ms, prices, amounts: (n,), in order of time; an amount is in base units.
    """
    opening = times_ms // interval_ms * interval_ms
    first = np.flatnonzero(np.diff(opening, prepend=-1))  # of each bar; no time is negative
    final = np.append(first, len(opening))[1:] - 1
    return Candles(
        timestamp_ms=opening[first],
        open=prices[first],
        high=np.maximum.reduceat(prices, first),
        low=np.minimum.reduceat(prices, first),
        close=prices[final],
        volume=np.add.reduceat(amounts, first),
    )


def fill_gaps(candles: Candles, interval_ms: int) -> Candles:
    """A bar for each interval from the first to the last: where there was none, the close before it and no volume.

    candles: at least one, oldest first, on multiples of the interval.
    """
    times = candles.timestamp_ms
    grid = np.arange(times[0], times[-1] + interval_ms, interval_ms)
    newest = np.searchsorted(times, grid, side="right") - 1  # the bar at each time, or the last one before it
    filled = times[newest] != grid
    close = candles.close[newest]
    prices = {name: np.where(filled, close, getattr(candles, name)[newest]) for name in FIELDS[1:5]}
    return Candles(timestamp_ms=grid, **prices, volume=np.where(filled, 0.0, candles.volume[newest]))


# ---- what the exchange is asked

_Rows = dict[int, Sequence[Any]]
"""Opening time -> a row in the order of FIELDS: what comes twice stands once."""


@dataclass(frozen=True)
class _Source:
    """One market's bars of one interval. Every method raises DataError where the exchange can't be asked."""

    exchange: Exchange
    market: str
    interval_ms: int
    timeframe: str

    def __str__(self) -> str:
        return f"{self.exchange.id}, {self.market}"

    def clock_ms(self) -> int:
        """The exchange's, or this machine's where it shows none."""
        shown = None
        if self.exchange.has.get("fetchTime") is True:  # not where ccxt only emulates it
            with _errors_in_words(self.exchange):
                shown = self.exchange.fetch_time()
        return time.time_ns() // 1_000_000 if shown is None else shown

    def candle_pages(self, start: int, end: int) -> Iterator[_Rows]:
        """The exchange's own candles that open in [start, end), oldest first, as many a page as it gives at once."""
        cap = self.exchange.feature_value(self.market, "fetchOHLCV", "limit")
        while start < end:
            left = (end - start) // self.interval_ms
            with _errors_in_words(self.exchange):
                rows = self.exchange.fetch_ohlcv(self.market, self.timeframe, start, min(left, cap) if cap else None)
            rows = [row for row in rows if row[0] >= start]
            page: _Rows = {row[0]: row for row in rows if row[0] < end}
            if page:
                yield page
            # An exchange that looks only so far on from `start` has nothing to show where nobody traded.
            start = rows[-1][0] + self.interval_ms if rows else start + min(left, cap or left) * self.interval_ms

    def trade_pages(self, start: int, end: int) -> Iterator[list[_Trade]]:
        """The public trades in [start, end), oldest first; none where the exchange only has newer ones."""
        from ccxt.base.errors import ArgumentsRequired, NotSupported

        since = start
        while since < end:
            with _errors_in_words(self.exchange):
                before = since - 1  # some exchanges give what comes after it, some what is at it too
                # ccxt asks Kraken from whole seconds on; Kraken itself reads nanoseconds.
                finer = {"since": str(before * 1_000_000)} if self.exchange.id == "kraken" else {}
                try:
                    trades = self.exchange.fetch_trades(self.market, before, None, finer)
                except (ArgumentsRequired, NotSupported):  # none at all, or none by time
                    return
            trades = [trade for trade in trades if trade["timestamp"] >= since]
            if since == start and (not trades or trades[0]["timestamp"] - start > LONGEST_GAP * self.interval_ms):
                return
            newest = trades[-1]["timestamp"] if trades else since
            if newest == since:
                raise DataError(f"{self}: expected trades after those of {iso(since)}, got none; {WAY_OUT}")
            # A page may end amid the trades of one millisecond: the next one begins with them again.
            if page := [trade for trade in trades if trade["timestamp"] < min(newest, end)]:
                yield page
            since = newest


def _timeframe(exchange: Exchange, interval_ms: int) -> str:
    """The exchange's word for the interval, such as 1m."""
    names = list(exchange.timeframes or {}) if exchange.has.get("fetchOHLCV") else []
    for name in names:
        if exchange.parse_timeframe(name) * 1000 == interval_ms:
            return name
    got = f"it has those of {', '.join(names)}" if names else "it has none"
    raise ConfigError(f"{exchange.id}: expected candles of {interval_ms // 1000} s, {got}; {WAY_OUT}")


@contextmanager
def _errors_in_words(exchange: Exchange) -> Iterator[None]:
    """ccxt's errors as a DataError of one line, with what to do."""
    from ccxt.base.errors import BaseError, DDoSProtection, NetworkError, RateLimitExceeded

    try:
        yield
    except (AttributeError, LookupError, TypeError, ValueError) as error:  # ccxt trusts an answer to have its form
        raise DataError(f"{exchange.id} sent what ccxt can't read: ask again later ({error})") from error
    except BaseError as error:
        words = f"{type(error).__name__}: {' '.join(str(error).split())}"
        detail = words if len(words) <= LONGEST_DETAIL else words[: LONGEST_DETAIL - 1] + "…"
        if isinstance(error, RateLimitExceeded | DDoSProtection):
            advice = "was asked too often from this address: wait a few minutes, and use one bot for all symbols"
        elif isinstance(error, NetworkError):
            advice = "gave no answer: see whether this machine reaches it, or ask again later"
        else:
            advice = f"can't do what was asked: {WAY_OUT}"
        raise DataError(f"{exchange.id} {advice} ({detail})") from error


def _moved(urls: Any, base_url: str) -> Any:
    """ccxt's nested addresses with base_url in place of each scheme and host."""
    if isinstance(urls, dict):
        return {name: _moved(url, base_url) for name, url in urls.items()}
    return base_url + urlsplit(urls).path


# ---- what it gave, made whole


def _rows(candles: Candles) -> _Rows:
    return {int(row[0]): row for row in to_rows(candles)}


def _bars(trades: Sequence[_Trade], interval_ms: int) -> Candles:
    times = np.array([trade["timestamp"] for trade in trades], dtype=np.int64)
    prices, amounts = (np.array([trade[name] for trade in trades], dtype=np.float64) for name in ("price", "amount"))
    return bars_of_trades(times, prices, amounts, interval_ms)


def _checked(source: _Source, rows: _Rows, n: int, end: int) -> Candles:
    """The last n bars of the rows, gaps filled. Raises DataError where they are too few, too patchy or no market's."""

    def wrong(expected: str, got: str) -> DataError:
        return DataError(f"{source}: expected {expected}, got {got}; {WAY_OUT}")

    if not rows:
        raise wrong(f"at least {n:,} closed bars", "none")
    interval_ms = source.interval_ms
    try:
        # as float64, where a None becomes a NaN that the check refuses
        candles = from_table(np.array([rows[opening] for opening in sorted(rows)], dtype=np.float64).T)
        whole = fill_gaps(candles, interval_ms)
        traded = whole.timestamp_ms[whole.volume != 0]
        # between the bar before the first and the one that is open now
        opened = np.concatenate([whole.timestamp_ms[:1] - interval_ms, traded, [end]])
        gaps = np.diff(opened) // interval_ms - 1
        if gaps.max() > LONGEST_GAP:
            after = iso(opened[gaps.argmax()])
            raise wrong(f"at most {LONGEST_GAP} bars in a row without a trade", f"{gaps.max()} after {after}")
        quiet = len(whole) - len(traded)
        if quiet > LARGEST_QUIET_SHARE * len(whole):
            share = f"{LARGEST_QUIET_SHARE:.0%} of the bars"
            raise wrong(f"at most {share} without a trade", f"{quiet:,} of {len(whole):,}")
        if len(whole) < n:
            since = iso(whole.timestamp_ms[0])
            raise wrong(f"at least {n:,} closed bars", f"{len(whole):,}: it shows none from before {since}")
        check_candles(whole, interval_ms, n)
    except BadCandles as error:
        raise wrong(error.expected, error.got) from error
    return last(whole, n)
