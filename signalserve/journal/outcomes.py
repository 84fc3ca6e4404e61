"""Closing prices and callers' claims -> the outcome of each earlier prediction, by the label rule of its own model.

A label is the difference of two prices, and both must be the same market's: another exchange's price of the same minute
differs by as much as a label's band. So only a feed that holds a prediction's own close may say what became of it.

Every function works within the caller's transaction. An outcome that is known is never changed: bars leave out what
has one, and a claim that says otherwise is refused as a whole.
"""

import math
import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Final

from signalserve.candles import CLOCK_SKEW_MS
from signalserve.feeds import TOLD
from signalserve.journal.counts import bump
from signalserve.journal.lines import ClosesLine
from signalserve.labels import class_of
from signalserve.outcome_request import OutcomeClaim

SAME_CLOSE: Final = 1e-9
"""Relative: the same bar told twice differs by no more than how its price was written."""
SAME_PRICE: Final = 1e-6
"""Relative: a price that went through float32 is still the same one, another market's is not, but for chance."""
OVERDUE_MS: Final = 24 * 3_600_000
"""After the horizon: bots ask every minute, and one that was down for a day brings the bars it missed."""

AMBIGUOUS: Final = "ambiguous"
"""The outcome_source of a prediction that feeds disagree about: looked at once, still open to its caller's claim."""


# ---- from bars


def take_closes(connection: sqlite3.Connection, line: ClosesLine, now_ms: int) -> None:
    """Keep the closes that are new to their feed, and label what waited for them.

    Where a feed tells two prices of a bar, the one first told stays: the bar was revised. Among closes that came alone
    they may be two markets', and the bar decides nothing any more.
    """
    first_ms = line.last_ms - (len(line.closes) - 1) * line.interval_ms
    told = {first_ms + i * line.interval_ms: close for i, close in enumerate(line.closes)}
    known = dict(
        connection.execute(
            "SELECT at_ms, close FROM closes WHERE symbol = ? AND feed = ? AND at_ms BETWEEN ? AND ?",
            (line.symbol, line.feed, first_ms, line.last_ms),
        )
    )
    tolerance = SAME_PRICE if line.feed == TOLD else SAME_CLOSE
    differing = [
        at_ms
        for at_ms, close in told.items()
        if (before := known.get(at_ms)) is not None and not math.isclose(close, before, rel_tol=tolerance)
    ]
    if differing:
        bump(connection, "closes_contradicting", len(differing))
        if line.feed == TOLD:
            connection.executemany(
                "UPDATE closes SET close = NULL WHERE symbol = ? AND feed = ? AND at_ms = ?",
                [(line.symbol, line.feed, at_ms) for at_ms in differing],
            )
    new = {at_ms: close for at_ms, close in told.items() if at_ms not in known}
    if not new:
        return
    connection.executemany(
        "INSERT INTO closes (symbol, feed, at_ms, close, told_ms) VALUES (?, ?, ?, ?, ?)",
        [(line.symbol, line.feed, at_ms, close, now_ms) for at_ms, close in new.items()],
    )
    # a new close ends what was predicted one horizon earlier, and begins what was predicted then, if bars come late
    moments = {at_ms - horizon_ms for at_ms in new for horizon_ms in (0, *_horizons(connection))}
    for as_of_ms in sorted(moments):
        label_late(connection, line.symbol, as_of_ms, now_ms)


# CROSS JOIN keeps this order. Prices first: mostly the later one is not there yet, and then no prediction is looked at,
# of which one moment may have thousands.
_LABELLABLE: Final = """
    SELECT p.row_id, p.close, p.band, later.close
    FROM (SELECT DISTINCT interval_ms * horizon_bars AS horizon_ms FROM bundles WHERE horizon_bars IS NOT NULL) AS rule
    CROSS JOIN closes AS later
        ON later.symbol = :symbol AND later.at_ms = :as_of_ms + rule.horizon_ms AND later.close IS NOT NULL
    CROSS JOIN closes AS own
        ON own.symbol = :symbol AND own.at_ms = :as_of_ms AND own.feed = later.feed
    CROSS JOIN predictions AS p INDEXED BY waiting
        ON p.symbol = :symbol AND p.as_of_ms = :as_of_ms AND p.horizon_ms = rule.horizon_ms
        AND p.outcome IS NULL AND p.outcome_source IS NULL AND p.band IS NOT NULL
        AND abs(own.close - p.close) <= :same * p.close
    ORDER BY p.row_id, own.feed
"""


