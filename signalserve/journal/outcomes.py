"""Closing prices and callers' claims -> the outcome of each earlier prediction, by the label rule of its own model.

A label is the difference of two prices, and both must be the same market's: another exchange's price of the same minute
differs by as much as a label's band. So a prediction's own close is its row's, and the later one is told by the series
of prices (`feeds.py`) that the row belongs to, or by another worker's telling of the same series, known by the bars
that both hold. Where there is neither, another series that was at the same price stands in, a horizon later.

What can still go wrong: two markets whose prices are equal to the millionth at the moment of a prediction whose feed
ended, of which only the wrong one goes on; and callers who send single closes of different markets and never of the
same minute, which shows them to be different.

Every function works within the caller's transaction. An outcome that is known is never changed: bars leave out what
has one, and a claim that says otherwise is refused as a whole.
"""

import math
import sqlite3
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from signalserve.candles import CLOCK_SKEW_MS
from signalserve.feeds import SAME_CLOSE, TOLD
from signalserve.journal.counts import bump
from signalserve.journal.lines import ClosesLine
from signalserve.labels import class_of
from signalserve.outcome_request import OutcomeClaim

SAME_PRICE: Final = 1e-6
"""Relative: a price that went through float32 is still the same one, another market's is not, but for chance."""
DAY_MS: Final = 24 * 3_600_000
OVERDUE_MS: Final = DAY_MS
"""After the horizon: bots ask every minute, and one that was down for a day brings the bars it missed."""
OVERDUE_SINCE_MS: Final = 7 * DAY_MS
"""After the prediction: what nobody brought by then is given up, and counting it would never end."""
MOST_FEEDS: Final = 100
"""That are asked about one prediction whose own feed ended: a caller whose windows have nothing in common may have
begun hundreds that hold the same minute."""

SIBLING_BARS: Final = 10
"""That two feeds must share in the two horizons before a prediction, none of them at two prices, to be one series told
by two workers: a bot asks now one and now another of them. Two markets do not agree to the last digit for so long."""

WAITING: Final = """
    predictions.feed IS NOT NULL AND as_of_ms IS NOT NULL AND band IS NOT NULL AND outcome IS NULL
    AND outcome_source IS NULL
"""
"""SQL, of a row of `predictions`: bars may still label it. The condition of the index of that name."""
OVERDUE: Final = f"""
    {WAITING} AND as_of_ms BETWEEN :now_ms - {OVERDUE_SINCE_MS} AND :now_ms - {OVERDUE_MS}
    AND as_of_ms + horizon_ms <= :now_ms - {OVERDUE_MS}
"""
"""SQL, of a row of `predictions` and a parameter now_ms: its bar should have come for a day, and not for a week."""

AMBIGUOUS: Final = "ambiguous"
"""The outcome_source of a prediction that other feeds disagree about: still open to its own, and to its caller."""


# ---- from bars


def take_closes(connection: sqlite3.Connection, line: ClosesLine, now_ms: int) -> None:
    """Keep the closes that are new to their feed, and label what waited for them.

    Where a feed tells two prices of a bar, the one first told stays: the bar was revised. Among closes that came alone
    they may be two markets': the bar decides nothing any more, and for a day no other close that came alone does.
    """
    first_ms = line.last_ms - (len(line.closes) - 1) * line.interval_ms
    told = {first_ms + i * line.interval_ms: close for i, close in enumerate(line.closes)}
    horizons = _horizons(connection)
    if line.begins:
        told = _that_matter(connection, line, told, horizons)
    known = {
        at_ms: found[0] for at_ms in told if (found := _close(connection, line.symbol, line.feed, at_ms)) is not None
    }
    _contradict(connection, line, told, known, now_ms)
    new = {at_ms: close for at_ms, close in told.items() if at_ms not in known}
    if not new:
        return
    connection.executemany(
        "INSERT INTO closes (symbol, feed, at_ms, close, told_ms) VALUES (?, ?, ?, ?, ?)",
        [(line.symbol, line.feed, at_ms, close, now_ms) for at_ms, close in new.items()],
    )
    if line.feed == TOLD:
        if not _are_mixed(connection, line.symbol, now_ms):
            _label_own(connection, line, new, horizons, now_ms)
        return
    _label_own(connection, line, new, horizons, now_ms)
    _label_orphans(connection, line, new, horizons, now_ms)


