"""Whether predictions come and time moves in them, by plain journals, and that no table is read for it."""

import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from journals import MINUTE, START_MS, SYMBOL, add_prediction, new_journal
from prometheus_client import CollectorRegistry

from signalserve.watcher import freshness as module
from signalserve.watcher.freshness import Freshness

OTHER = "ETH-USD"
NAMES = ("last_prediction_timestamp_seconds", "last_as_of_timestamp_seconds", "as_of_still_seconds")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(new_journal(tmp_path)) as connection:
        yield connection


class Clock:
    """Of the workers. now_s: seconds since START_MS."""

    now_s = 0.0

    def __call__(self) -> float:
        return START_MS / 1000 + self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def fresh(clock: Clock) -> Freshness:
    return Freshness([SYMBOL, OTHER], clock)


def told(fresh: Freshness, symbol: str = SYMBOL) -> tuple[float, float, float]:
    """Seconds since START_MS of the newest receipt, and of the newest as_of; seconds that it has stood still."""
    registry = CollectorRegistry()
    registry.register(fresh)
    received, as_of, still = (registry.get_sample_value(f"signalserve_{name}", {"symbol": symbol}) for name in NAMES)
    return received - START_MS / 1000, as_of - START_MS / 1000, still


def said(connection: sqlite3.Connection, bar: int, received_s: float, **columns: object) -> None:
    """A prediction of the bar that closed `bar` minutes after START_MS, received so many seconds after it."""
    add_prediction(connection, bar, received_ms=START_MS + round(received_s * 1000), **columns)


def test_every_series_is_there_from_the_start_without_a_number(fresh: Freshness):
    for symbol in (SYMBOL, OTHER):
        assert all(map(math.isnan, told(fresh, symbol)))


def test_a_live_feed_moves(fresh: Freshness, journal: sqlite3.Connection):
    for bar in range(5):
        said(journal, bar, bar * 60 + 0.5)
        fresh.refresh(journal)
        assert told(fresh) == (bar * 60 + 0.5, bar * 60, 0)
    assert all(map(math.isnan, told(fresh, OTHER)))


def test_a_frozen_feed_stands_still_for_as_long_as_its_repeats_come(
    fresh: Freshness, journal: sqlite3.Connection, clock: Clock
):
    said(journal, 0, 1)
    said(journal, 1, 61)
    for minute in range(2, 9):
        clock.now_s = minute * 60 + 1
        said(journal, 1, clock.now_s, left_out="repeat")
        fresh.refresh(journal)
        assert told(fresh) == (clock.now_s, 60, (minute - 1) * 60 if minute >= 4 else 0)  # the fourth of its bar
    said(journal, 9, 541)
    fresh.refresh(journal)
    assert told(fresh) == (541, 540, 0)


def test_two_looks_minutes_apart_are_no_frozen_feed(fresh: Freshness, journal: sqlite3.Connection, clock: Clock):
    for clock.now_s in (0, 1, 2, 3, 301, 302):
        said(journal, 0, clock.now_s)
        fresh.refresh(journal)
    assert told(fresh) == (302, 0, 0)


def test_repeats_that_begin_again_after_a_gap_are_counted_from_there(
    fresh: Freshness, journal: sqlite3.Connection, clock: Clock
):
    for clock.now_s in (0, 60, 120, 180, 301, 361, 421, 481):
        said(journal, 0, clock.now_s)
    fresh.refresh(journal)
    assert told(fresh)[2] == 180


def test_repeats_that_have_ended_stand_still_no_longer(fresh: Freshness, journal: sqlite3.Connection, clock: Clock):
    for clock.now_s in range(0, 400, 60):
        said(journal, 0, clock.now_s)
    shown = []
    for clock.now_s in (480, 481):
        fresh.refresh(journal)
        shown.append(told(fresh)[2])
    assert shown == [360, 0]


def test_one_prediction_of_all_arms_counts_once(fresh: Freshness, journal: sqlite3.Connection, clock: Clock):
    for clock.now_s in (0, 60):
        for arm in ("v6_fixed", "v8", "ensemble"):
            said(journal, 0, clock.now_s, arm=arm)
    fresh.refresh(journal)
    assert told(fresh)[2] == 0


