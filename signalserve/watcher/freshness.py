"""Whether predictions come, and whether time moves in them: a feed that stands still is asked about again and again.

What stands still is the newest closing time of a bar (`as_of`) while predictions of it keep coming. Those of older bars
say nothing about it: a backfill, or a caller who replays a bar among live ones, neither moves it nor shows it stand.
Nor do a few that come now and then: who looks twice within five minutes is no bot whose feed is frozen.
"""

import math
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from signalserve.watcher.rendered import JournalCollector

TAIL: Final = 50_000
"""Rows at the end of the table that one refresh looks at, at most: the first one has seen none of them."""

FEWEST: Final = 4
"""Predictions of one bar that keep coming, at least."""
GAP_MS: Final = 120_000
"""Between two that keep coming, and since the last, at most: bots ask every minute."""


@dataclass(frozen=True)
class Repeats:
    """Predictions of one bar that keep coming: count of them, and when the first and the last were received, ms."""

    as_of_ms: int
    first_ms: int
    last_ms: int
    count: int = 1

    def still_ms(self, now_ms: float) -> int:
        """For how long they have kept coming, 0 where they are too few or have ended."""
        goes_on = self.count >= FEWEST and now_ms - self.last_ms <= GAP_MS
        return self.last_ms - self.first_ms if goes_on else 0

    def and_one(self, received_ms: int) -> "Repeats":
        """With one more of the same bar; after a gap they begin anew."""
        if received_ms - self.last_ms > GAP_MS:
            return Repeats(self.as_of_ms, received_ms, received_ms)
        first_ms, last_ms = min(self.first_ms, received_ms), max(self.last_ms, received_ms)  # lines of two workers
        return Repeats(self.as_of_ms, first_ms, last_ms, self.count + 1)


@dataclass(frozen=True)
class Fresh:
    """Of one symbol, by the workers' clocks, seconds since the epoch; NaN where there is nothing to tell.

    received: when the newest prediction came.  as_of: the newest closing time of a bar.  still: for how
    long predictions of that bar have kept coming.  repeats: those predictions, None where none was read.
    """

    received: float = math.nan
    as_of: float = math.nan
    still: float = math.nan
    repeats: Repeats | None = None


class Freshness(JournalCollector):
    """Of each symbol that is served, on every prediction of it, also those that statistics leave out.

    A journal may hold symbols that nobody serves any more: their silence is no news, and they are not told.
    """

    def __init__(self, symbols: Iterable[str], clock: Callable[[], float] = time.time) -> None:
        """clock: the workers' one, seconds since the epoch."""
        self._fresh: Mapping[str, Fresh] = dict.fromkeys(sorted(symbols), Fresh())
        self._seen = 0
        self._clock = clock

    def refresh(self, connection: sqlite3.Connection) -> None:
        """Reads what came since the last time, TAIL rows at most, and the ends of an index. Raises sqlite3.Error."""
        [newest] = connection.execute("SELECT coalesce(max(row_id), 0) FROM predictions").fetchone()
        if newest < self._seen:  # the journal was begun anew
            self._fresh, self._seen = dict.fromkeys(self._fresh, Fresh()), 0
        after = max(self._seen, newest - TAIL)
        came = dict(
            connection.execute(
                "SELECT symbol, max(received_ms) FROM predictions WHERE row_id > ? GROUP BY symbol", (after,)
            )
        )
        now_ms = self._clock() * 1000
        self._fresh = {  # replaced as a whole: another thread reads it
            symbol: _later(before, came.get(symbol), _of_newest_bar(connection, symbol, after), now_ms)
            for symbol, before in self._fresh.items()
        }
        self._seen = newest

    def collect(self) -> Iterator[Metric]:
        received = _gauge(
            "signalserve_last_prediction_timestamp_seconds",
            "When the newest prediction was received, Unix time; NaN before the first",
        )
        as_of = _gauge(
            "signalserve_last_as_of_timestamp_seconds",
            "Newest closing time of a bar that was predicted from, Unix time; NaN where nobody said",
        )
        still = _gauge(
            "signalserve_as_of_still_seconds",
            "For how long predictions of the newest bar have kept coming without a newer one, four at least and none "
            "over two minutes after the one before; else 0",
        )
        for symbol, fresh in self._fresh.items():
            received.add_metric([symbol], fresh.received)
            as_of.add_metric([symbol], fresh.as_of)
            still.add_metric([symbol], fresh.still)
        yield from (received, as_of, still)


def _of_newest_bar(connection: sqlite3.Connection, symbol: str, after: int) -> tuple[int, int, list[int]] | None:
    """The newest bar's as_of, when the last of its predictions was received, and when each that was taken in after a
    row was, all ms; None where nobody said. The arms of one prediction share the time of its receipt."""
    [as_of_ms] = connection.execute(
        "SELECT max(as_of_ms) FROM predictions WHERE symbol = ? AND as_of_ms IS NOT NULL", (symbol,)
    ).fetchone()
    if as_of_ms is None:
        return None
    [last_ms] = connection.execute(
        "SELECT received_ms FROM predictions WHERE symbol = ? AND as_of_ms = ? ORDER BY row_id DESC LIMIT 1",
        (symbol, as_of_ms),
    ).fetchone()
    received_ms = connection.execute(
        "SELECT DISTINCT received_ms FROM predictions WHERE symbol = ? AND as_of_ms = ? AND row_id > ?",
        (symbol, as_of_ms, after),
    )
    return as_of_ms, last_ms, sorted(one for (one,) in received_ms)


def _later(before: Fresh, came_ms: int | None, newest_bar: tuple[int, int, list[int]] | None, now_ms: float) -> Fresh:
    """came_ms: the newest receipt since.  newest_bar: as `_of_newest_bar` has it."""
    receipts = [] if math.isnan(before.received) else [before.received]
    receipts += [] if came_ms is None else [came_ms / 1000]
    if newest_bar is None:
        return Fresh(max(receipts, default=math.nan))
    as_of_ms, last_ms, received_ms = newest_bar
    repeats = before.repeats if before.repeats and before.repeats.as_of_ms == as_of_ms else None
    for one in received_ms:
        repeats = repeats.and_one(one) if repeats else Repeats(as_of_ms, one, one)
    still_ms = repeats.still_ms(now_ms) if repeats else 0
    return Fresh(max([*receipts, last_ms / 1000]), as_of_ms / 1000, still_ms / 1000, repeats)


def _gauge(name: str, documentation: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, documentation, labels=["symbol"])
