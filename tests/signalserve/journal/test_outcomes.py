"""Outcomes find their predictions: from bars, from callers, once, and never by a guess."""

import itertools
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signalserve.feeds import TOLD
from signalserve.journal.counts import read_counts
from signalserve.journal.lines import ClosesLine
from signalserve.journal.outcomes import CLOCK_SKEW_MS, Tally, apply, label_late, overdue, take_closes
from signalserve.journal.schema import migrate
from signalserve.outcome_request import OutcomeClaim

BTC, ETH = "BTC-USD", "ETH-USD"
MINUTE = 60_000
AS_OF = 1_764_000_060_000
HORIZON, BAND = 15, 1e-3  # bars; a share
NOW = AS_OF + 10**7
DAY = 24 * 60 * MINUTE
DOWN, NEUTRAL, UP = 0, 1, 2


def fresh() -> sqlite3.Connection:
    """An empty journal that knows one model of the usual horizon."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection)
    connection.execute("INSERT INTO bundles (sha256, interval_ms, horizon_bars) VALUES ('ab', ?, ?)", (MINUTE, HORIZON))
    return connection


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    connection = fresh()
    yield connection
    connection.close()


def put(db: sqlite3.Connection, prediction_id: str = "p1", arm: str = "v8", **fields: Any) -> int:
    """One row; returns its row_id. A rule, close or feed that is not given is the usual one."""
    row = {
        "prediction_id": prediction_id, "endpoint": "ensemble", "symbol": BTC, "as_of_ms": AS_OF, "received_ms": AS_OF,
        "arm": arm, "answered": 1, "mode": "v8", "assigned": "v8", "config_id": 1, "p_down": 0.2, "p_neutral": 0.3,
        "p_up": 0.5, "temperature": 1.0, "latency_ms": 1.0, "warnings": "", "close": 100.0,
        "horizon_ms": HORIZON * MINUTE, "band": BAND, "feed": "w-1", **fields,
    }  # fmt: skip
    row["time_ms"] = row["received_ms"] if row["as_of_ms"] is None else row["as_of_ms"]
    if row["close"] is None:
        row["feed"] = None
    names, marks = ", ".join(row), ", ".join("?" * len(row))
    return db.execute(f"INSERT INTO predictions ({names}) VALUES ({marks})", list(row.values())).lastrowid or 0


def bars(*closes: float, last: int, symbol: str = BTC, feed: str = "w-1", begins: bool = False) -> ClosesLine:
    """Consecutive closes, the last of them `last` bars after AS_OF."""
    return ClosesLine(symbol, feed, begins, MINUTE, AS_OF + last * MINUTE, closes)


def whole(close: float, later: float, feed: str = "w-1") -> ClosesLine:
    """What a feed tells from AS_OF to one horizon later."""
    return bars(*[close] * HORIZON, later, last=HORIZON, feed=feed)


def beyond(close: float, later: float, feed: str, begins: bool = False) -> ClosesLine:
    """What a feed tells from AS_OF to two horizons later, when it may stand in for another one."""
    return bars(*[close] * HORIZON, *[later] * (HORIZON + 1), last=2 * HORIZON, feed=feed, begins=begins)


def outcomes(db: sqlite3.Connection) -> list[Any]:
    return [outcome for (outcome,) in db.execute("SELECT outcome FROM predictions ORDER BY row_id")]


def row(db: sqlite3.Connection) -> tuple[Any, ...]:
    """What the only row says of its outcome."""
    [found] = db.execute("SELECT outcome, outcome_close, outcome_source, outcome_at_ms FROM predictions")
    return tuple(found)


def counted(db: sqlite3.Connection) -> dict[str, int]:
    return {name: count for name, count in read_counts(db).items() if count}


# ---- bars


@pytest.mark.parametrize(
    ("later", "label"), [(100.11, UP), (100.09, NEUTRAL), (99.91, NEUTRAL), (99.89, DOWN), (100.0, NEUTRAL)]
)
def test_the_bar_one_horizon_later_labels_a_prediction(db, later, label):
    put(db)
    take_closes(db, whole(100.0, later), NOW)
    assert row(db) == (label, later, "bars", NOW)
    assert counted(db) == {"outcomes_joined": 1}


def test_every_arm_is_labelled_by_its_own_rule(db):
    put(db, arm="v8")
    put(db, arm="v6_fixed", answered=0, band=5e-3)
    put(db, arm="ensemble", answered=0, horizon_ms=None, band=None)
    take_closes(db, whole(100.0, 100.2), NOW)
    assert outcomes(db) == [UP, NEUTRAL, None]


def test_predictions_before_their_bars_and_bars_before_their_predictions_give_the_same(db):
    later = fresh()
    put(db)
    take_closes(db, whole(100.0, 101.0), NOW)
    take_closes(later, whole(100.0, 101.0), NOW)
    put(later)
    label_late(later, "p1", NOW)
    assert row(db) == row(later) == (UP, 101.0, "bars", NOW)


@settings(deadline=None, max_examples=50)
@given(st.permutations(range(8)), st.lists(st.floats(99, 101), min_size=40, max_size=40))
def test_labels_do_not_depend_on_the_order_in_which_bars_come(order, closes):
    """Against the rule computed straight from the bars; each piece of five bars may be told more than once."""
    db = fresh()
    horizons = [3, 7]
    db.executemany(
        "INSERT INTO bundles (sha256, interval_ms, horizon_bars) VALUES (?, ?, ?)",
        [(str(horizon), MINUTE, horizon) for horizon in horizons],
    )
    for i, horizon in itertools.product(range(40), horizons):
        put(db, f"{i}/{horizon}", as_of_ms=AS_OF + i * MINUTE, close=closes[i], horizon_ms=horizon * MINUTE)
    for piece in [*order, *order[:3]]:
        take_closes(db, bars(*closes[5 * piece : 5 * piece + 5], last=5 * piece + 4), NOW)
    expected = [
        label(closes[i], closes[i + horizon]) if i + horizon < 40 else None
        for i, horizon in itertools.product(range(40), horizons)
    ]
    assert outcomes(db) == expected


def label(close: float, later: float) -> int:
    move = later / close - 1
    return UP if move > BAND else DOWN if move < -BAND else NEUTRAL


def test_a_prediction_without_a_close_is_left_to_its_caller(db):
    """Nobody knows whose price it was made at."""
    put(db, close=None)
    take_closes(db, whole(100.0, 101.0), NOW)
    assert row(db) == (None, None, None, None)
    apply(db, [by_id(direction=UP)], NOW)
    assert outcomes(db) == [UP]


def test_no_neighbour_stands_in_for_a_bar_that_never_came(db):
    put(db)
    take_closes(db, bars(100.0, last=0), NOW)
    take_closes(db, bars(100.0, 105.0, last=HORIZON - 1), NOW)
    take_closes(db, bars(*[105.0] * 30, last=HORIZON + 30), NOW)
    assert outcomes(db) == [None]
    take_closes(db, bars(99.0, last=HORIZON), NOW)
    assert outcomes(db) == [DOWN]


@pytest.mark.parametrize("fields", [{"as_of_ms": None}, {"band": None}, {"horizon_ms": None}, {"symbol": ETH}])
def test_what_can_not_be_decided_stays_open(db, fields):
    put(db, **fields)
    take_closes(db, whole(100.0, 105.0), NOW)
    assert outcomes(db) == [None]


def test_of_a_bar_that_was_revised_the_close_first_told_stays(db):
    put(db, as_of_ms=AS_OF + (1 - HORIZON) * MINUTE)
    take_closes(db, bars(101.0, last=1), NOW)
    take_closes(db, bars(101.0 * (1 + 1e-12), last=1), NOW)
    take_closes(db, bars(99.0, last=1), NOW)
    assert kept(db) == [("w-1", 101.0)]
    assert counted(db) == {"closes_contradicting": 1, "outcomes_joined": 1}
    put(db, "late", as_of_ms=AS_OF + (1 - HORIZON) * MINUTE)
    label_late(db, "late", NOW)
    assert outcomes(db) == [UP, UP]


def test_a_prediction_from_a_revised_bar_is_labelled_from_the_close_that_it_saw(db):
    put(db, "first", close=100.0)
    put(db, "revised", close=100.5)
    take_closes(db, whole(100.0, 100.3), NOW)
    assert outcomes(db) == [UP, DOWN]


def kept(db: sqlite3.Connection) -> list[Any]:
    return db.execute("SELECT feed, close FROM closes ORDER BY at_ms, feed").fetchall()


def test_closes_that_are_known_write_nothing(db):
    line = bars(*[100.0] * 1500, last=HORIZON)
    take_closes(db, line, NOW)
    before = db.total_changes
    take_closes(db, line, NOW)
    assert db.total_changes == before


# ---- feeds


def test_two_feeds_that_take_turns_give_each_prediction_its_own_label(db):
    feeds = {"w-1": [100 + 0.01 * i for i in range(40)], "w-2": [103 - 0.02 * i for i in range(40)]}
    for i, (feed, closes) in itertools.product(range(40), feeds.items()):
        put(db, f"{feed}/{i}", as_of_ms=AS_OF + i * MINUTE, close=closes[i], feed=feed)
        take_closes(db, bars(*closes[max(0, i - HORIZON) : i + 1], last=i, feed=feed), NOW)
    own = [label(closes[i], closes[i + HORIZON]) for i in range(25) for closes in feeds.values()]
    assert outcomes(db) == own + [None] * 30
    assert set(own) == {UP, DOWN}


@pytest.mark.parametrize("other_first", [True, False])
def test_another_market_at_the_same_price_decides_nothing_while_the_own_feed_goes_on(db, other_first):
    lines = [whole(100.0, 101.0), beyond(100.0, 99.0, "w-2")]
    take_closes(db, bars(100.0, last=0), NOW)
    put(db)
    for line in reversed(lines) if other_first else lines:
        take_closes(db, bars(*line.closes[: HORIZON + 1], last=HORIZON, feed=line.feed), NOW)
    assert row(db) == (UP, 101.0, "bars", NOW)


def test_where_the_own_feed_ended_another_one_at_its_price_stands_in_after_a_second_horizon(db):
    put(db)
    take_closes(db, bars(*[100.0] * HORIZON, *[101.0] * HORIZON, last=2 * HORIZON - 1, feed="w-2"), NOW)
    assert outcomes(db) == [None]
    take_closes(db, bars(90.0, last=2 * HORIZON, feed="w-2"), NOW)
    assert row(db) == (UP, 101.0, "bars", NOW)


def test_a_late_prediction_of_a_feed_that_ended_is_labelled_from_another_one(db):
    take_closes(db, beyond(100.0, 101.0, "w-2"), NOW)
    put(db)
    label_late(db, "p1", NOW)
    assert row(db) == (UP, 101.0, "bars", NOW)


def series(feed: str, *, shared: int = 12, one_off: int | None = None) -> ClosesLine:
    """The last bars up to AS_OF, all at prices of their own. one_off: the bar, counted from AS_OF, that differs."""
    closes = [100.0 + 0.01 * bar for bar in range(shared - 1, -1, -1)]
    if one_off is not None:
        closes[-1 - one_off] += 0.005
    return bars(*closes, last=0, feed=feed)


def tell_next(db: sqlite3.Connection, feed: str, later: float = 101.0) -> None:
    take_closes(db, bars(*[100.0] * (HORIZON - 1), later, last=HORIZON, feed=feed), NOW)


def test_another_workers_telling_of_the_same_series_labels_at_once(db):
    put(db)
    for feed in ("w-1", "w-2"):
        take_closes(db, series(feed), NOW)
    tell_next(db, "w-2")
    assert row(db) == (2, 101.0, "bars", NOW)


def test_and_so_it_does_for_a_prediction_that_comes_late(db):
    for feed in ("w-1", "w-2"):
        take_closes(db, series(feed), NOW)
    tell_next(db, "w-2")
    put(db)
    label_late(db, "p1", NOW)
    assert outcomes(db) == [2]


@pytest.mark.parametrize(
    "other", [series("w-2", shared=9), series("w-2", one_off=3), series("w-2", one_off=11)], ids=["few", "near", "far"]
)
def test_a_series_that_shares_too_little_or_differs_once_does_not(db, other):
    put(db)
    take_closes(db, series("w-1"), NOW)
    take_closes(db, other, NOW)
    tell_next(db, "w-2")
    assert outcomes(db) == [None]


def test_the_own_series_counts_before_one_that_only_shares_the_price(db):
    put(db)
    for line in (series("w-1"), series("w-2"), series("w-3", one_off=5)):
        take_closes(db, line, NOW)
    tell_next(db, "w-3", later=99.0)
    tell_next(db, "w-2", later=101.0)
    assert outcomes(db) == [2]


def test_a_feed_at_another_price_never_stands_in(db):
    put(db, "p1", close=100.0 * (1 + 9e-7))
    put(db, "p2", close=100.0 * (1 + 11e-7))
    put(db, "p3", close=50.0)
    take_closes(db, beyond(100.0, 101.0, "w-2"), NOW)
    assert outcomes(db) == [UP, None, None]
    for prediction_id in ("p2", "p3"):
        label_late(db, prediction_id, NOW)
    assert outcomes(db) == [UP, None, None]


@pytest.mark.parametrize(("bar", "outcome"), [(0, None), (HORIZON, None), (2 * HORIZON, None), (None, UP)])
def test_a_feed_that_lacks_one_of_three_bars_never_stands_in(db, bar, outcome):
    put(db)
    for at_bar, close in ((0, 100.0), (HORIZON, 101.0), (2 * HORIZON, 101.0)):
        if at_bar != bar:
            take_closes(db, bars(close, last=at_bar, feed="w-2"), NOW)
    assert outcomes(db) == [outcome]


def test_feeds_that_agree_stand_in_together(db):
    take_closes(db, whole(100.0, 101.5, "w-3"), NOW)
    put(db)
    take_closes(db, beyond(100.0, 101.0, "w-2"), NOW)
    assert row(db) == (UP, 101.0, "bars", NOW)


def disagree(db: sqlite3.Connection) -> None:
    """A prediction whose feed ended, and two other feeds of which one is long enough to stand in."""
    put(db)
    take_closes(db, whole(100.0, 99.0, "w-3"), NOW)
    take_closes(db, beyond(100.0, 101.0, "w-2"), NOW)


def test_what_other_feeds_disagree_about_is_counted_once_and_left_to_its_caller(db):
    disagree(db)
    label_late(db, "p1", NOW)
    take_closes(db, beyond(100.0, 99.0, "w-4"), NOW)
    assert row(db) == (None, None, "ambiguous", None)
    assert counted(db) == {"ambiguous": 1}
    assert apply(db, [by_id(close=100.0)], NOW) == Tally(joined=1)
    assert row(db) == (NEUTRAL, 100.0, "caller", NOW)


def test_what_other_feeds_disagree_about_is_decided_by_its_own_that_was_only_late(db):
    disagree(db)
    take_closes(db, bars(99.0, last=HORIZON), NOW)
    assert row(db) == (DOWN, 99.0, "bars", NOW)


# ---- closes that came alone


@pytest.mark.parametrize("bar", [0, HORIZON])
def test_a_close_told_alone_and_differently_decides_nothing(db, bar):
    for close in (100.0, 100.5, 100.0):
        take_closes(db, bars(close, last=bar, feed=TOLD), NOW)
    put(db, "p1", feed=TOLD)
    take_closes(db, bars(100.0, last=HORIZON - bar, feed=TOLD), NOW)
    put(db, "p2", feed=TOLD)
    label_late(db, "p2", NOW)
    assert sorted(kept(db), key=str) == [(TOLD, 100.0), (TOLD, None)]
    assert outcomes(db) == [None, None]
    assert counted(db) == {"closes_contradicting": 1}


def test_for_a_day_after_two_markets_were_told_alone_no_other_close_told_alone_decides(db):
    take_closes(db, bars(100.0, last=-500, feed=TOLD), NOW - DAY)
    take_closes(db, bars(100.5, last=-500, feed=TOLD), NOW)
    for bar, now_ms in ((0, NOW + DAY - 1), (1, NOW + DAY)):
        put(db, f"p{bar}", as_of_ms=AS_OF + bar * MINUTE, feed=TOLD)
        take_closes(db, bars(101.0, last=HORIZON + bar, feed=TOLD), now_ms)
    put(db, "eth", feed=TOLD, symbol=ETH)
    take_closes(db, bars(101.0, last=HORIZON, feed=TOLD, symbol=ETH), NOW)
    assert outcomes(db) == [None, UP, UP]
    label_late(db, "p0", NOW + DAY - 1)
    assert outcomes(db)[0] is None


def test_a_close_told_alone_twice_decides(db):
    put(db, feed=TOLD)
    for i, close in ((0, 100.0), (0, 100.0 * (1 + 1e-7)), (HORIZON, 99.0), (HORIZON, 99.0)):
        take_closes(db, bars(close, last=i, feed=TOLD), NOW)
    assert row(db) == (DOWN, 99.0, "bars", NOW)
    assert counted(db) == {"outcomes_joined": 1}


@pytest.mark.parametrize(("own", "other"), [("w-1", TOLD), (TOLD, "w-1")])
@pytest.mark.parametrize("late", [True, False])
def test_closes_told_alone_and_a_series_never_stand_in_for_each_other(db, own, other, late):
    if not late:
        put(db, feed=own)
    take_closes(db, beyond(100.0, 101.0, other), NOW)
    if late:
        put(db, feed=own)
        label_late(db, "p1", NOW)
    assert outcomes(db) == [None]


# ---- the first line of a feed


def test_of_the_bars_with_which_a_feed_begins_only_those_that_can_matter_are_kept(db):
    put(db, as_of_ms=AS_OF - 500 * MINUTE, close=200.0)
    put(db, "elsewhere", as_of_ms=AS_OF - 400 * MINUTE, close=50.0)
    put(db, "before", as_of_ms=AS_OF - 2000 * MINUTE)
    closes = [100.0] * 1060
    closes[-501] = 200.0
    take_closes(db, bars(*closes, last=0, feed="w-2", begins=True), NOW)
    told = [(at_ms - AS_OF) // MINUTE for (at_ms,) in db.execute("SELECT at_ms FROM closes ORDER BY at_ms")]
    assert told == [-500, -500 + HORIZON, -500 + 2 * HORIZON, *range(-2 * HORIZON, 1)]
    assert outcomes(db) == [DOWN, None, None]


def test_a_feed_without_any_known_horizon_begins_with_its_last_bar(db):
    db.execute("DELETE FROM bundles")
    take_closes(db, bars(*[100.0] * 1060, last=0, begins=True), NOW)
    assert len(kept(db)) == 1


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 59), st.booleans(), st.sampled_from([3, 7])), max_size=20), st.data())
def test_what_is_left_out_of_a_feeds_first_line_labels_nothing_that_waits(asked, data):
    """asked: bar, whether at the feed's price, horizon."""
    closes = data.draw(st.lists(st.floats(99, 101), min_size=60, max_size=60))
    results = []
    for begins in (True, False):
        db = fresh()
        db.executemany(
            "INSERT INTO bundles (sha256, interval_ms, horizon_bars) VALUES (?, ?, ?)",
            [(str(horizon), MINUTE, horizon) for horizon in (3, 7)],
        )
        for bar, at_its_price, horizon in asked:
            close = closes[bar] if at_its_price else 50.0
            put(db, as_of_ms=AS_OF + bar * MINUTE, close=close, horizon_ms=horizon * MINUTE, feed="ended")
        take_closes(db, bars(*closes, last=59, begins=begins), NOW)
        results.append(outcomes(db))
        db.close()
    assert results[0] == results[1]