def label_late(connection: sqlite3.Connection, prediction_id: str, now_ms: int) -> None:
    """Label what was stored of a prediction from closes that are known already, as after a replay or a late spool."""
    labels: list[_Label] = []
    orphans: list[_Waiting] = []
    for row in [_Waiting(*found) for found in connection.execute(_LATE, (prediction_id,))]:
        if row.feed == TOLD and _are_mixed(connection, row.symbol, now_ms):
            continue
        [later] = _close(connection, row.symbol, row.feed, row.as_of_ms + row.horizon_ms) or [None]
        if later is not None:
            labels.append(_Label(row.row_id, class_of(row.close, later, row.band), later))
        elif row.feed != TOLD:
            orphans.append(row)
    _write(connection, labels, "bars", now_ms)
    _label_from_others(connection, orphans, now_ms)


def overdue(connection: sqlite3.Connection, now_ms: int) -> int:
    """How many predictions of the past week could be labelled from bars and are not, a day after their horizon: their
    bar never came. What is older is given up, and not counted any more."""
    [count] = connection.execute(
        f"SELECT count(*) FROM predictions INDEXED BY waiting WHERE {OVERDUE}",  # noqa: S608
        {"now_ms": now_ms},
    ).fetchone()
    return int(count)


@dataclass(frozen=True)
class _Waiting:
    """What bars must know of a row to label it."""

    row_id: int
    symbol: str
    as_of_ms: int
    horizon_ms: int
    band: float
    close: float
    feed: str


_OF_WAITING: Final = "row_id, predictions.symbol, as_of_ms, horizon_ms, band, predictions.close, predictions.feed"

# live, nothing later is known of the symbol, and one step of the index says so
_LATE: Final = f"""
    SELECT {_OF_WAITING} FROM predictions
    WHERE prediction_id = ? AND {WAITING}
        AND EXISTS (SELECT 1 FROM closes WHERE closes.symbol = predictions.symbol AND closes.at_ms > as_of_ms)
"""  # noqa: S608

# without an outcome, or with a caller's, which bars can contradict
_OF_FEED: Final = """
    SELECT row_id, as_of_ms, close, band, outcome FROM predictions INDEXED BY own_feed
    WHERE symbol = ? AND feed = ? AND as_of_ms BETWEEN ? AND ? AND horizon_ms = ?
        AND feed IS NOT NULL AND as_of_ms IS NOT NULL AND band IS NOT NULL AND outcome_source IS NOT 'bars'
"""


def _label_own(
    connection: sqlite3.Connection, line: ClosesLine, new: Mapping[int, float], horizons: Sequence[int], now_ms: int
) -> None:
    """Label the feed's own predictions one horizon before its new closes."""
    labels: list[_Label] = []
    contradicted = 0
    for horizon_ms in horizons:
        span = (min(new) - horizon_ms, max(new) - horizon_ms)
        found = connection.execute(_OF_FEED, (line.symbol, line.feed, *span, horizon_ms))
        for row_id, as_of_ms, close, band, outcome in found:
            later = new.get(as_of_ms + horizon_ms)
            if later is None:
                continue
            label = _Label(row_id, class_of(close, later, band), later)
            if outcome is None:
                labels.append(label)
            else:
                contradicted += outcome != label.outcome
    _write(connection, labels, "bars", now_ms)
    if contradicted:
        bump(connection, "bars_contradicting_claims", contradicted)


# CROSS JOIN keeps this order: mostly the feed does not hold both bars, and then no prediction is looked at, of which
# one moment may have thousands
_ORPHANS: Final = f"""
    SELECT {_OF_WAITING}
    FROM closes AS begun
    CROSS JOIN closes AS later
        ON later.symbol = :symbol AND later.at_ms = :as_of_ms + :horizon_ms AND later.feed = :feed
    CROSS JOIN predictions INDEXED BY waiting
        ON as_of_ms = :as_of_ms AND predictions.symbol = :symbol AND horizon_ms = :horizon_ms
        AND predictions.close BETWEEN begun.close * (1 - {SAME_PRICE}) AND begun.close * (1 + {SAME_PRICE})
        AND predictions.feed NOT IN (:feed, '{TOLD}')
    WHERE begun.symbol = :symbol AND begun.at_ms = :as_of_ms AND begun.feed = :feed AND {WAITING}
"""  # noqa: S608


