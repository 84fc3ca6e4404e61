"""Assignments worked out again, from journals that real services filled and from ones that tell something wrong."""

from contextlib import closing

import pytest
from journals import MINUTE, START_MS, SYMBOL, add_prediction, insert, new_journal
from stores import BTC, request_body, write_store
from workers import Worker

from signalserve.candles import iso
from signalserve.journal import tables
from signalserve.journal.replay import MOST_SHOWN, Difference, answers, config_texts, replay
from signalserve.journal.store import JournalStore
from signalserve.routing import assign
from signalserve.settings import parse_settings

POOL = "weights: {v6_fixed: 0.4, v8: 0.6}, pool: {method: linear, temperature: 1.0}"
AB = f"""
defaults: {{mode: ab, {POOL}}}
experiment:
  {{name: x, split: {{v6_fixed: 0.4, v8: 0.3, ensemble: 0.3}}, control: v6_fixed, block_minutes: 1, salt: s}}
"""
V8 = f"defaults: {{mode: v8, {POOL}}}"


@pytest.fixture
def journal(tmp_path):
    with closing(new_journal(tmp_path)) as connection:
        yield connection


def replayed(connection):
    return replay(answers(connection), config_texts(connection))


def add_config(journal, config_id, text):
    insert(journal, "configs", config_id=config_id, sha256=f"sha-{config_id}", text=text, first_ms=START_MS)


def dealt(minute):
    return assign(parse_settings(AB, "here").experiment, SYMBOL, START_MS + minute * MINUTE)


def test_what_services_wrote_down_is_what_is_dealt_again(tmp_path):
    store = write_store(tmp_path / "models", (BTC,))
    home = tmp_path / "home"
    home.mkdir()
    worker, other = Worker(store, home, settings=AB), Worker(store, home, "v8", settings=AB)
    assigned = set()
    for minute in range(24):
        as_of = iso(START_MS + minute * MINUTE)
        assigned.add(worker.ask(request_body(seed=minute, as_of=as_of))["arm"])
    worker.ask(request_body(seed=30))
    worker.ask(request_body(seed=31, as_of=iso(START_MS), variant="v8"))
    worker.ask({"instances": [request_body(seed=i, as_of=iso(START_MS + i * MINUTE)) for i in (40, 41)]})
    other.ask(request_body(seed=50, as_of=iso(START_MS)))
    store = JournalStore(home / "journal")
    while store.drain():
        pass
    found = replayed(store.connection)
    store.close()
    assert assigned == {"v6_fixed", "v8", "ensemble"}
    assert (found.agreeing, found.differing, found.unassigned) == (28, 0, 1)


def test_an_answer_by_receipt_is_dealt_by_receipt(journal):
    add_config(journal, 2, AB)
    minute = next(minute for minute in range(100) if dealt(minute) == "ensemble")
    received_ms = START_MS + minute * MINUTE
    as_received = {"as_of_ms": None, "received_ms": received_ms, "time_ms": received_ms}
    add_prediction(journal, 0, config_id=2, mode="ab", assigned="ensemble", **as_received)
    assert replayed(journal).agreeing == 1


@pytest.mark.parametrize("wrong", [{"assigned": "v6_fixed"}, {"mode": "v6_fixed"}])
def test_what_was_written_down_wrongly_is_told(journal, wrong):
    add_config(journal, 2, V8)
    for minute in range(3):
        add_prediction(journal, minute, config_id=2, **wrong if minute == 1 else {})
    found = replayed(journal)
    assert (found.compared, found.agreeing, found.differing) == (3, 2, 1)
    recorded = {"mode": "v8", "assigned": "v8"} | wrong
    assert found.differences == [
        Difference("p-1", SYMBOL, START_MS + MINUTE, **recorded, replayed_mode="v8", replayed_assigned="v8")
    ]


def test_all_differences_are_counted_and_the_first_kept(journal):
    add_config(journal, 2, V8)
    for minute in range(MOST_SHOWN + 5):
        add_prediction(journal, minute, config_id=2, assigned="ensemble")
    found = replayed(journal)
    assert found.differing == MOST_SHOWN + 5
    assert [one.prediction_id for one in found.differences] == [f"p-{minute}" for minute in range(MOST_SHOWN)]


def test_what_cannot_be_compared_is_counted_by_its_reason(journal):
    add_config(journal, 2, None)
    add_config(journal, 3, "defaults: {mode: v9}")
    add_prediction(journal, 0, config_id=2)
    for minute in (1, 2):
        add_prediction(journal, minute, config_id=3)
    for minute in (3, 4, 5):
        add_prediction(journal, minute, config_id=2, endpoint="v8")
    add_prediction(journal, 6, config_id=2, answered=0)
    found = replayed(journal)
    assert (found.compared, found.text_unknown, found.text_unreadable, found.unassigned) == (0, 1, 2, 3)


def test_an_answer_is_compared_once_across_batches(journal, monkeypatch):
    monkeypatch.setattr(tables, "BATCH", 3)
    add_config(journal, 2, AB)
    for minute in range(10):
        usual = {"config_id": 2, "mode": "ab", "assigned": dealt(minute)}
        for arm in ("v6_fixed", "v8", "ensemble"):
            add_prediction(journal, minute, arm=arm, answered=arm == "v8", **usual)
    assert replayed(journal).agreeing == 10