# ---- any order


BARS = 12
STEPS = st.lists(st.integers(-3, 3), min_size=BARS, max_size=BARS)


@settings(deadline=None, max_examples=100)
@given(STEPS, STEPS, st.booleans(), st.data())
def test_whatever_the_order_a_label_is_that_of_the_own_feed_or_of_one_that_agrees_long_enough(one, other, meet, data):
    """Feeds of two markets and a third with either one's prices, each of which may end; a feed's bars come in their
    order. No two prices of the markets are the same, unless they meet."""
    db, horizon = fresh(), 4
    db.execute("INSERT INTO bundles (sha256, interval_ms, horizon_bars) VALUES ('cd', ?, ?)", (MINUTE, horizon))
    markets = [walk(100.0, one), walk(100.0 if meet else 100.03, other)]
    feeds = {"w-1": markets[0], "w-2": markets[1], "w-3": markets[data.draw(st.integers(0, 1))]}
    ends = {feed: data.draw(st.integers(0, BARS)) for feed in feeds}
    told = [(feed, None) for feed, end in ends.items() for _ in range(end)]
    asked = list(itertools.product(feeds, range(BARS)))
    next_bar = dict.fromkeys(feeds, 0)
    rows = []
    for feed, i in data.draw(st.permutations([*told, *asked])):
        if i is None:
            take_closes(db, bars(feeds[feed][next_bar[feed]], last=next_bar[feed], feed=feed), NOW)
            next_bar[feed] += 1
        else:
            put(db, f"{feed}/{i}", as_of_ms=AS_OF + i * MINUTE, close=feeds[feed][i], feed=feed, **FOUR_BARS)
            label_late(db, f"{feed}/{i}", NOW)
            rows.append((feed, i))
    for (feed, i), outcome in zip(rows, outcomes(db), strict=True):
        others = [
            label(feeds[feed][i], feeds[name][i + horizon])
            for name, end in ends.items()
            if name != feed and end > i + 2 * horizon and feeds[name][i] == feeds[feed][i]
        ]
        if ends[feed] > i + horizon:
            # an own bar that came after others had decided changes nothing
            assert outcome in {label(feeds[feed][i], feeds[feed][i + horizon]), *others}
        elif len(set(others)) < 2 and not meet:
            assert outcome == (others[0] if others else None)
        else:
            assert outcome in {None, *others}
    db.close()


