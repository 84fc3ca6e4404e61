"""What is asked of the journal. Nothing here writes.

All but `standings` are answered from one end of an index, however many rows there are. Functions take any
connection to a journal: `open_journal`'s own, or the watcher's.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from signalserve.errors import JournalError
from signalserve.journal import database_of
from signalserve.journal.lines import EventLine
from signalserve.journal.outcomes import OVERDUE
from signalserve.journal.schema import VERSION
from signalserve.journal.spool import SUFFIX
from signalserve.journal.tables import PREDICTIONS

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Model:
    """A model that took part in a prediction.

    sha256: of its manifest.  generation, version, base_rates: None where the journal was not told.  weight: in the
    pool; 1 of a model alone.  base_rates: (3,) class shares of the labels it learned from.
    """

    sha256: str
    generation: str | None
    version: str | None
    weight: float
    base_rates: tuple[float, ...] | None


@dataclass(frozen=True)
class Maker:
    """What made an arm's newest prediction that counts: one model, or a pool.

    models: one, or the pool's members.  method: of the pool, None for one model.  knows_neutral: False where none of
    the models does, so that it can never say NEUTRAL.
    """

    models: tuple[Model, ...]
    method: str | None
    temperature: float
    knows_neutral: bool

    @property
    def base_rates(self) -> Floats | None:
        """The class shares that were known before: where the model learned, (3,).

        Of a pool its members', by their weights. None where they are not known of each.
        """
        known = [model.base_rates for model in self.models if model.base_rates is not None]
        if len(known) < len(self.models):
            return None
        return np.average(known, axis=0, weights=[model.weight for model in self.models])


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
    time_ms: (n,), ascending.  off_scale: (n,), share of the columns off the model's scale.  largest_z: (n,), the
    largest |scaled feature|. Both NaN of a pool, and where they were not recorded.
    """

    probabilities: Floats
    raw_logits: Floats
    time_ms: Integers
    off_scale: Floats
    largest_z: Floats

    @property
    def confidence(self) -> Floats:
        """The largest probability of each, (n,)."""
        largest: Floats = self.probabilities.max(axis=1, initial=0.0)
        return largest


@dataclass(frozen=True)
class Standing:
    """How many predictions of one symbol and arm there are, and what became of them.

    left_out: reason -> rows that statistics leave out.  labelled: of all rows, those with an outcome.  overdue: those
    that should have one by now, as `outcomes.overdue` counts them.
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
    """Of the last `most` predictions that count and have an outcome, those made as the arm's newest is made.

    Another model's, or another pool's, say nothing about what is served now.
    """
    found = _made_alike(
        connection,
        "SELECT p_down, p_neutral, p_up, outcome, time_ms, horizon_ms, bundle_id, pool, temperature FROM predictions"
        " WHERE symbol = ? AND arm = ? AND left_out IS NULL AND outcome IS NOT NULL ORDER BY time_ms DESC LIMIT ?",
        *(symbol, arm, most),
    )
    table = np.array(found, dtype=np.float64).reshape(-1, 6)  # a null becomes NaN
    horizons = table[~np.isnan(table[:, 5]), 5]
    return Matured(
        probabilities=table[:, :3],
        outcomes=table[:, 3].astype(np.int64),
        time_ms=table[:, 4].astype(np.int64),
        horizon_ms=int(horizons.max()) if len(horizons) else None,
    )


def last_predictions(connection: sqlite3.Connection, symbol: str, arm: str, most: int) -> Said:
    """Of the last `most` predictions that count, those made as the newest of them is made."""
    found = _made_alike(
        connection,
        "SELECT p_down, p_neutral, p_up, logit_down, logit_neutral, logit_up, time_ms, off_scale, largest_z, bundle_id,"
        " pool, temperature FROM predictions WHERE symbol = ? AND arm = ? AND left_out IS NULL"
        " ORDER BY time_ms DESC LIMIT ?",
        *(symbol, arm, most),
    )
    table = np.array(found, dtype=np.float64).reshape(-1, 9)  # a null becomes NaN
    return Said(table[:, :3], table[:, 3:6], table[:, 6].astype(np.int64), table[:, 7], table[:, 8])


def _made_alike(
    connection: sqlite3.Connection, query: str, symbol: str, arm: str, most: int
) -> list[tuple[float | None, ...]]:
    """The rows of a query, in time order, that the maker of the arm's newest made.

    query: newest first; its last three columns, which are cut off, say who made a row.
    """
    newest = connection.execute(
        "SELECT bundle_id, pool, temperature FROM predictions"
        " WHERE symbol = ? AND arm = ? AND left_out IS NULL ORDER BY time_ms DESC LIMIT 1",
        (symbol, arm),
    ).fetchone()
    found = connection.execute(query, (symbol, arm, most)).fetchall()
    return [row[:-3] for row in reversed(found) if row[-3:] == newest]


def maker(connection: sqlite3.Connection, symbol: str, arm: str) -> Maker | None:
    """What made the arm's newest prediction that counts; None where there is none."""
    row = connection.execute(
        "SELECT prediction_id, bundle_id, pool, temperature, logit_neutral FROM predictions"
        " WHERE symbol = ? AND arm = ? AND left_out IS NULL ORDER BY time_ms DESC LIMIT 1",
        (symbol, arm),
    ).fetchone()
    if row is None:
        return None
    prediction_id, bundle_id, pool_json, temperature, logit_neutral = row
    if pool_json is None:
        [sha256] = connection.execute("SELECT sha256 FROM bundles WHERE bundle_id = ?", (bundle_id,)).fetchone()
        return Maker((_model(connection, sha256, 1.0),), None, temperature, logit_neutral is not None)
    pool = orjson.loads(pool_json)
    models = tuple(_model(connection, member["sha256"], member["weight"]) for member in pool["members"])
    return Maker(models, pool["method"], temperature, _pool_knows_neutral(connection, prediction_id, models))


