"""Closing prices and callers' claims -> the outcome of each earlier prediction, by the label rule of its own model.

Every function works within the caller's transaction. An outcome that is known is never changed: bars leave out what
has one, and a claim that says otherwise is refused as a whole.
"""

import math
import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from signalserve.journal.counts import bump
from signalserve.journal.lines import ClosesLine
from signalserve.labels import class_of
from signalserve.outcome_request import OutcomeClaim

SAME_CLOSE: Final = 1e-9
"""Relative: the same bar told twice differs by no more than how its price was written."""
SAME_FEED: Final = 1e-6
"""Relative: a price that went through float32 is still the same one, another exchange's is not, but for chance."""
OVERDUE_MS: Final = 24 * 3_600_000
"""After the horizon: bots ask every minute, and one that was down for a day brings the bars it missed."""

OTHER_FEED: Final = "other_feed"
"""The outcome_source of a prediction that bars can't label: looked at once, and still open to its caller's claim."""


# ---- from bars


def take_closes(connection: sqlite3.Connection, line: ClosesLine, now_ms: int) -> None:
    """Keep the closes that are new, the one first told of a bar where two differ, and label what waited for them."""
    first_ms = line.last_ms - (len(line.closes) - 1) * line.interval_ms
    told = {first_ms + i * line.interval_ms: close for i, close in enumerate(line.closes)}
    known = dict(
        connection.execute(
            "SELECT at_ms, close FROM closes WHERE symbol = ? AND at_ms BETWEEN ? AND ?",
            (line.symbol, first_ms, line.last_ms),
        )
    )
    differing = sum(not _same(close, known.get(at_ms, close), SAME_CLOSE) for at_ms, close in told.items())
    if differing:
        bump(connection, "closes_contradicting", differing)
    new = {at_ms: close for at_ms, close in told.items() if at_ms not in known}
    if not new:
        return
    connection.executemany("INSERT INTO closes VALUES (?, ?, ?)", [(line.symbol, *one) for one in new.items()])
    # a new close decides what was predicted one horizon earlier, and what was predicted then without a close of its own
    moments = {at_ms - horizon_ms for at_ms in new for horizon_ms in (0, *_horizons(connection))}
    for as_of_ms in sorted(moments):
        label_late(connection, line.symbol, as_of_ms, now_ms)


def label_late(connection: sqlite3.Connection, symbol: str, as_of_ms: int, now_ms: int) -> None:
    """Label the predictions of a moment from closes that are known already, as after a replay or a late spool.

    as_of_ms: ms since the epoch.  Only the bar exactly one horizon later decides: where it never came, nothing does.
    """
    waiting = connection.execute(
        """
        SELECT p.row_id, coalesce(p.close, own.close), own.close, p.band, later.close
        FROM predictions AS p
        JOIN closes AS later ON later.symbol = p.symbol AND later.at_ms = p.as_of_ms + p.horizon_ms
        LEFT JOIN closes AS own ON own.symbol = p.symbol AND own.at_ms = p.as_of_ms
        WHERE p.symbol = ? AND p.as_of_ms = ? AND p.outcome IS NULL AND p.outcome_source IS NULL
            AND p.band IS NOT NULL AND coalesce(p.close, own.close) IS NOT NULL
        """,
        (symbol, as_of_ms),
    ).fetchall()
    labels: list[_Label] = []
    strangers: list[tuple[str, int]] = []
    for row_id, close, bars_close, band, later_close in waiting:
        if bars_close is None or _same(close, bars_close, SAME_FEED):
            labels.append(_Label(row_id, class_of(close, later_close, band), later_close))
        else:
            strangers.append((OTHER_FEED, row_id))
    _write(connection, labels, "bars", now_ms)
    if strangers:
        connection.executemany("UPDATE predictions SET outcome_source = ? WHERE row_id = ?", strangers)
        bump(connection, "other_feed", len(strangers))


def overdue(connection: sqlite3.Connection, now_ms: int) -> int:
    """How many predictions could be labelled from bars and are not, a day after their horizon: their bar never came."""
    [count] = connection.execute(
        """
        SELECT count(*) FROM predictions INDEXED BY waiting
        WHERE outcome IS NULL AND as_of_ms IS NOT NULL AND outcome_source IS NULL AND band IS NOT NULL
            AND as_of_ms + horizon_ms <= ?
        """,
        (now_ms - OVERDUE_MS,),
    ).fetchone()
    return int(count)


def _horizons(connection: sqlite3.Connection) -> list[int]:
    """How far ahead the known models look, ms: a handful of values."""
    found = connection.execute("SELECT DISTINCT interval_ms * horizon_bars FROM bundles WHERE horizon_bars IS NOT NULL")
    return [horizon_ms for (horizon_ms,) in found]


# ---- from callers


