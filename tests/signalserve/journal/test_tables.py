"""Whole tables in short reads."""

from contextlib import closing

import pytest
from journals import MINUTE, START_MS, SYMBOL, add_prediction, add_series, insert, new_journal

from signalserve.journal import tables
from signalserve.journal.tables import CLOSES, CONFIGS, EVENTS, PREDICTIONS, TABLES, Batches


@pytest.fixture
def journal(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "BATCH", 4)
    with closing(new_journal(tmp_path)) as connection:
        yield connection


def add_event(journal, number, at_ms):
    insert(journal, "events", event_id=f"e-{number}", at_ms=at_ms, event="toggle", who="ann", content="{}")


def add_close(journal, minute, symbol=SYMBOL, feed="w-1"):
    at_ms = START_MS + minute * MINUTE
    insert(journal, "closes", symbol=symbol, feed=feed, at_ms=at_ms, close=100.0 + minute, told_ms=at_ms + 500)


def values(batches, table, name):
    place = list(table.columns).index(name)
    return [[row[place] for row in batch] for batch in batches]


def test_predictions_of_a_span_come_in_batches(journal):
    for minute in range(10):
        add_prediction(journal, minute)
    found = Batches(journal, PREDICTIONS, START_MS + 3 * MINUTE, START_MS + 9 * MINUTE)
    times = values(found, PREDICTIONS, "time_ms")
    assert len(found) == len(times)
    assert [[(time_ms - START_MS) // MINUTE for time_ms in batch] for batch in times] == [[3], [4, 5, 6, 7], [8]]
    assert sum(map(len, Batches(journal, PREDICTIONS))) == 10


def test_predictions_are_those_of_when_they_were_asked_for(journal):
    assert list(Batches(journal, PREDICTIONS)) == []
    add_prediction(journal, 0)
    asked = Batches(journal, PREDICTIONS)
    add_prediction(journal, 1)
    assert [len(batch) for batch in asked] == [1]


def test_events_of_one_moment_are_neither_lost_nor_given_twice(journal):
    for number in range(11):
        add_event(journal, number, at_ms=number // 6)
    found = values(Batches(journal, EVENTS), EVENTS, "event_id")
    assert [len(batch) for batch in found] == [4, 4, 3]
    assert [event_id for batch in found for event_id in batch] == [f"e-{number}" for number in range(11)]


def test_closes_come_by_symbol_time_and_feed(journal):
    for symbol in ("ETH-USD", "BTC-USD"):
        for minute in (2, 0, 1):
            for feed in ("w-2", "w-1"):
                add_close(journal, minute, symbol, feed)
    found = Batches(journal, CLOSES, since_ms=START_MS + MINUTE)
    rows = [row[:3] for batch in found for row in batch]
    assert rows == [
        (symbol, START_MS + minute * MINUTE, feed)
        for symbol in ("BTC-USD", "ETH-USD")
        for minute in (1, 2)
        for feed in ("w-1", "w-2")
    ]


def test_a_configuration_whose_text_never_came_is_there(journal):
    insert(journal, "configs", sha256="dead")
    assert list(Batches(journal, CONFIGS)) == [[("c0ffee", 0, "{}"), ("dead", None, None)]]


@pytest.mark.parametrize("name", TABLES)
def test_each_read_follows_an_index_and_sorts_nothing(journal, name):
    add_series(journal, 6)
    for number in range(6):
        add_event(journal, number, at_ms=number)
        add_close(journal, number)
    statements = []
    journal.set_trace_callback(statements.append)
    list(Batches(journal, TABLES[name]))
    journal.set_trace_callback(None)
    reads = [one for one in statements if "LIMIT" in one]
    for read in reads:
        [first, *_] = [step[3] for step in journal.execute(f"EXPLAIN QUERY PLAN {read}")]
        assert first.startswith("SEARCH") or read is reads[0]
        assert "TEMP B-TREE" not in first
    assert len(reads) > 1