FOUR_BARS = {"horizon_ms": 4 * MINUTE}


def walk(start: float, steps: Sequence[int]) -> list[float]:
    """Steps of 0.06: prices of walks that start 0.03 apart never meet."""
    return [start + 0.06 * height for height in itertools.accumulate(steps)]


def test_only_what_bars_could_have_labelled_is_overdue(db):
    put(db)
    put(db, "p2", as_of_ms=AS_OF + MINUTE)
    put(db, "p3", band=None)
    put(db, "p4", outcome=UP)
    put(db, "p5", outcome_source="ambiguous")
    put(db, "p6", close=None)
    due = AS_OF + HORIZON * MINUTE + DAY
    assert [overdue(db, due + wait) for wait in (-1, 0, MINUTE)] == [0, 1, 2]
    given_up = AS_OF + 7 * DAY
    assert [overdue(db, given_up + wait) for wait in (0, 1, MINUTE + 1)] == [2, 1, 0]


# ---- callers


def by_id(prediction_id: str = "p1", direction: int | None = None, close: float | None = None) -> OutcomeClaim:
    return OutcomeClaim(prediction_id, None, None, direction, close)


def at(direction: int | None = None, close: float | None = None, symbol: str = BTC, bar: int = 0) -> OutcomeClaim:
    return OutcomeClaim(None, symbol, AS_OF + bar * MINUTE, direction, close)


