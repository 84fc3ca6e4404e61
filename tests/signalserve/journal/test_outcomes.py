"""Outcomes find their predictions: from bars, from callers, once, and never by a guess."""

import itertools
import sqlite3
from collections.abc import Iterator, Sequence
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
    """One row; returns its row_id. A rule or close that is not given is the usual one."""
    row = {
        "prediction_id": prediction_id, "endpoint": "ensemble", "symbol": BTC, "as_of_ms": AS_OF, "received_ms": AS_OF,
        "arm": arm, "answered": 1, "mode": "v8", "assigned": "v8", "config_id": 1, "p_down": 0.2, "p_neutral": 0.3,
        "p_up": 0.5, "temperature": 1.0, "latency_ms": 1.0, "warnings": "", "close": 100.0,
        "horizon_ms": HORIZON * MINUTE, "band": BAND, **fields,
    }  # fmt: skip
    row["time_ms"] = row["as_of_ms"] or row["received_ms"]
    names, marks = ", ".join(row), ", ".join("?" * len(row))
    return db.execute(f"INSERT INTO predictions ({names}) VALUES ({marks})", list(row.values())).lastrowid or 0


def bars(*closes: float, last: int, symbol: str = BTC, feed: str = "w-1") -> ClosesLine:
    """Consecutive closes, the last of them `last` bars after AS_OF."""
    return ClosesLine(symbol, feed, MINUTE, AS_OF + last * MINUTE, closes)


def whole(close: float, later: float, feed: str = "w-1") -> ClosesLine:
    """What a feed tells from AS_OF to one horizon later."""
    return bars(*[close] * HORIZON, later, last=HORIZON, feed=feed)


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
    label_late(later, BTC, AS_OF, NOW)
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
    take_closes(db, bars(105.0, 100.0, last=HORIZON + 2), NOW)
    assert outcomes(db) == [None]
    take_closes(db, bars(99.0, last=HORIZON), NOW)
    assert outcomes(db) == [DOWN]


@pytest.mark.parametrize("fields", [{"as_of_ms": None}, {"band": None}, {"horizon_ms": None}, {"symbol": ETH}])
def test_what_can_not_be_decided_stays_open(db, fields):
    put(db, **fields)
    take_closes(db, whole(100.0, 105.0), NOW)
    assert outcomes(db) == [None]


def test_of_a_bar_that_was_revised_the_close_first_told_stays(db):
    take_closes(db, bars(100.0, last=0), NOW)
    take_closes(db, bars(100.0 * (1 + 1e-12), 101.0, last=1), NOW)
    take_closes(db, bars(100.5, 101.0, last=1), NOW)
    assert kept(db) == [("w-1", 100.0), ("w-1", 101.0)]
    assert counted(db) == {"closes_contradicting": 1}
    put(db)
    take_closes(db, bars(101.0, last=HORIZON), NOW)
    assert row(db) == (UP, 101.0, "bars", NOW)


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
        put(db, f"{feed}/{i}", as_of_ms=AS_OF + i * MINUTE, close=closes[i])
        take_closes(db, bars(*closes[max(0, i - HORIZON) : i + 1], last=i, feed=feed), NOW)
    own = [label(closes[i], closes[i + HORIZON]) for i in range(25) for closes in feeds.values()]
    assert outcomes(db) == own + [None] * 30
    assert set(own) == {UP, DOWN}


def test_a_demo_never_decides_a_real_prediction(db):
    take_closes(db, bars(*[50.0] * 31, last=HORIZON + 15, feed="demo"), NOW)
    put(db)
    label_late(db, BTC, AS_OF, NOW)
    take_closes(db, bars(100.0, last=0), NOW)
    assert outcomes(db) == [None]
    take_closes(db, bars(101.0, last=HORIZON), NOW)
    assert row(db) == (UP, 101.0, "bars", NOW)


def test_a_feed_that_holds_one_end_only_decides_nothing(db):
    put(db)
    take_closes(db, bars(100.0, last=0, feed="w-1"), NOW)
    take_closes(db, bars(101.0, last=HORIZON, feed="w-2"), NOW)
    assert outcomes(db) == [None]
    take_closes(db, bars(100.0, last=0, feed="w-2"), NOW)
    assert outcomes(db) == [UP]


def test_a_price_that_was_rounded_to_float32_is_still_its_feeds_own(db):
    put(db, close=100.0 * (1 + 9e-7))
    put(db, "p2", close=100.0 * (1 + 11e-7))
    take_closes(db, whole(100.0, 101.0), NOW)
    assert outcomes(db) == [UP, None]


def test_feeds_that_agree_decide_together(db):
    for feed, later in (("w-1", 101.0), ("w-2", 101.5)):
        take_closes(db, whole(100.0, later, feed), NOW)
    put(db)
    label_late(db, BTC, AS_OF, NOW)
    assert row(db) == (UP, 101.0, "bars", NOW)


def test_what_feeds_disagree_about_is_counted_once_and_left_to_its_caller(db):
    for feed, later in (("w-1", 101.0), ("w-2", 99.0)):
        take_closes(db, whole(100.0, later, feed), NOW)
    put(db)
    for _ in range(3):
        label_late(db, BTC, AS_OF, NOW)
    assert row(db) == (None, None, "ambiguous", None)
    assert counted(db) == {"ambiguous": 1}
    assert apply(db, [by_id(close=100.0)], NOW) == Tally(joined=1)
    assert row(db) == (NEUTRAL, 100.0, "caller", NOW)