def test_predictions_of_all_arms_at_once_are_no_repeats(fresh: Freshness, journal: sqlite3.Connection):
    for arm in ("v6_fixed", "v8", "ensemble"):
        said(journal, 3, 181, arm=arm)
    fresh.refresh(journal)
    assert told(fresh)[2] == 0


def test_a_backfill_does_not_look_like_a_stall(fresh: Freshness, journal: sqlite3.Connection):
    said(journal, 1000, 60_001)
    for bar in range(400):
        said(journal, bar, 60_002 + bar)
    fresh.refresh(journal)
    assert told(fresh) == (60_401, 60_000, 0)


def test_nor_does_one_who_replays_an_old_bar_among_live_ones(fresh: Freshness, journal: sqlite3.Connection):
    for bar in range(20):
        said(journal, bar, bar * 60 + 1)
        said(journal, 0, bar * 60 + 2, left_out="repeat")
    fresh.refresh(journal)
    assert told(fresh) == (19 * 60 + 2, 19 * 60, 0)


def test_who_does_not_say_as_of_is_received_and_stands_nowhere(fresh: Freshness, journal: sqlite3.Connection):
    for minute in range(10):
        said(journal, minute, minute * 60, as_of_ms=None)
    fresh.refresh(journal)
    received, as_of, still = told(fresh)
    assert received == 540 and math.isnan(as_of) and math.isnan(still)


def test_what_statistics_leave_out_was_received_all_the_same(fresh: Freshness, journal: sqlite3.Connection):
    said(journal, 0, 1)
    said(journal, 4, 241, left_out="override")
    fresh.refresh(journal)
    assert told(fresh) == (241, 240, 0)


def test_two_workers_lines_out_of_their_order_are_taken_by_their_times(
    fresh: Freshness, journal: sqlite3.Connection, clock: Clock
):
    clock.now_s = 6
    for received_s in (5.0, 4.75, 5.25, 4.5):
        said(journal, 0, received_s, left_out="repeat")
        fresh.refresh(journal)
    assert told(fresh) == (5.25, 0, 0.75)


def test_symbols_that_nobody_serves_are_not_told(fresh: Freshness, journal: sqlite3.Connection):
    said(journal, 0, 1, symbol="XRP-USD")
    fresh.refresh(journal)
    assert {one.labels["symbol"] for family in fresh.collect() for one in family.samples} == {SYMBOL, OTHER}


def test_a_journal_that_was_begun_anew_forgets_the_old_one(
    fresh: Freshness, journal: sqlite3.Connection, tmp_path: Path
):
    for bar in range(3):
        said(journal, bar, bar * 60)
    fresh.refresh(journal)
    with closing(new_journal(tmp_path / "new")) as begun:
        said(begun, 1, 61, symbol=OTHER)
        fresh.refresh(begun)
    assert math.isnan(told(fresh)[0])
    assert told(fresh, OTHER) == (61, 60, 0)


def test_a_restart_finds_the_newest_bar_however_far_back(
    fresh: Freshness, journal: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "TAIL", 10)
    said(journal, 7, 421, symbol=OTHER)
    said(journal, 7, 481, symbol=OTHER, left_out="repeat")
    for bar in range(100):
        said(journal, bar, bar * 60)
    fresh.refresh(journal)
    assert told(fresh, OTHER) == (481, 420, 0)
    assert told(fresh) == (5940, 5940, 0)


def test_only_new_rows_and_the_ends_of_an_index_are_read(fresh: Freshness, journal: sqlite3.Connection, clock: Clock):
    journal.execute("BEGIN")
    for bar in range(2000):
        said(journal, bar, bar * 60)
    for minute in range(2000):  # a feed that has been frozen for long
        said(journal, 1999, 120_000 + minute * 60, left_out="repeat")
    journal.execute("COMMIT")
    fresh.refresh(journal)
    clock.now_s = 240_000
    said(journal, 1999, clock.now_s, left_out="repeat")
    steps = [0]

    def count() -> int:
        steps[0] += 1
        return 0

    journal.set_progress_handler(count, 10)  # every ten instructions of SQLite's machine
    fresh.refresh(journal)
    journal.set_progress_handler(None, 0)
    assert steps[0] < 30
    assert told(fresh) == (240_000, 1999 * MINUTE / 1000, 240_000 - 1999 * 60)