@pytest.mark.parametrize(
    ("claim", "found"),
    [(by_id(direction=UP), (UP, None)), (by_id(close=101.0), (UP, 101.0)), (at(DOWN), (DOWN, None)),
     (at(close=99.0), (DOWN, 99.0))],
)  # fmt: skip
def test_a_claim_joins_once_and_is_known_from_then_on(db, claim, found):
    put(db)
    assert apply(db, [claim], NOW) == Tally(joined=1)
    assert apply(db, [claim, claim], NOW + 1) == Tally(already_known=2)
    assert row(db) == (*found, "caller", NOW)
    assert counted(db) == {"outcomes_joined": 1, "outcomes_known": 2}


def test_a_contradicting_claim_changes_nothing(db):
    put(db)
    put(db, "p2", arm="v6_fixed")
    take_closes(db, whole(100.0, 101.0), NOW)
    put(db, "p3", arm="ensemble")  # open still, and left so
    assert apply(db, [at(DOWN), by_id(close=99.0)], NOW) == Tally(contradicting=2)
    assert outcomes(db) == [UP, UP, None]
    assert counted(db) == {"outcomes_joined": 2, "outcomes_contradicting": 2}


def test_bars_leave_alone_what_a_caller_told(db):
    put(db)
    apply(db, [by_id(direction=UP)], NOW)
    take_closes(db, whole(100.0, 99.0), NOW + 1)
    assert row(db) == (UP, None, "caller", NOW)