@dataclass(frozen=True)
class Tally:
    """What became of claims; each counts once.

    joined: at least one prediction had no outcome before.  already_known: told once more.  unknown: no such prediction
    is kept.  contradicting: another outcome is known, nothing was changed.  undecidable: told as a price, where the
    prediction's own close or label rule is not known.
    """

    joined: int = 0
    already_known: int = 0
    unknown: int = 0
    contradicting: int = 0
    undecidable: int = 0


_COUNTED_AS: Final = {
    "already_known": "outcomes_known",
    "unknown": "outcomes_unknown",
    "contradicting": "outcomes_contradicting",
    "undecidable": "outcomes_undecidable",
}


def apply(connection: sqlite3.Connection, claims: Iterable[OutcomeClaim], now_ms: int) -> Tally:
    """Take claims in their order. Taking any of them again changes no prediction."""
    verdicts = Counter(_take(connection, claim, now_ms) for claim in claims)
    for verdict, name in _COUNTED_AS.items():
        if verdicts[verdict]:
            bump(connection, name, verdicts[verdict])
    return Tally(**verdicts)


@dataclass(frozen=True)
class _Row:
    """What a claim must know of a prediction's row. close: its own, or that of the bar where it brought none."""

    row_id: int
    answered: int
    symbol: str
    as_of_ms: int | None
    horizon_ms: int | None
    band: float | None
    close: float | None
    outcome: int | None


_ROWS: Final = """
    SELECT p.row_id, p.answered, p.symbol, p.as_of_ms, p.horizon_ms, p.band, coalesce(p.close, own.close), p.outcome
    FROM predictions AS p LEFT JOIN closes AS own ON own.symbol = p.symbol AND own.at_ms = p.as_of_ms WHERE """
_OF_PREDICTION: Final = "p.prediction_id = ?"
_AT_MOMENT: Final = "p.symbol = ? AND p.as_of_ms = ?"


def _take(connection: sqlite3.Connection, claim: OutcomeClaim, now_ms: int) -> str:
    """Take one claim; returns the field of Tally that it counts as."""
    about = _about(connection, claim)
    if not about:
        return "unknown"
    rows = _concerned(connection, claim, about)
    told = {row.row_id: outcome for row in rows if (outcome := _outcome(row, claim)) is not None}
    decided = [row for row in rows if row.row_id in told]
    if not decided:
        return "undecidable"
    if any(row.outcome not in (None, told[row.row_id]) for row in decided):
        return "contradicting"
    new = [_Label(row.row_id, told[row.row_id], claim.close) for row in decided if row.outcome is None]
    _write(connection, new, "caller", now_ms)
    return "joined" if new else "already_known"


def _about(connection: sqlite3.Connection, claim: OutcomeClaim) -> list[_Row]:
    """The rows that a claim names: one prediction's, or all at one moment."""
    if claim.prediction_id is not None:
        return _rows(connection, _OF_PREDICTION, (claim.prediction_id,))
    return _rows(connection, _AT_MOMENT, (claim.symbol, claim.as_of_ms))


def _concerned(connection: sqlite3.Connection, claim: OutcomeClaim, about: list[_Row]) -> list[_Row]:
    """The rows that a claim decides: every arm's at that moment whose label means the same as the answered one's.

    A class depends on horizon and band; a price on the horizon alone, and on no single one where several answered.
    """
    first, rows = about[0], about
    if claim.prediction_id is not None and first.as_of_ms is not None:
        rows = _rows(connection, _AT_MOMENT, (first.symbol, first.as_of_ms))
    answered = [row for row in about if row.answered] or about
    if claim.direction is not None:
        rules = {(row.horizon_ms, row.band) for row in answered}
        return [row for row in rows if (row.horizon_ms, row.band) in rules]
    horizons = {row.horizon_ms for row in answered} - {None}
    return [row for row in rows if {row.horizon_ms} == horizons]


def _rows(connection: sqlite3.Connection, which: str, values: Sequence[object]) -> list[_Row]:
    """which: a condition on predictions p, one of this module's constants."""
    return [_Row(*row) for row in connection.execute(_ROWS + which, values)]


def _outcome(row: _Row, claim: OutcomeClaim) -> int | None:
    """The class that a claim gives a row, None where a price can't tell it."""
    if claim.direction is not None:
        return claim.direction
    if claim.close is None or row.close is None or row.band is None:
        return None
    return class_of(row.close, claim.close, row.band)


# ---- both


@dataclass(frozen=True)
class _Label:
    """close: the price that decided it, None where the class itself was told."""

    row_id: int
    outcome: int
    close: float | None


def _write(connection: sqlite3.Connection, labels: Sequence[_Label], source: str, now_ms: int) -> None:
    if labels:
        connection.executemany(
            "UPDATE predictions SET outcome = ?, outcome_close = ?, outcome_source = ?, outcome_at_ms = ? "
            "WHERE row_id = ?",
            [(label.outcome, label.close, source, now_ms, label.row_id) for label in labels],
        )
        bump(connection, "outcomes_joined", len(labels))


def _same(one: float, other: float, tolerance: float) -> bool:
    return math.isclose(one, other, rel_tol=tolerance)