def label_late(connection: sqlite3.Connection, symbol: str, as_of_ms: int, now_ms: int) -> None:
    """Label the predictions of a moment from closes that are known already, as after a replay or a late spool.

    as_of_ms: ms since the epoch.  A feed decides a prediction if it holds the prediction's own close, and the one of
    the bar exactly one horizon later; where none does, nothing decides it, nor where two say different classes.
    """
    values = {"symbol": symbol, "as_of_ms": as_of_ms, "same": SAME_PRICE}
    labels: list[_Label] = []
    ambiguous: list[tuple[str, int]] = []
    for row_id, by_feed in groupby(connection.execute(_LABELLABLE, values).fetchall(), key=itemgetter(0)):
        said = [_Label(row_id, class_of(close, later, band), later) for _, close, band, later in by_feed]
        if len({label.outcome for label in said}) == 1:
            labels.append(said[0])
        else:
            ambiguous.append((AMBIGUOUS, row_id))
    _write(connection, labels, "bars", now_ms)
    if ambiguous:
        connection.executemany("UPDATE predictions SET outcome_source = ? WHERE row_id = ?", ambiguous)
        bump(connection, "ambiguous", len(ambiguous))


def overdue(connection: sqlite3.Connection, now_ms: int) -> int:
    """How many predictions could be labelled from bars and are not, a day after their horizon: their bar never came."""
    [count] = connection.execute(
        """
        SELECT count(*) FROM predictions INDEXED BY waiting
        WHERE outcome IS NULL AND as_of_ms IS NOT NULL AND outcome_source IS NULL AND band IS NOT NULL
            AND close IS NOT NULL AND as_of_ms + horizon_ms <= ?
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
    prediction's own close or label rule is not known, or a moment's predictions began at several markets' prices; or
    told before the horizon has passed, when nobody can know it.
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
    """What a claim must know of a prediction's row."""

    row_id: int
    answered: int
    symbol: str
    as_of_ms: int | None
    horizon_ms: int | None
    band: float | None
    close: float | None
    outcome: int | None


_ROWS: Final = """
    SELECT row_id, answered, symbol, as_of_ms, horizon_ms, band, close, outcome FROM predictions WHERE """
_OF_PREDICTION: Final = "prediction_id = ?"
_AT_MOMENT: Final = "symbol = ? AND as_of_ms = ?"


def _take(connection: sqlite3.Connection, claim: OutcomeClaim, now_ms: int) -> str:
    """Take one claim; returns the field of Tally that it counts as."""
    about = _about(connection, claim)
    if not about:
        return "unknown"
    rows = _concerned(connection, claim, about)
    told = {row.row_id: outcome for row in rows if (outcome := _outcome(row, claim, now_ms)) is not None}
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

    An id names one market's prices.  A class depends on horizon and band; a price on the horizon alone, and on no
    single one where several answered, nor on any where the answered ones began at several prices.
    """
    first, rows = about[0], about
    if claim.prediction_id is not None and first.as_of_ms is not None:
        at_moment = _rows(connection, _AT_MOMENT, (first.symbol, first.as_of_ms))
        rows = [row for row in at_moment if _same_market(row.close, first.close)]
    answered = [row for row in about if row.answered] or about
    if claim.direction is not None:
        rules = {(row.horizon_ms, row.band) for row in answered}
        return [row for row in rows if (row.horizon_ms, row.band) in rules]
    begun_at = [row.close for row in answered if row.close is not None]
    if not all(_same_market(close, begun_at[0]) for close in begun_at):
        return []
    horizons = {row.horizon_ms for row in answered} - {None}
    return [row for row in rows if {row.horizon_ms} == horizons]


def _same_market(close: float | None, other: float | None) -> bool:
    """Whether two closes of one moment are one market's, as far as anybody knows."""
    if close is None or other is None:
        return close is other
    return math.isclose(close, other, rel_tol=SAME_PRICE)


def _rows(connection: sqlite3.Connection, which: str, values: Sequence[object]) -> list[_Row]:
    """which: a condition on predictions, one of this module's constants."""
    return [_Row(*row) for row in connection.execute(_ROWS + which, values)]


def _outcome(row: _Row, claim: OutcomeClaim, now_ms: int) -> int | None:
    """The class that a claim gives a row, None where a price can't tell it, or nobody can yet."""
    if (row.as_of_ms or 0) + (row.horizon_ms or 0) > now_ms + CLOCK_SKEW_MS:
        return None
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