@pytest.mark.parametrize("bar", [0, HORIZON])
def test_a_close_told_alone_and_differently_decides_nothing(db, bar):
    for i in (0, HORIZON):
        take_closes(db, bars(100.0, last=i, feed=TOLD), NOW)
    take_closes(db, bars(100.5, last=bar, feed=TOLD), NOW)
    take_closes(db, bars(100.0, last=bar, feed=TOLD), NOW)
    put(db)
    label_late(db, BTC, AS_OF, NOW)
    assert sorted(kept(db), key=str) == [(TOLD, 100.0), (TOLD, None)]
    assert row(db) == (None, None, None, None)
    assert counted(db) == {"closes_contradicting": 1}


def test_a_close_told_alone_twice_decides(db):
    for i, close in ((0, 100.0), (0, 100.0 * (1 + 1e-7)), (HORIZON, 99.0), (HORIZON, 99.0)):
        take_closes(db, bars(close, last=i, feed=TOLD), NOW)
    put(db)
    label_late(db, BTC, AS_OF, NOW)
    assert row(db) == (DOWN, 99.0, "bars", NOW)
    assert counted(db) == {"outcomes_joined": 1}


BARS = 12
STEPS = st.lists(st.integers(-3, 3), min_size=BARS, max_size=BARS)


@settings(deadline=None, max_examples=50)
@given(STEPS, STEPS, st.data())
def test_whatever_the_order_a_label_is_that_of_the_predictions_own_feed(one, other, data):
    """Lines overlap as a worker's do; some never come. No two prices of the feeds are the same."""
    db, horizon = fresh(), 4
    db.execute("INSERT INTO bundles (sha256, interval_ms, horizon_bars) VALUES ('cd', ?, ?)", (MINUTE, horizon))
    feeds = {"w-1": walk(100.0, one), "w-2": walk(100.03, other)}
    pieces = [(feed, end) for feed in feeds for end in range(horizon, BARS)]
    told = data.draw(st.lists(st.sampled_from(pieces), unique=True))
    asked = [(feed, i, None) for feed in feeds for i in range(BARS)]
    own = []
    for feed, at, *prediction in data.draw(st.permutations([*told, *asked])):
        if prediction:
            put(db, as_of_ms=AS_OF + at * MINUTE, close=feeds[feed][at], horizon_ms=horizon * MINUTE)
            label_late(db, BTC, AS_OF + at * MINUTE, NOW)
            own.append((feed, at))
        else:
            take_closes(db, bars(*feeds[feed][at - horizon : at + 1], last=at, feed=feed), NOW)
    known = {(feed, at) for feed, end in told for at in range(end - horizon, end + 1)}
    assert outcomes(db) == [
        label(feeds[feed][at], feeds[feed][at + horizon]) if {(feed, at), (feed, at + horizon)} <= known else None
        for feed, at in own
    ]
    db.close()


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


@pytest.mark.parametrize("claim", [by_id(direction=UP), by_id(close=101.0)])
def test_a_claim_by_id_leaves_another_markets_predictions_alone(db, claim):
    put(db, "p1", close=100.0)
    put(db, "p2", close=100.5)
    put(db, "p3", close=None)
    put(db, "p4", close=100.0 * (1 + 1e-7))
    apply(db, [claim], NOW)
    assert outcomes(db) == [UP, None, None, UP]


def test_a_price_at_a_moment_at_which_two_markets_were_asked_about_could_be_either_ones(db):
    put(db, "p1", close=100.0)
    put(db, "p2", close=100.5)
    assert apply(db, [at(close=101.0)], NOW) == Tally(undecidable=1)
    assert apply(db, [at(UP)], NOW) == Tally(joined=1)
    assert outcomes(db) == [UP, UP]


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


def told(claims: Sequence[OutcomeClaim]) -> list[Any]:
    """Every row after these claims, in a journal of several moments, arms and rules."""
    db = fresh()
    for i, band in enumerate([BAND, BAND, 5e-3, None]):
        put(db, f"p{i}", "v8", as_of_ms=AS_OF + i // 2 * MINUTE, band=band)
        put(db, f"p{i}", "v6_fixed", as_of_ms=AS_OF + i // 2 * MINUTE, answered=0, band=5e-3, close=None)
    put(db, "p0", "ensemble", answered=0)
    for claim in claims:
        tally = apply(db, [claim], NOW)
        assert sum(vars(tally).values()) == 1
    rows = db.execute("SELECT * FROM predictions").fetchall()
    db.close()
    return rows


# ---- cost


@pytest.mark.parametrize(
    ("call", "index"),
    [
        (lambda db: apply(db, [at(UP)], NOW), "(symbol=? AND as_of_ms=?)"),
        (lambda db: apply(db, [by_id(direction=UP)], NOW), "(prediction_id=?)"),
        (lambda db: overdue(db, NOW), "waiting"),
    ],
)
def test_no_question_reads_the_whole_journal(db, call, index):
    asked: list[str] = []
    db.set_trace_callback(asked.append)
    call(db)
    db.set_trace_callback(None)
    [step] = [step[3] for step in db.execute("EXPLAIN QUERY PLAN " + asked[0])]
    assert "USING INDEX" in step
    assert step.endswith(index)


def test_prices_are_looked_up_before_predictions(db):
    asked: list[str] = []
    db.set_trace_callback(asked.append)
    label_late(db, BTC, AS_OF, NOW)
    db.set_trace_callback(None)
    plan = [step[3] for step in db.execute("EXPLAIN QUERY PLAN " + asked[0])]
    assert [step for step in plan if step.startswith("SEARCH")] == [
        "SEARCH later USING PRIMARY KEY (symbol=? AND at_ms=?)",
        "SEARCH own USING PRIMARY KEY (symbol=? AND at_ms=? AND feed=?)",
        "SEARCH p USING INDEX waiting (symbol=? AND as_of_ms=?)",
    ]
    assert [step for step in plan if step.startswith("SCAN")] == ["SCAN bundles", "SCAN rule"]