def _model(connection: sqlite3.Connection, sha256: str, weight: float) -> Model:
    generation, version, shares = connection.execute(
        "SELECT generation, version, base_rates FROM bundles WHERE sha256 = ?", (sha256,)
    ).fetchone() or (None, None, None)
    return Model(sha256, generation, version, weight, None if shares is None else tuple(orjson.loads(shares)))


def _pool_knows_neutral(connection: sqlite3.Connection, prediction_id: str, models: Sequence[Model]) -> bool:
    """Whether one of the members gave NEUTRAL a logit; they stand beside the pool, as arms of the same prediction."""
    members = {model.sha256 for model in models}
    found = connection.execute(
        "SELECT sha256, logit_neutral FROM predictions JOIN bundles USING (bundle_id) WHERE prediction_id = ?",
        (prediction_id,),
    ).fetchall()
    logits = {sha256: logit for sha256, logit in found if sha256 in members}
    return len(logits) < len(members) or any(logit is not None for logit in logits.values())


# ---- for people


def tail(
    connection: sqlite3.Connection,
    n: int,
    *,
    symbol: str | None = None,
    arm: str | None = None,
    after_row_id: int | None = None,
) -> list[dict[str, Any]]:
    """The last n rows in the order they were stored; with after_row_id, the first n that follow that one.

    By the columns of `tables.PREDICTIONS`. A symbol or arm that is rare is searched for through all rows.
    """
    order = "DESC" if after_row_id is None else "ASC"
    found = connection.execute(
        f"{PREDICTIONS.select} WHERE row_id > :after AND (:symbol IS NULL OR predictions.symbol = :symbol)"
        f" AND (:arm IS NULL OR arm = :arm) ORDER BY row_id {order} LIMIT :n",
        {"after": after_row_id or 0, "symbol": symbol, "arm": arm, "n": n},
    ).fetchall()
    return [
        dict(zip(PREDICTIONS.columns, row, strict=True)) for row in (found[::-1] if after_row_id is None else found)
    ]


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

    now_ms: what tells the overdue.
    """
    found = connection.execute(
        f"""
        SELECT symbol, arm, left_out, count(*), count(outcome), count(*) FILTER (WHERE {OVERDUE}),
            min(time_ms), max(time_ms)
        FROM predictions GROUP BY symbol, arm, left_out ORDER BY symbol, arm, left_out
        """,  # noqa: S608
        {"now_ms": now_ms},
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