def _label_orphans(
    connection: sqlite3.Connection, line: ClosesLine, new: Mapping[int, float], horizons: Sequence[int], now_ms: int
) -> None:
    """Label other feeds' predictions that a feed's new closes may decide: one horizon before them where it tells the
    same series, two horizons before them where it may stand in.

    In the latter case theirs would have told the bar of one horizon before: their workers have ended, or their callers
    went elsewhere. A feed tells its bars in their order, so that of those that it must hold the last one comes last.
    """
    for horizon_ms in horizons:
        for as_of_ms in sorted({at_ms - ahead * horizon_ms for at_ms in new for ahead in (1, 2)}):
            if line.begins and as_of_ms not in new:
                continue
            values = {"symbol": line.symbol, "feed": line.feed, "as_of_ms": as_of_ms, "horizon_ms": horizon_ms}
            found = [_Waiting(*row) for row in connection.execute(_ORPHANS, values)]
            _label_from_others(connection, found, now_ms)


_SAID_BY_OTHERS: Final = f"""
    SELECT later.close, EXISTS (
        SELECT 1 FROM closes
        WHERE symbol = :symbol AND at_ms = :as_of_ms + 2 * :horizon_ms AND feed = begun.feed
    ), (
        SELECT count(*) >= {SIBLING_BARS} AND total(abs(own.close - theirs.close) > {SAME_CLOSE} * own.close) = 0
        FROM closes AS own INDEXED BY of_feed CROSS JOIN closes AS theirs
            ON theirs.symbol = :symbol AND theirs.at_ms = own.at_ms AND theirs.feed = begun.feed
        WHERE own.symbol = :symbol AND own.feed = :feed
            AND own.at_ms BETWEEN :as_of_ms - 2 * :horizon_ms AND :as_of_ms
    )
    FROM closes AS begun
    CROSS JOIN closes AS later
        ON later.symbol = :symbol AND later.at_ms = :as_of_ms + :horizon_ms AND later.feed = begun.feed
    WHERE begun.symbol = :symbol AND begun.at_ms = :as_of_ms
        AND :close BETWEEN begun.close * (1 - {SAME_PRICE}) AND begun.close * (1 + {SAME_PRICE})
        AND begun.feed NOT IN (:feed, '{TOLD}')
    ORDER BY begun.feed LIMIT {MOST_FEEDS}
"""  # noqa: S608


def _label_from_others(connection: sqlite3.Connection, orphans: Sequence[_Waiting], now_ms: int) -> None:
    """Label predictions whose own feed lacks their bar from others: from one that is the same series, else from those
    that were at the same price.

    One of the latter must be a whole horizon beyond that bar: a feed that is merely late has told it by then.
    """
    labels: list[_Label] = []
    ambiguous: list[tuple[str, int]] = []
    for row in orphans:
        said = connection.execute(_SAID_BY_OTHERS, vars(row)).fetchall()
        siblings = [close for close, _, is_sibling in said if is_sibling]
        closes = siblings or [close for close, _, _ in said]
        if not siblings and not any(is_beyond for _, is_beyond, _ in said):
            continue
        lowest, highest = (class_of(row.close, close, row.band) for close in (min(closes), max(closes)))
        if lowest == highest:
            labels.append(_Label(row.row_id, lowest, closes[0]))
        else:
            ambiguous.append((AMBIGUOUS, row.row_id))
    _write(connection, labels, "bars", now_ms)
    if ambiguous:
        connection.executemany("UPDATE predictions SET outcome_source = ? WHERE row_id = ?", ambiguous)
        bump(connection, "ambiguous", len(ambiguous))


_FIRST_WAITING: Final = f"""
    SELECT min(as_of_ms) FROM predictions INDEXED BY waiting WHERE as_of_ms BETWEEN ? AND ? AND {WAITING}
"""  # noqa: S608
_WAITING_AT_PRICE: Final = f"""
    SELECT DISTINCT as_of_ms, horizon_ms
    FROM json_each(:bars) AS bar
    CROSS JOIN predictions INDEXED BY waiting
        ON as_of_ms = CAST(bar.key AS INTEGER) AND symbol = :symbol
        AND close BETWEEN bar.value * (1 - {SAME_PRICE}) AND bar.value * (1 + {SAME_PRICE})
    WHERE {WAITING}
"""  # noqa: S608


def _that_matter(
    connection: sqlite3.Connection, line: ClosesLine, told: Mapping[int, float], horizons: Sequence[int]
) -> dict[int, float]:
    """Of the bars with which a feed begins, those that label something: what waits for them at their price, or what
    may still be predicted.

    A caller whose windows have nothing in common begins a feed with each of them, of a thousand bars. The price of
    leaving most of them out: a prediction that is stored after this line, and was asked at a bar before its last two
    horizons, finds nothing here.
    """
    end_ms = line.last_ms - 2 * max(horizons, default=0)
    kept = {at_ms for at_ms in told if at_ms >= end_ms}
    [waiting_ms] = connection.execute(_FIRST_WAITING, (min(told), end_ms)).fetchone()
    if waiting_ms is not None:
        older = orjson.dumps({str(at_ms): told[at_ms] for at_ms in told if waiting_ms <= at_ms < end_ms}).decode()
        for as_of_ms, horizon_ms in connection.execute(_WAITING_AT_PRICE, {"bars": older, "symbol": line.symbol}):
            kept |= {as_of_ms, as_of_ms + horizon_ms, as_of_ms + 2 * horizon_ms}
    return {at_ms: told[at_ms] for at_ms in sorted(kept & told.keys())}


