"""Whether predictions come, and whether time moves in them: a feed that stands still is asked about again and again.

What stands still is the newest closing time of a bar (`as_of`) while predictions of it keep coming. Those of older bars
say nothing about it: a backfill, or a caller who replays a bar among live ones, neither moves it nor shows it stand.
"""

import math
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from signalserve.watcher.rendered import JournalCollector

TAIL: Final = 50_000
"""Rows at the end of the table that one refresh looks at, at most: the first one has seen none of them."""


@dataclass(frozen=True)
class Fresh:
    """Of one symbol, by the workers' clocks, seconds since the epoch; NaN where there is nothing to tell.

    received: when the newest prediction came.  as_of: the newest closing time of a bar.  still: seconds between the
    first and the last prediction of that bar, 0 where there is one.
    """

    received: float = math.nan
    as_of: float = math.nan
    still: float = math.nan


class Freshness(JournalCollector):
    """Of each symbol that is served, on every prediction of it, also those that statistics leave out.

    A journal may hold symbols that nobody serves any more: their silence is no news, and they are not told.
    """

    def __init__(self, symbols: Iterable[str]) -> None:
        self._fresh: Mapping[str, Fresh] = dict.fromkeys(sorted(symbols), Fresh())
        self._seen = 0

    def refresh(self, connection: sqlite3.Connection) -> None:
        """Reads what came since the last time, TAIL rows at most, and the ends of an index. Raises sqlite3.Error."""
        [newest] = connection.execute("SELECT coalesce(max(row_id), 0) FROM predictions").fetchone()
        if newest < self._seen:  # the journal was begun anew
            self._fresh, self._seen = dict.fromkeys(self._fresh, Fresh()), 0
        came = dict(
            connection.execute(
                "SELECT symbol, max(received_ms) FROM predictions WHERE row_id > ? GROUP BY symbol",
                (max(self._seen, newest - TAIL),),
            )
        )
        self._fresh = {  # replaced as a whole: another thread reads it
            symbol: _later(before, came.get(symbol), _of_newest_bar(connection, symbol))
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
            "For how long predictions of the newest bar have kept coming without a newer one; 0 while it moves",
        )
        for symbol, fresh in self._fresh.items():
            received.add_metric([symbol], fresh.received)
            as_of.add_metric([symbol], fresh.as_of)
            still.add_metric([symbol], fresh.still)
        yield from (received, as_of, still)


def _of_newest_bar(connection: sqlite3.Connection, symbol: str) -> tuple[int, int, int] | None:
    """The newest bar's as_of, and when the first and the last of its predictions were received, all ms; None where
    nobody said. By the order in which they were taken in: the index holds no times of receipt."""
    [as_of_ms] = connection.execute(
        "SELECT max(as_of_ms) FROM predictions WHERE symbol = ? AND as_of_ms IS NOT NULL", (symbol,)
    ).fetchone()
    if as_of_ms is None:
        return None
    first_ms, last_ms = (
        connection.execute(
            f"SELECT received_ms FROM predictions WHERE symbol = ? AND as_of_ms = ? ORDER BY row_id {order} LIMIT 1",  # noqa: S608
            (symbol, as_of_ms),
        ).fetchone()[0]
        for order in ("ASC", "DESC")
    )
    return as_of_ms, first_ms, last_ms


def _later(before: Fresh, came_ms: int | None, newest_bar: tuple[int, int, int] | None) -> Fresh:
    """came_ms: the newest receipt since.  newest_bar: as `_of_newest_bar` has it."""
    receipts = [] if math.isnan(before.received) else [before.received]
    receipts += [] if came_ms is None else [came_ms / 1000]
    if newest_bar is None:
        return Fresh(max(receipts, default=math.nan))
    as_of_ms, first_ms, last_ms = newest_bar
    still_ms = max(0, last_ms - first_ms)  # two workers' lines may be taken in out of their order
    return Fresh(max([*receipts, last_ms / 1000]), as_of_ms / 1000, still_ms / 1000)


def _gauge(name: str, documentation: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, documentation, labels=["symbol"])
