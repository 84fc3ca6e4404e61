"""What is asked of the journal. Nothing here writes.

All but `standings` and `rows` are answered from one end of an index, however many rows there are. Functions take any
connection to a journal: `open_journal`'s own, or the watcher's.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson

from signalserve.errors import JournalError
from signalserve.journal import database_of
from signalserve.journal.lines import EventLine
from signalserve.journal.outcomes import OVERDUE_MS
from signalserve.journal.schema import VERSION
from signalserve.journal.spool import SUFFIX

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

BATCH: Final = 10_000
"""Rows that `Rows` gives at once."""

COLUMNS: Final = (
    *("row_id", "prediction_id", "request_id", "endpoint", "symbol", "as_of_ms", "received_ms", "time_ms"),
    *("arm", "answered", "mode", "assigned", "degraded", "left_out", "config_sha256", "bundle_sha256", "version"),
    *("pool", "logit_down", "logit_neutral", "logit_up", "p_down", "p_neutral", "p_up", "temperature"),
    *("latency_ms", "warnings", "close", "horizon_ms", "band"),
    *("outcome", "outcome_close", "outcome_source", "outcome_at_ms"),
)
"""Of a row as `tail` and `rows` give it: `predictions` in schema.py, with the sha256 of the configuration and of the
model, and the model's version."""


@dataclass(frozen=True)
class Matured:
    """Predictions whose outcome is known, in time order.

    probabilities: (n, 3).  outcomes: (n,), 0 … 2.  time_ms: (n,), ascending.  horizon_ms: how far their labels look
    ahead, the furthest where they differ; None where nobody knows it of any.
    """

    probabilities: Floats
    outcomes: Integers
    time_ms: Integers
    horizon_ms: int | None


@dataclass(frozen=True)
class Said:
    """Predictions as they were made, in time order.

    probabilities: (n, 3).  raw_logits: (n, 3), NaN where there is none: of a pool all, of two classes NEUTRAL's.
    time_ms: (n,), ascending.
    """

    probabilities: Floats
    raw_logits: Floats
    time_ms: Integers

    @property
    def confidence(self) -> Floats:
        """The largest probability of each, (n,)."""
        largest: Floats = self.probabilities.max(axis=1, initial=0.0)
        return largest


@dataclass(frozen=True)
class Standing:
    """How many predictions of one symbol and arm there are, and what became of them.

    left_out: reason -> rows that statistics leave out.  labelled: of all rows, those with an outcome.  overdue: those
    that should have one by now.
    """

    symbol: str
    arm: str
    rows: int
    left_out: dict[str, int]
    labelled: int
    overdue: int
    first_ms: int
    last_ms: int

    @property
    def counted(self) -> int:
        """Rows that statistics count."""
        return self.rows - sum(self.left_out.values())

    @property
    def waiting(self) -> int:
        """Rows without an outcome, the overdue among them."""
        return self.rows - self.labelled


# ---- opening


def open_journal(folder: Path) -> sqlite3.Connection:
    """A connection that cannot write. The watcher may write meanwhile.

    Raises JournalError where there is no journal, or none that this version can read; it says what to do.
    """
    path = database_of(folder)
    if not path.exists():
        raise JournalError(
            f"{path}: no journal here yet: start the service, which makes it, or name another folder with --journal"
        )
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        [version] = connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.Error as error:
        raise JournalError(
            f"{path}: cannot be read as a journal: {error}; may you read it, and its folder, where SQLite keeps two "
            "files beside it?"
        ) from None
    if version == VERSION:
        return connection
    connection.close()
    if version > VERSION:
        raise JournalError(
            f"{path}: has schema version {version}, and this signalserve knows {VERSION}: a newer one wrote it; "
            "update signalserve"
        )
    raise JournalError(
        f"{path}: has schema version {version}, expected {VERSION}: start the service once, whose watcher brings an "
        "older journal up to date"
    )


# ---- for statistics