def test_bars_that_say_otherwise_than_a_caller_are_counted_once(db):
    put(db, "p1")
    put(db, "p2", arm="v6_fixed")
    put(db, "p3", as_of_ms=AS_OF + MINUTE)
    apply(db, [at(UP), by_id("p3", DOWN)], NOW)
    for _ in range(2):
        take_closes(db, bars(*[99.0] * 2, last=HORIZON + 1), NOW)
        take_closes(db, bars(98.0, last=HORIZON + 2), NOW)
    assert outcomes(db) == [UP, UP, DOWN]
    assert counted(db)["bars_contradicting_claims"] == 2


def test_bars_of_another_feed_contradict_no_caller(db):
    put(db)
    apply(db, [by_id(direction=UP)], NOW)
    take_closes(db, beyond(100.0, 99.0, "w-2"), NOW)
    assert "bars_contradicting_claims" not in counted(db)


@pytest.mark.parametrize("claim", [by_id("p9", UP), at(UP, symbol=ETH), at(UP, bar=1), at(close=1.0, bar=-1)])
def test_a_claim_about_nothing_that_is_kept_is_unknown(db, claim):
    put(db)
    assert apply(db, [claim], NOW) == Tally(unknown=1)
    assert outcomes(db) == [None]


@pytest.mark.parametrize("fields", [{"close": None}, {"band": None, "horizon_ms": None}])
def test_a_price_decides_nothing_without_a_close_and_a_rule(db, fields):
    put(db, **fields)
    assert apply(db, [by_id(close=101.0), at(close=101.0)], NOW) == Tally(undecidable=2)
    assert apply(db, [by_id(direction=UP)], NOW) == Tally(joined=1)