def _contradict(
    connection: sqlite3.Connection,
    line: ClosesLine,
    told: Mapping[int, float],
    known: Mapping[int, float | None],
    now_ms: int,
) -> None:
    """Count the bars that were told before at another price; of closes that came alone, let them decide nothing."""
    tolerance = SAME_PRICE if line.feed == TOLD else SAME_CLOSE
    differing = [
        at_ms
        for at_ms, before in known.items()
        if before is not None and not math.isclose(told[at_ms], before, rel_tol=tolerance)
    ]
    if not differing:
        return
    bump(connection, "closes_contradicting", len(differing))
    if line.feed == TOLD:
        connection.executemany(
            "UPDATE closes SET close = NULL, told_ms = ? WHERE symbol = ? AND feed = ? AND at_ms = ?",
            [(now_ms, line.symbol, line.feed, at_ms) for at_ms in differing],
        )


def _are_mixed(connection: sqlite3.Connection, symbol: str, now_ms: int) -> bool:
    """Whether closes that came alone were two markets' within the past day: then any other one may be either's."""
    found = connection.execute(
        "SELECT 1 FROM closes INDEXED BY told_differently WHERE symbol = ? AND told_ms > ? AND close IS NULL LIMIT 1",
        (symbol, now_ms - DAY_MS),
    )
    return found.fetchone() is not None


def _close(connection: sqlite3.Connection, symbol: str, feed: str, at_ms: int) -> tuple[float | None] | None:
    """A bar as a feed told it, None where it did not."""
    found: tuple[float | None] | None = connection.execute(
        "SELECT close FROM closes WHERE symbol = ? AND at_ms = ? AND feed = ?", (symbol, at_ms, feed)
    ).fetchone()
    return found


def _horizons(connection: sqlite3.Connection) -> list[int]:
    """How far ahead the known models look, ms: a handful of values."""
    found = connection.execute("SELECT DISTINCT interval_ms * horizon_bars FROM bundles WHERE horizon_bars IS NOT NULL")
    return [horizon_ms for (horizon_ms,) in found]


# ---- from callers


@dataclass(frozen=True)
class Tally:
    """What became of claims; each counts once.

    joined: at least one prediction had no outcome before.  already_known: told once more.  unknown: no such prediction
    is kept.  contradicting: another outcome is known, nothing was changed.  undecidable: told before the horizon has
    passed, when nobody can know it; or of a moment at which several markets were asked about; or as a price, where the
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
    desk = _Desk(connection, now_ms)
    verdicts = Counter(desk.take(claim) for claim in claims)
    for verdict, name in _COUNTED_AS.items():
        if verdicts[verdict]:
            bump(connection, name, verdicts[verdict])
    return Tally(**verdicts)


@dataclass(frozen=True)
class _Kind:
    """What a claim must know of a prediction's row; every claim says the same of all rows of one kind."""

    answered: int
    symbol: str
    as_of_ms: int | None
    time_ms: int
    horizon_ms: int | None
    band: float | None
    close: float | None


@dataclass
class _Rows:
    """All rows of a kind that a question found. waiting: row_ids of those without an outcome.  known: the outcomes of
    the others."""

    kind: _Kind
    waiting: list[int] = field(default_factory=list)
    known: set[int] = field(default_factory=set)