def arms(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    """Every (symbol, arm) of which something counts, sorted."""
    return [
        (symbol, arm)
        for symbol in _distinct(connection, "SELECT symbol FROM predictions WHERE symbol > ?", "symbol")
        for arm in _distinct(connection, "SELECT arm FROM predictions WHERE symbol = ? AND arm > ?", "arm", symbol)
    ]


def _distinct(connection: sqlite3.Connection, sql: str, column: str, *given: str) -> Iterator[str]:
    """DISTINCT would read the whole index; this jumps in it from each value to the next."""
    query, last = f"{sql} AND left_out IS NULL ORDER BY {column} LIMIT 1", ""
    while found := connection.execute(query, (*given, last)).fetchone():
        last = found[0]
        yield last


def matured(connection: sqlite3.Connection, symbol: str, arm: str, most: int) -> Matured:
    """The last `most` predictions that count and have an outcome."""
    found = connection.execute(
        "SELECT p_down, p_neutral, p_up, outcome, time_ms, horizon_ms FROM predictions"
        " WHERE symbol = ? AND arm = ? AND left_out IS NULL AND outcome IS NOT NULL ORDER BY time_ms DESC LIMIT ?",
        (symbol, arm, most),
    ).fetchall()[::-1]
    table = np.array(found, dtype=np.float64).reshape(-1, 6)  # a null becomes NaN
    horizons = table[~np.isnan(table[:, 5]), 5]
    return Matured(
        probabilities=table[:, :3],
        outcomes=table[:, 3].astype(np.int64),
        time_ms=table[:, 4].astype(np.int64),
        horizon_ms=int(horizons.max()) if len(horizons) else None,
    )


def last_predictions(connection: sqlite3.Connection, symbol: str, arm: str, most: int) -> Said:
    """The last `most` predictions that count."""
    found = connection.execute(
        "SELECT p_down, p_neutral, p_up, logit_down, logit_neutral, logit_up, time_ms FROM predictions"
        " WHERE symbol = ? AND arm = ? AND left_out IS NULL ORDER BY time_ms DESC LIMIT ?",
        (symbol, arm, most),
    ).fetchall()[::-1]
    table = np.array(found, dtype=np.float64).reshape(-1, 7)
    return Said(table[:, :3], table[:, 3:6], table[:, 6].astype(np.int64))


def base_rates(connection: sqlite3.Connection, symbol: str, arm: str) -> Floats | None:
    """The class shares that were known before: when the model behind the arm's last prediction was made, (3,).

    Of a pool its members', by their weights. None where there is no prediction, or one model does not say.
    """
    row = connection.execute(
        "SELECT bundle_id, pool FROM predictions WHERE symbol = ? AND arm = ? AND left_out IS NULL"
        " ORDER BY time_ms DESC LIMIT 1",
        (symbol, arm),
    ).fetchone()
    if row is None:
        return None
    bundle_id, pool = row
    if pool is None:
        return _rates(connection, "bundle_id", bundle_id)
    members = orjson.loads(pool)["members"]
    rates = [_rates(connection, "sha256", member["sha256"]) for member in members]
    known = [one for one in rates if one is not None]
    if len(known) < len(members):
        return None
    return np.average(known, axis=0, weights=[member["weight"] for member in members])


def _rates(connection: sqlite3.Connection, column: str, value: int | str) -> Floats | None:
    row = connection.execute(f"SELECT base_rates FROM bundles WHERE {column} = ?", (value,)).fetchone()  # noqa: S608
    shares = orjson.loads(row[0]) if row is not None and row[0] is not None else None
    return None if shares is None else np.array(shares, dtype=np.float64)


# ---- for people

_ELSEWHERE: Final = {
    "config_sha256": "configs.sha256",
    "bundle_sha256": "bundles.sha256",
    "version": "bundles.version",
}
_SELECT: Final = (
    f"SELECT {', '.join(_ELSEWHERE.get(name, f'predictions.{name}') for name in COLUMNS)} FROM predictions"  # noqa: S608
    " LEFT JOIN bundles USING (bundle_id) LEFT JOIN configs USING (config_id)"
)


def tail(
    connection: sqlite3.Connection,
    n: int,
    *,
    symbol: str | None = None,
    arm: str | None = None,
    after_row_id: int | None = None,
) -> list[dict[str, Any]]:
    """The last n rows in the order they were stored; with after_row_id, the first n that follow that one. By COLUMNS.

    A symbol or arm that is rare is searched for through all rows.
    """
    order = "DESC" if after_row_id is None else "ASC"
    found = connection.execute(
        f"{_SELECT} WHERE row_id > :after AND (:symbol IS NULL OR predictions.symbol = :symbol)"
        f" AND (:arm IS NULL OR arm = :arm) ORDER BY row_id {order} LIMIT :n",
        {"after": after_row_id or 0, "symbol": symbol, "arm": arm, "n": n},
    ).fetchall()
    return [dict(zip(COLUMNS, row, strict=True)) for row in (found[::-1] if after_row_id is None else found)]


@dataclass(frozen=True)
class Rows:
    """The rows of a span of time. row_ids: those to look at.  since_ms, until_ms: of time_ms, the latter excluded."""

    connection: sqlite3.Connection
    row_ids: range
    since_ms: int | None
    until_ms: int | None

    def __len__(self) -> int:
        """How many lists iterating gives."""
        return len(self.row_ids[::BATCH])

    def __iter__(self) -> Iterator[list[tuple[Any, ...]]]:
        """Values by COLUMNS: one list, even an empty one, for each BATCH of row_ids."""
        # one short read after the other: during a long one the watcher could not fold its WAL into the database
        for first in self.row_ids[::BATCH]:
            yield self.connection.execute(
                f"{_SELECT} WHERE row_id BETWEEN :first AND :last AND (:since IS NULL OR time_ms >= :since)"
                " AND (:until IS NULL OR time_ms < :until) ORDER BY row_id",
                {
                    "first": first,
                    "last": min(first + BATCH, self.row_ids.stop) - 1,
                    "since": self.since_ms,
                    "until": self.until_ms,
                },
            ).fetchall()


def rows(connection: sqlite3.Connection, since_ms: int | None = None, until_ms: int | None = None) -> Rows:
    """All rows with since_ms <= time_ms < until_ms that are there now, in the order they were stored.

    Looks at the whole table: a time alone has no index, and who exports may wait for seconds.
    """
    lowest, highest = connection.execute(
        "SELECT (SELECT min(row_id) FROM predictions), (SELECT max(row_id) FROM predictions)"
    ).fetchone()
    return Rows(connection, range(lowest or 0, (highest or -1) + 1), since_ms, until_ms)


def events(connection: sqlite3.Connection, n: int, kinds: Sequence[str] | None = None) -> list[EventLine]:
    """The last n toggles, guardrail events and configurations, the earliest first. kinds: only of these."""
    chosen = "" if kinds is None else f"WHERE event IN ({', '.join('?' * len(kinds))})"
    found = connection.execute(
        f"SELECT event_id, at_ms, event, who, why, content FROM events {chosen} ORDER BY at_ms DESC LIMIT ?",  # noqa: S608
        (*(kinds or ()), n),
    ).fetchall()
    return [
        EventLine(event_id, at_ms, event, who, why, orjson.loads(content))
        for event_id, at_ms, event, who, why, content in reversed(found)
    ]


def toggles(connection: sqlite3.Connection, n: int) -> list[EventLine]:
    """The last n changes that an operator made to `serving.yaml`, the earliest first."""
    return events(connection, n, ("toggle",))


def standings(connection: sqlite3.Connection, now_ms: int) -> list[Standing]:
    """What became of the predictions of each symbol and arm, sorted. Reads the whole table.

    now_ms: by which `outcomes.overdue` tells what should have an outcome.
    """
    found = connection.execute(
        """
        SELECT symbol, arm, left_out, count(*), count(outcome),
            count(*) FILTER (
                WHERE outcome IS NULL AND outcome_source IS NULL AND band IS NOT NULL AND close IS NOT NULL
                    AND as_of_ms + horizon_ms <= ?
            ),
            min(time_ms), max(time_ms)
        FROM predictions GROUP BY symbol, arm, left_out ORDER BY symbol, arm, left_out
        """,
        (now_ms - OVERDUE_MS,),
    )
    return [_standing(pair, list(parts)) for pair, parts in groupby(found, key=lambda row: row[:2])]


def _standing(pair: tuple[str, str], parts: list[tuple[Any, ...]]) -> Standing:
    """parts: what `standings` selects, one for each reason to leave rows out."""
    return Standing(
        *pair,
        rows=sum(part[3] for part in parts),
        left_out={part[2]: part[3] for part in parts if part[2] is not None},
        labelled=sum(part[4] for part in parts),
        overdue=sum(part[5] for part in parts),
        first_ms=min(part[6] for part in parts),
        last_ms=max(part[7] for part in parts),
    )


def waiting_bytes(connection: sqlite3.Connection, spool: Path) -> int:
    """What the workers have written and the watcher has not taken in. spool: `spool_of` the journal's folder."""
    sizes = {path.name: _size(path) for path in spool.glob(f"[!.]*{SUFFIX}")}
    drained = dict(connection.execute("SELECT name, offset FROM spools").fetchall())
    return sum(max(0, size - drained.get(name, 0)) for name, size in sizes.items())


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # taken in meanwhile
        return 0