@pytest.mark.parametrize("claim", [by_id(direction=UP), by_id(close=101.0), at(UP), at(close=101.0)])
def test_nobody_knows_an_outcome_before_its_horizon_has_passed(db, claim):
    put(db)
    due = AS_OF + HORIZON * MINUTE
    assert apply(db, [claim], due - CLOCK_SKEW_MS - 1) == Tally(undecidable=1)
    assert (outcomes(db), counted(db)) == ([None], {"outcomes_undecidable": 1})
    assert apply(db, [claim], due - CLOCK_SKEW_MS) == Tally(joined=1)


def test_without_a_time_the_horizon_begins_when_it_was_asked(db):
    put(db, as_of_ms=None, received_ms=NOW)
    due = NOW + HORIZON * MINUTE - CLOCK_SKEW_MS
    assert apply(db, [by_id(direction=UP)], due - 1) == Tally(undecidable=1)
    assert apply(db, [by_id(direction=UP)], due) == Tally(joined=1)


def test_where_the_horizon_is_unknown_the_longest_known_one_must_have_passed(db):
    db.execute("INSERT INTO bundles (sha256, interval_ms, horizon_bars) VALUES ('cd', ?, 60)", (MINUTE,))
    put(db, horizon_ms=None, band=None)
    due = AS_OF + 60 * MINUTE - CLOCK_SKEW_MS
    assert apply(db, [by_id(direction=UP)], due - 1) == Tally(undecidable=1)
    assert apply(db, [by_id(direction=UP)], due) == Tally(joined=1)


@pytest.mark.parametrize("claim", [by_id(direction=UP), by_id(close=101.0)])
def test_a_claim_by_id_leaves_another_markets_predictions_alone(db, claim):
    put(db, "p1", close=100.0)
    put(db, "p2", close=100.5)
    put(db, "p3", close=None)
    put(db, "p4", close=100.0 * (1 + 1e-7))
    apply(db, [claim], NOW)
    assert outcomes(db) == [UP, None, None, UP]


@pytest.mark.parametrize("told", [{"close": 101.0}, {"direction": UP}])
def test_a_claim_about_a_moment_at_which_two_markets_were_asked_about_could_be_about_either(db, told):
    put(db, "p1", close=100.0)
    put(db, "p2", close=100.5)
    assert apply(db, [at(**told)], NOW) == Tally(undecidable=1)
    assert outcomes(db) == [None, None]
    assert apply(db, [by_id("p2", **told)], NOW) == Tally(joined=1)
    assert outcomes(db) == [None, UP]


def test_a_claim_by_id_is_about_the_market_at_that_moment(db):
    put(db, "p1", "v8")
    put(db, "p1", "v6_fixed", answered=0)
    put(db, "p2", "v8", left_out="repeat")
    put(db, "p3", "v8", as_of_ms=AS_OF + MINUTE)
    put(db, "p4", "v8", symbol=ETH)
    apply(db, [by_id(direction=UP)], NOW)
    assert outcomes(db) == [UP, UP, UP, None, None]


