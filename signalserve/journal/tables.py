"""The journal's tables as they are read row by row: all of one, or a span of it, in short reads."""

import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

BATCH: Final = 10_000
"""Rows of one read."""


@dataclass(frozen=True)
class Table:
    """columns: name -> SQL.  source: what stands after FROM.  key: SQL that tells rows apart, and that they are ordered
    by.  lowest: below every key.  time: the column that a span of time is about, in ms since the epoch."""

    columns: Mapping[str, str]
    source: str
    key: tuple[str, ...]
    lowest: tuple[str | int, ...]
    time: str

    @property
    def select(self) -> str:
        """Without a condition."""
        return f"SELECT {', '.join(self.columns.values())} FROM {self.source}"  # noqa: S608


_OF_PREDICTIONS: Final = (
    *("row_id", "prediction_id", "request_id", "endpoint", "symbol", "as_of_ms", "received_ms", "time_ms"),
    *("arm", "answered", "mode", "assigned", "degraded", "left_out", "config_sha256", "bundle_sha256", "version"),
    *("pool", "logit_down", "logit_neutral", "logit_up", "p_down", "p_neutral", "p_up", "temperature"),
    *("off_scale", "largest_z", "latency_ms", "warnings", "close", "feed", "horizon_ms", "band"),
    *("outcome", "outcome_close", "outcome_source", "outcome_at_ms"),
)
_ELSEWHERE: Final = {
    "config_sha256": "configs.sha256",
    "bundle_sha256": "bundles.sha256",
    "version": "bundles.version",
}

PREDICTIONS: Final = Table(
    columns={name: _ELSEWHERE.get(name, f"predictions.{name}") for name in _OF_PREDICTIONS},
    source="predictions LEFT JOIN bundles USING (bundle_id) LEFT JOIN configs USING (config_id)",
    key=("predictions.row_id",),
    lowest=(0,),
    time="time_ms",
)
"""One row for each arm of each prediction, with the sha256 of the configuration and of the model, and its version."""

CONFIGS: Final = Table(
    columns={name: name for name in ("sha256", "first_ms", "text")},
    source="configs",
    key=("config_id",),
    lowest=(0,),
    time="first_ms",
)
"""Each serving.yaml that was in force. first_ms, text: null where predictions name it and no worker told it."""

EVENTS: Final = Table(
    columns={name: name for name in ("event_id", "at_ms", "event", "who", "why", "content")},
    source="events",
    key=("at_ms", "rowid"),
    lowest=(0, 0),
    time="at_ms",
)
"""Toggles, guardrail events and configurations as workers took or refused them. content: JSON."""

CLOSES: Final = Table(
    columns={name: name for name in ("symbol", "at_ms", "feed", "close", "told_ms")},
    source="closes",
    key=("symbol", "at_ms", "feed"),
    lowest=("", 0, ""),
    time="at_ms",
)
"""Closing prices that callers brought, by when the bar closed."""

TABLES: Final = {"predictions": PREDICTIONS, "configs": CONFIGS, "events": EVENTS, "closes": CLOSES}


class Batches:
    """A table's rows with since_ms <= time < until_ms, by its columns: one list, even an empty one, for each read.

    Of those that were there when it was made; closes that are told meanwhile may be among them.
    """

    def __init__(
        self, connection: sqlite3.Connection, table: Table, since_ms: int | None = None, until_ms: int | None = None
    ) -> None:
        """since_ms, until_ms: None where there is no such end; with either, rows without a time are left out."""
        self._connection = connection
        self._table = table
        self._since_ms = since_ms
        self._until_ms = until_ms
        self._time = list(table.columns).index(table.time)
        [rows] = connection.execute(f"SELECT count(*) FROM {table.source}").fetchone()  # noqa: S608
        self._rows: int = rows
        backwards = ", ".join(f"{part} DESC" for part in table.key)
        self._highest: tuple[str | int, ...] | None = connection.execute(
            f"SELECT {self._key} FROM {table.source} ORDER BY {backwards} LIMIT 1"  # noqa: S608
        ).fetchone()

    def __len__(self) -> int:
        """How many lists there are, as long as nothing is deleted meanwhile."""
        return -(-self._rows // BATCH)

    def __iter__(self) -> Iterator[list[tuple[Any, ...]]]:
        table, parts = self._table, len(self._table.key)
        marks = ", ".join("?" * parts)
        # one short read after the other: during a long one the watcher could not fold its WAL into the database
        read = (
            f"SELECT {self._key}, {', '.join(table.columns.values())} FROM {table.source}"  # noqa: S608
            f" WHERE ({self._key}) > ({marks}) AND ({self._key}) <= ({marks}) ORDER BY {self._key} LIMIT {BATCH}"
        )
        reached = table.lowest
        while self._highest and (found := self._connection.execute(read, (*reached, *self._highest)).fetchall()):
            reached = found[-1][:parts]
            yield [row for row in (one[parts:] for one in found) if self._is_inside(row)]

    @property
    def _key(self) -> str:
        return ", ".join(self._table.key)

    def _is_inside(self, row: tuple[Any, ...]) -> bool:
        if self._since_ms is None and self._until_ms is None:
            return True
        time_ms = row[self._time]
        return (
            time_ms is not None
            and (self._since_ms is None or time_ms >= self._since_ms)
            and (self._until_ms is None or time_ms < self._until_ms)
        )