class _Found:
    """What was found of one prediction, or of one moment, and what those of it that were answered have in common."""

    def __init__(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """rows: of _ROWS."""
        groups: dict[_Kind, _Rows] = {}
        for row_id, outcome, *values in rows:
            kind = _Kind(*values)
            group = groups.setdefault(kind, _Rows(kind))
            if outcome is None:
                group.waiting.append(row_id)
            else:
                group.known.add(outcome)
        self.groups = list(groups.values())
        answered = [kind for kind in groups if kind.answered] or list(groups)
        begun_at = [kind.close for kind in answered if kind.close is not None]
        self.is_one_market = all(_same_market(close, begun_at[0]) for close in begun_at)
        self.rules = {(kind.horizon_ms, kind.band) for kind in answered}
        self.horizons = {kind.horizon_ms for kind in answered} - {None}
        self._at_close: dict[float | None, list[_Rows]] = defaultdict(list)
        for kind, group in groups.items():
            self._at_close[kind.close].append(group)
        self._closes = sorted(close for close in self._at_close if close is not None)

    def of_market(self, close: float | None) -> list[_Rows]:
        """The rows that began at one market's close."""
        if close is None:
            return self._at_close[None]
        first = bisect_left(self._closes, close * (1 - 2 * SAME_PRICE))
        last = bisect_right(self._closes, close * (1 + 2 * SAME_PRICE))
        same = [other for other in self._closes[first:last] if _same_market(other, close)]
        return [group for other in same for group in self._at_close[other]]


_ROWS: Final = """
    SELECT row_id, outcome, answered, symbol, as_of_ms, time_ms, horizon_ms, band, close FROM predictions WHERE """
_OF_PREDICTION: Final = "prediction_id = ?"
_AT_MOMENT: Final = "symbol = ? AND as_of_ms = ?"


class _Desk:
    """Takes claims one after the other, within one transaction, and reads each moment once: a thousand claims may be
    about one, of which there may be thousands of predictions."""

    def __init__(self, connection: sqlite3.Connection, now_ms: int) -> None:
        self._connection = connection
        self._now_ms = now_ms
        self._longest_ms = max(_horizons(connection), default=0)
        self._moments: dict[tuple[str | None, int | None], _Found] = {}

    def take(self, claim: OutcomeClaim) -> str:
        """Take one claim; returns the field of Tally that it counts as."""
        about = self._about(claim)
        if not about.groups:
            return "unknown"
        passed = [group for group in self._concerned(claim, about) if self._has_passed(group.kind)]
        decided = [(group, told) for group in passed if (told := _outcome(group.kind, claim)) is not None]
        if not decided:
            return "undecidable"
        if any(group.known - {told} for group, told in decided):
            return "contradicting"
        new = [_Label(row_id, told, claim.close) for group, told in decided for row_id in group.waiting]
        _write(self._connection, new, "caller", self._now_ms)
        for group, told in decided:
            group.known.add(told)
            group.waiting.clear()
        return "joined" if new else "already_known"

    def _about(self, claim: OutcomeClaim) -> _Found:
        """The rows that a claim names: one prediction's, or all at one moment."""
        if claim.prediction_id is None:
            return self._moment(claim.symbol, claim.as_of_ms)
        return _Found(self._connection.execute(_ROWS + _OF_PREDICTION, (claim.prediction_id,)))

    def _moment(self, symbol: str | None, as_of_ms: int | None) -> _Found:
        found = self._moments.get((symbol, as_of_ms))
        if found is None:
            rows = self._connection.execute(_ROWS + _AT_MOMENT, (symbol, as_of_ms))
            found = self._moments[symbol, as_of_ms] = _Found(rows)
        return found

    def _concerned(self, claim: OutcomeClaim, about: _Found) -> list[_Rows]:
        """The rows that a claim decides: every arm's at that moment whose label means the same as the answered one's.

        An id names one market's prices; a moment none where its answered predictions began at several markets' prices.
        A class depends on horizon and band; a price on the horizon alone, and on no single one where several answered.
        """
        if not about.is_one_market:
            return []
        first, groups = about.groups[0].kind, about.groups
        if claim.prediction_id is not None and first.as_of_ms is not None:
            groups = self._moment(first.symbol, first.as_of_ms).of_market(first.close)
        if claim.direction is not None:
            return [group for group in groups if (group.kind.horizon_ms, group.kind.band) in about.rules]
        return [group for group in groups if {group.kind.horizon_ms} == about.horizons]

    def _has_passed(self, kind: _Kind) -> bool:
        """Whether the horizon of a row is over: the longest of all models, where its own is not known."""
        horizon_ms = self._longest_ms if kind.horizon_ms is None else kind.horizon_ms
        return kind.time_ms + horizon_ms <= self._now_ms + CLOCK_SKEW_MS


def _same_market(close: float | None, other: float | None) -> bool:
    """Whether two closes of one moment are one market's, as far as anybody knows."""
    if close is None or other is None:
        return close is other
    return math.isclose(close, other, rel_tol=SAME_PRICE)


def _outcome(kind: _Kind, claim: OutcomeClaim) -> int | None:
    """The class that a claim gives a row, None where a price can't tell it."""
    if claim.direction is not None:
        return claim.direction
    if claim.close is None or kind.close is None or kind.band is None:
        return None
    return class_of(kind.close, claim.close, kind.band)


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