def test_without_a_time_it_is_about_that_prediction_alone(db):
    put(db, "p1", "v8", as_of_ms=None)
    put(db, "p1", "v6_fixed", as_of_ms=None, answered=0)
    put(db, "p2", "v8", as_of_ms=None)
    assert apply(db, [by_id(close=101.0)], NOW) == Tally(joined=1)
    assert outcomes(db) == [UP, UP, None]


@pytest.mark.parametrize("claim", [by_id(direction=UP), at(UP)])
def test_a_class_is_told_of_the_answered_rule_alone(db, claim):
    put(db, "p1", "v8")
    put(db, "p1", "v6_fixed", answered=0, band=5e-3)
    put(db, "p1", "ensemble", answered=0)
    assert apply(db, [claim], NOW) == Tally(joined=1)
    assert outcomes(db) == [UP, None, UP]


def test_a_class_at_a_moment_is_that_of_every_answered_rule(db):
    put(db, "p1", "v8")
    put(db, "p2", "v6_fixed", band=5e-3)
    put(db, "p2", "ensemble", band=1e-2, answered=0)
    apply(db, [at(UP)], NOW)
    assert outcomes(db) == [UP, UP, None]


@pytest.mark.parametrize("claim", [by_id(close=100.2), at(close=100.2)])
def test_a_price_is_told_of_every_rule_with_that_horizon(db, claim):
    put(db, "p1", "v8")
    put(db, "p1", "v6_fixed", answered=0, band=5e-3)
    put(db, "p1", "ensemble", answered=0, horizon_ms=60 * MINUTE)
    assert apply(db, [claim], NOW) == Tally(joined=1)
    assert outcomes(db) == [UP, NEUTRAL, None]


def test_a_price_at_a_moment_with_two_horizons_could_be_either(db):
    put(db, "p1", "v8")
    put(db, "p2", "v6_fixed", horizon_ms=60 * MINUTE)
    assert apply(db, [at(close=101.0)], NOW) == Tally(undecidable=1)
    assert apply(db, [by_id("p2", close=101.0)], NOW) == Tally(joined=1)
    assert outcomes(db) == [None, UP]


def test_a_claim_completes_what_an_earlier_one_left(db):
    put(db, "p1", "v8")
    apply(db, [at(UP)], NOW)
    put(db, "p1", "v6_fixed", answered=0)  # scored in the background
    assert apply(db, [by_id(direction=UP)], NOW + 1) == Tally(joined=1)
    assert db.execute("SELECT outcome, outcome_at_ms FROM predictions").fetchall() == [(UP, NOW), (UP, NOW + 1)]


CLAIMS = st.one_of(
    st.builds(by_id, st.sampled_from(["p0", "p1", "p2", "p3", "p9"]), st.sampled_from([DOWN, NEUTRAL, UP])),
    st.builds(by_id, st.sampled_from(["p0", "p1", "p2", "p3", "p9"]), close=st.sampled_from([99.0, 100.2, 101.0])),
    st.builds(at, st.sampled_from([DOWN, UP]), bar=st.integers(0, 2)),
    st.builds(at, close=st.sampled_from([99.0, 100.2, 101.0]), bar=st.integers(0, 2)),
)


@settings(deadline=None)
@given(st.lists(CLAIMS, max_size=8), st.data())
def test_claims_that_are_repeated_leave_what_their_first_occurrences_left(claims, data):
    repeats = data.draw(st.lists(st.sampled_from(claims), max_size=8)) if claims else []
    once, again = (told(sequence) for sequence in (claims, with_repeats(claims, repeats, data)))
    assert once == again


def with_repeats(claims: Sequence[OutcomeClaim], repeats: Sequence[OutcomeClaim], data) -> list[OutcomeClaim]:
    """The claims in their order, with each repeat somewhere after its first occurrence."""
    sequence = list(claims)
    for claim in repeats:
        sequence.insert(data.draw(st.integers(sequence.index(claim) + 1, len(sequence))), claim)
    return sequence


@settings(deadline=None)
@given(st.lists(CLAIMS, max_size=8))
def test_claims_that_come_together_are_taken_as_if_each_came_alone(claims):
    with closing(asked_about()) as together, closing(asked_about()) as alone:
        tallies = [Counter(vars(apply(alone, [claim], NOW))) for claim in claims]
        assert Counter(vars(apply(together, claims, NOW))) == sum(tallies, Counter())
        for table in ("predictions", "counts"):
            assert list(together.execute(f"SELECT * FROM {table}")) == list(alone.execute(f"SELECT * FROM {table}"))


def test_a_moment_is_read_once_however_many_claims_are_about_it(db):
    for i in range(3):
        put(db, f"p{i}")
    asked: list[str] = []
    db.set_trace_callback(asked.append)
    assert apply(db, [*(by_id(f"p{i}", UP) for i in range(3)), at(UP), at(UP)], NOW) == Tally(1, 4)
    assert sum("FROM predictions WHERE symbol" in sql for sql in asked) == 1


def told(claims: Sequence[OutcomeClaim]) -> list[Any]:
    """Every row after these claims."""
    with closing(asked_about()) as db:
        for claim in claims:
            assert sum(vars(apply(db, [claim], NOW)).values()) == 1
        return db.execute("SELECT * FROM predictions").fetchall()


def asked_about() -> sqlite3.Connection:
    """A journal of several moments, arms and rules."""
    db = fresh()
    for i, band in enumerate([BAND, BAND, 5e-3, None]):
        put(db, f"p{i}", "v8", as_of_ms=AS_OF + i // 2 * MINUTE, band=band)
        put(db, f"p{i}", "v6_fixed", as_of_ms=AS_OF + i // 2 * MINUTE, answered=0, band=5e-3, close=None)
    put(db, "p0", "ensemble", answered=0)
    return db


# ---- cost


@pytest.mark.parametrize(
    ("call", "index"),
    [
        (lambda db: apply(db, [at(UP)], NOW), "(symbol=? AND as_of_ms=?)"),
        (lambda db: apply(db, [by_id(direction=UP)], NOW), "(prediction_id=?)"),
        (lambda db: overdue(db, NOW), "waiting (as_of_ms>? AND as_of_ms<?)"),
    ],
)
def test_no_question_reads_the_whole_journal(db, call, index):
    asked: list[str] = []
    db.set_trace_callback(asked.append)
    call(db)
    db.set_trace_callback(None)
    [question] = [sql for sql in asked if "FROM predictions" in sql]
    [step] = [step[3] for step in db.execute("EXPLAIN QUERY PLAN " + question)]
    assert "USING INDEX" in step
    assert step.endswith(index)


def searches(db: sqlite3.Connection, call: Callable[[], None]) -> list[list[str]]:
    """How each question that a call asks is answered, without the steps that read rows of other questions."""
    asked: list[str] = []
    db.set_trace_callback(asked.append)
    call()
    db.set_trace_callback(None)
    questions = [sql for sql in asked if sql.lstrip().startswith(("SELECT", "WITH"))]
    plans = [[step[3] for step in db.execute("EXPLAIN QUERY PLAN " + sql)] for sql in questions]
    return [[step for step in plan if step.startswith(("SEARCH", "SCAN"))] for plan in plans]


def test_labelling_steps_through_indexes_prices_before_predictions(db):
    put(db)
    for feed in ("w-2", "w-3"):
        take_closes(db, bars(*[100.0] * 30, last=29, feed=feed), NOW)
    found = searches(db, lambda: take_closes(db, bars(100.0, last=30, feed="w-2"), NOW))
    late = searches(db, lambda: label_late(db, "p1", NOW))
    bar = "closes USING PRIMARY KEY (symbol=? AND at_ms=? AND feed=?)"
    horizons, known, own, orphans, others, sooner = found
    assert horizons == ["SCAN bundles"]
    assert known == [f"SEARCH {bar}"]
    assert own == ["SEARCH predictions USING INDEX own_feed (symbol=? AND feed=? AND as_of_ms>? AND as_of_ms<?)"]
    assert (
        orphans
        == sooner
        == [
            "SEARCH begun USING PRIMARY KEY (symbol=? AND at_ms=? AND feed=?)",
            "SEARCH later USING PRIMARY KEY (symbol=? AND at_ms=? AND feed=?)",
            "SEARCH predictions USING INDEX waiting (as_of_ms=? AND symbol=? AND close>? AND close<?)",
        ]
    )
    assert others == [
        "SEARCH begun USING PRIMARY KEY (symbol=? AND at_ms=?)",
        "SEARCH later USING PRIMARY KEY (symbol=? AND at_ms=? AND feed=?)",
        f"SEARCH {bar}",
        "SEARCH own USING COVERING INDEX of_feed (symbol=? AND feed=? AND at_ms>? AND at_ms<?)",
        "SEARCH theirs USING PRIMARY KEY (symbol=? AND at_ms=? AND feed=?)",
    ]
    assert late == [
        [
            "SEARCH predictions USING INDEX by_prediction (prediction_id=?)",
            "SEARCH closes USING PRIMARY KEY (symbol=? AND at_ms>?)",
        ]
    ]


def test_a_feed_that_begins_looks_up_what_waits_by_moment_and_price(db):
    put(db, as_of_ms=AS_OF - 900 * MINUTE, close=50.0)
    line = bars(*[100.0] * 1060, last=0, feed="w-2", begins=True)
    _, first, at_price, *_ = searches(db, lambda: take_closes(db, line, NOW))
    assert first == ["SEARCH predictions USING INDEX waiting (as_of_ms>? AND as_of_ms<?)"]
    assert at_price == [
        "SCAN bar VIRTUAL TABLE INDEX 1:",
        "SEARCH predictions USING INDEX waiting (as_of_ms=? AND symbol=? AND close>? AND close<?)",
    ]
