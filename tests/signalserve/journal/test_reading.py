"""What the journal answers, and that it finds its answers by an index."""

import sqlite3
from contextlib import closing

import numpy as np
import pytest
from journals import ARM, MINUTE, START_MS, SYMBOL, add_bundle, add_prediction, add_series, insert, new_journal

from signalserve.errors import JournalError
from signalserve.journal import outcomes, spool_of
from signalserve.journal.lines import EventLine
from signalserve.journal.reading import (
    Maker,
    Model,
    arms,
    events,
    last_predictions,
    maker,
    matured,
    open_journal,
    standings,
    tail,
    toggles,
    waiting_bytes,
)
from signalserve.journal.tables import PREDICTIONS


@pytest.fixture
def journal(tmp_path):
    with closing(new_journal(tmp_path)) as connection:
        yield connection


@pytest.fixture
def plans(journal):
    """plans(question): how SQLite answers each statement of it, in its own words."""

    def plans(question):
        statements = []
        journal.set_trace_callback(statements.append)
        question()
        journal.set_trace_callback(None)
        assert statements
        return [step[3] for one in statements for step in journal.execute(f"EXPLAIN QUERY PLAN {one}")]

    return plans


# ---- opening


def test_a_reader_sees_what_the_watcher_commits_and_can_not_write(journal, tmp_path):
    with closing(open_journal(tmp_path)) as reader:
        add_prediction(journal, 3)
        assert [row["prediction_id"] for row in tail(reader, 5)] == ["p-3"]
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader.execute("DELETE FROM predictions")


def test_no_journal_yet_is_said_and_none_is_made(tmp_path):
    with pytest.raises(JournalError, match=r"no journal here yet: start the service, .* with --journal"):
        open_journal(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    ("version", "words"),
    [(99, "has schema version 99, .* a newer one wrote it; update"), (0, "has schema version 0, .* start the service")],
)
def test_another_schema_is_refused_with_what_to_do(journal, tmp_path, version, words):
    journal.execute(f"PRAGMA user_version = {version}")
    with pytest.raises(JournalError, match=words):
        open_journal(tmp_path)


def test_a_file_that_is_no_database_is_named(tmp_path):
    (tmp_path / "journal.sqlite").write_bytes(b"not at all" * 1000)
    with pytest.raises(JournalError, match=r"journal\.sqlite: cannot be read as a journal: file is not a database"):
        open_journal(tmp_path)


def test_a_folder_with_signs_that_mean_something_in_an_address_is_opened(tmp_path):
    new_journal(tmp_path / "a?b#c%20d").close()
    open_journal(tmp_path / "a?b#c%20d").close()


# ---- for statistics


def test_arms_are_those_of_which_something_counts(journal):
    assert arms(journal) == []
    for minute, (symbol, arm) in enumerate([("ETH-USD", "v8"), (SYMBOL, "v8"), (SYMBOL, "ensemble"), (SYMBOL, "v8")]):
        add_prediction(journal, minute, symbol=symbol, arm=arm)
    add_prediction(journal, 9, symbol="SOL-USD", left_out="override")
    assert arms(journal) == [(SYMBOL, "ensemble"), (SYMBOL, "v8"), ("ETH-USD", "v8")]


def test_matured_are_the_last_that_count_and_have_an_outcome_in_time_order(journal):
    for minute in (3, 1, 2, 0, 7, 8, 9):
        add_prediction(journal, minute, outcome=minute % 3, p=(0.1, 0.2 + minute / 100, 0.7 - minute / 100))
    add_prediction(journal, 10)
    add_prediction(journal, 11, outcome=1, left_out="out")
    add_prediction(journal, 12, outcome=1, arm="ensemble")
    found = matured(journal, SYMBOL, ARM, 5)
    assert ((found.time_ms - START_MS) // MINUTE).tolist() == [2, 3, 7, 8, 9]
    assert found.outcomes.tolist() == [2, 0, 1, 2, 0]
    np.testing.assert_allclose(found.probabilities[:, 1], [0.22, 0.23, 0.27, 0.28, 0.29])
    assert found.horizon_ms == 15 * MINUTE


def test_the_horizon_is_the_furthest_and_may_be_unknown(journal):
    add_prediction(journal, 0, outcome=1, horizon_ms=None)
    assert matured(journal, SYMBOL, ARM, 10).horizon_ms is None
    add_prediction(journal, 1, outcome=1, horizon_ms=5 * MINUTE)
    add_prediction(journal, 2, outcome=1, horizon_ms=3 * MINUTE)
    assert matured(journal, SYMBOL, ARM, 10).horizon_ms == 5 * MINUTE


def test_of_an_arm_without_predictions_there_is_nothing(journal):
    assert matured(journal, SYMBOL, ARM, 10).probabilities.shape == (0, 3)
    said = last_predictions(journal, SYMBOL, ARM, 10)
    assert (said.raw_logits.shape, said.confidence.shape, said.off_scale.shape) == ((0, 3), (0,), (0,))
    assert maker(journal, SYMBOL, ARM) is None


def test_last_predictions_say_how_far_off_scale_they_were_where_it_was_recorded(journal):
    for minute, share in ((2, 0.25), (0, None), (1, 0.0)):
        add_prediction(journal, minute, off_scale=share)
    np.testing.assert_array_equal(last_predictions(journal, SYMBOL, ARM, 10).off_scale, [np.nan, 0.0, 0.25])


def test_last_predictions_have_no_number_where_there_was_no_logit(journal):
    add_prediction(journal, 1, logits=(None, None, None))
    add_prediction(journal, 0, logits=(1.5, None, -2.5), p=(0.9, 0.0, 0.1))
    add_prediction(journal, 2, left_out="repeat")
    said = last_predictions(journal, SYMBOL, ARM, 10)
    np.testing.assert_array_equal(said.raw_logits, [[1.5, np.nan, -2.5], [np.nan] * 3])
    assert said.confidence.tolist() == [0.9, 0.5]


# ---- who made them


def pool_of(**weights):
    members = ", ".join(f'{{"sha256": "{sha256}", "weight": {weight}}}' for sha256, weight in weights.items())
    return f'{{"method": "linear", "members": [{members}]}}'


def minutes_of(found):
    return ((found.time_ms - START_MS) // MINUTE).tolist()


@pytest.mark.parametrize("question", [matured, last_predictions])
def test_no_window_mixes_what_two_models_said(journal, question):
    add_bundle(journal, "cafe", [0.2, 0.5, 0.3])
    for minute, bundle_id in enumerate([1, 2, 1, 1, 2, 2]):
        add_prediction(journal, minute, outcome=1, bundle_id=bundle_id)
    assert minutes_of(question(journal, SYMBOL, ARM, 10)) == [1, 4, 5]
    assert minutes_of(question(journal, SYMBOL, ARM, 3)) == [4, 5]
    add_prediction(journal, 6, bundle_id=1, outcome=1, left_out="override")
    assert minutes_of(question(journal, SYMBOL, ARM, 10)) == [1, 4, 5]


def test_a_new_model_without_an_outcome_ends_the_window_of_the_old_one(journal):
    add_bundle(journal, "cafe", None)
    add_prediction(journal, 0, outcome=1)
    add_prediction(journal, 1, bundle_id=2)
    assert minutes_of(matured(journal, SYMBOL, ARM, 10)) == []


@pytest.mark.parametrize(
    "other",
    [{"pool": pool_of(beef=0.5, cafe=0.5)}, {"pool": pool_of(beef=0.4, dead=0.6)}, {"temperature": 1.2}],
    ids=["weights", "members", "temperature"],
)
@pytest.mark.parametrize("question", [matured, last_predictions])
def test_no_window_mixes_what_two_pools_said(journal, question, other):
    for minute, differs in enumerate([False, True, False]):
        pool = {"bundle_id": None, "pool": pool_of(beef=0.4, cafe=0.6), "logits": (None, None, None)}
        add_prediction(journal, minute, outcome=1, **pool | (other if differs else {}))
    assert minutes_of(question(journal, SYMBOL, ARM, 10)) == [0, 2]


def test_the_maker_is_the_newest_model_that_counts(journal):
    add_bundle(journal, "cafe", [0.2, 0.5, 0.3])
    add_prediction(journal, 0, bundle_id=1)
    add_prediction(journal, 1, bundle_id=2, temperature=8.0)
    add_prediction(journal, 2, bundle_id=1, left_out="override")
    model = Model("cafe", "v8", "2", 1.0, (0.2, 0.5, 0.3))
    found = maker(journal, SYMBOL, ARM)
    assert found == Maker((model,), None, 8.0, knows_neutral=True)
    assert found.base_rates.tolist() == [0.2, 0.5, 0.3]


def test_base_rates_of_a_pool_are_its_members_by_weight_and_unknown_where_one_is(journal):
    add_bundle(journal, "cafe", [0.2, 0.5, 0.3])
    add_bundle(journal, "dead", None)
    add_prediction(journal, 0, bundle_id=None, pool=pool_of(beef=0.4, cafe=0.6))
    np.testing.assert_allclose(maker(journal, SYMBOL, ARM).base_rates, [0.24, 0.46, 0.3])
    add_prediction(journal, 1, bundle_id=None, pool=pool_of(beef=0.4, dead=0.6))
    assert maker(journal, SYMBOL, ARM).base_rates is None
    add_prediction(journal, 2, bundle_id=None, pool=pool_of(beef=0.4, never_seen=0.6))
    assert maker(journal, SYMBOL, ARM).base_rates is None


def test_a_model_without_a_logit_for_neutral_does_not_know_it(journal):
    add_prediction(journal, 0)
    assert maker(journal, SYMBOL, ARM).knows_neutral
    add_prediction(journal, 1, logits=(1.5, None, -2.5))
    assert not maker(journal, SYMBOL, ARM).knows_neutral


@pytest.mark.parametrize(
    ("neutral_logits", "knows"),
    [((None, None), False), ((None, 0.5), True), ((0.5, 0.5), True), ((None,), True)],
    ids=["none of two", "one of two", "both", "one not recorded"],
)
def test_a_pool_does_not_know_neutral_if_no_member_does(journal, neutral_logits, knows):
    add_bundle(journal, "cafe", None)
    no_logits = (None, None, None)
    add_prediction(journal, arm="ensemble", bundle_id=None, pool=pool_of(beef=0.4, cafe=0.6), logits=no_logits)
    for bundle_id, (arm, neutral) in enumerate(zip(("v6_fixed", "v8"), neutral_logits, strict=False), start=1):
        add_prediction(journal, 0, arm=arm, bundle_id=bundle_id, answered=0, logits=(1.0, neutral, -1.0))
    assert maker(journal, SYMBOL, "ensemble").knows_neutral is knows


def test_a_model_beside_a_pool_says_nothing_of_the_pool(journal):
    no_neutral = {"logits": (1.0, None, -1.0), "answered": 0}
    add_prediction(journal, arm="ensemble", bundle_id=None, pool=pool_of(beef=1.0), logits=(None, None, None))
    add_prediction(journal, arm="v6_fixed", **no_neutral)
    add_bundle(journal, "cafe", None)
    add_prediction(journal, arm="v8", bundle_id=2, answered=0)
    assert not maker(journal, SYMBOL, "ensemble").knows_neutral


# ---- for people


def test_the_tail_is_in_the_order_of_storing_and_carries_the_names(journal):
    for minute in (5, 4, 3, 6):
        add_prediction(journal, minute)
    found = tail(journal, 3)
    assert [row["prediction_id"] for row in found] == ["p-4", "p-3", "p-6"]
    assert tuple(found[0]) == tuple(PREDICTIONS.columns)
    assert [found[0][name] for name in ("version", "bundle_sha256", "config_sha256")] == ["2", "beef", "c0ffee"]


def test_the_tail_of_one_symbol_or_arm(journal):
    for minute, (symbol, arm) in enumerate([("ETH-USD", "v8"), (SYMBOL, "v8"), (SYMBOL, "ensemble")]):
        add_prediction(journal, minute, symbol=symbol, arm=arm)
    assert [row["row_id"] for row in tail(journal, 5, symbol=SYMBOL)] == [2, 3]
    assert [row["row_id"] for row in tail(journal, 5, arm="v8")] == [1, 2]
    assert [row["row_id"] for row in tail(journal, 5, symbol=SYMBOL, arm="v8")] == [2]


def test_what_follows_a_row_comes_without_a_gap(journal):
    for minute in range(5):
        add_prediction(journal, minute)
    assert [row["row_id"] for row in tail(journal, 2, after_row_id=1)] == [2, 3]
    assert tail(journal, 2, after_row_id=5) == []


def add_event(journal, number, event="toggle"):
    insert(
        journal, "events", event_id=f"e-{number}", at_ms=number, event=event, who="ann", why=None, content='{"n": 1}'
    )


def test_events_are_the_last_ones_the_earliest_first(journal):
    for number, event in enumerate(["toggle", "guardrail_out", "toggle", "config_in_force"]):
        add_event(journal, number, event)
    assert [one.event for one in events(journal, 3)] == ["guardrail_out", "toggle", "config_in_force"]
    assert [one.event_id for one in events(journal, 9, ("toggle", "guardrail_out"))] == ["e-0", "e-1", "e-2"]
    assert toggles(journal, 1) == [EventLine("e-2", 2, "toggle", "ann", None, {"n": 1})]


def test_standings_say_what_became_of_the_predictions(journal):
    for minute in range(4):
        add_prediction(journal, minute, outcome=1 if minute < 2 else None)
    add_prediction(journal, 4, left_out="repeat")
    add_prediction(journal, 5, left_out="override", outcome=0)
    add_prediction(journal, 6, symbol="ETH-USD", band=None)
    add_prediction(journal, -1, symbol="ETH-USD", close=None, feed=None)
    now_ms = START_MS + (2 + 15) * MINUTE + outcomes.OVERDUE_MS
    btc, eth = standings(journal, now_ms)
    assert (btc.symbol, btc.arm, btc.rows, btc.counted, btc.labelled, btc.waiting) == (SYMBOL, ARM, 6, 4, 3, 3)
    assert btc.left_out == {"override": 1, "repeat": 1}
    assert ((btc.first_ms - START_MS) / MINUTE, (btc.last_ms - START_MS) / MINUTE) == (0, 5)
    assert (eth.rows, eth.left_out, eth.waiting, eth.overdue) == (2, {}, 2, 0)
    assert btc.overdue == 1 == outcomes.overdue(journal, now_ms)


def test_standings_of_an_empty_journal_are_none(journal):
    assert standings(journal, START_MS) == []


def test_what_the_watcher_has_not_taken_in_is_told_in_bytes(journal, tmp_path):
    spool = spool_of(tmp_path)
    assert waiting_bytes(journal, spool) == 0
    spool.mkdir()
    (spool / "a.ndjson").write_bytes(b"x" * 100)
    (spool / "b.ndjson").write_bytes(b"x" * 30)
    (spool / ".c.ndjson").write_bytes(b"x" * 7)
    insert(journal, "spools", name="a.ndjson", offset=60)
    insert(journal, "spools", name="gone.ndjson", offset=999)
    assert waiting_bytes(journal, spool) == 70


# ---- by an index

QUESTIONS = {
    "arms": arms,
    "matured": lambda journal: matured(journal, SYMBOL, ARM, 10),
    "last": lambda journal: last_predictions(journal, SYMBOL, ARM, 10),
    "maker": lambda journal: maker(journal, SYMBOL, ARM),
    "tail": lambda journal: tail(journal, 10),
    "follow": lambda journal: tail(journal, 10, symbol=SYMBOL, after_row_id=2),
    "toggles": lambda journal: toggles(journal, 10),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_each_question_is_answered_by_an_index_and_without_sorting(journal, plans, name):
    add_series(journal, 20)
    for step in plans(lambda: QUESTIONS[name](journal)):
        assert "TEMP B-TREE" not in step
        assert not step.startswith("SCAN") or step in ("SCAN CONSTANT ROW", "SCAN events USING INDEX events_at")


def test_statistics_are_answered_by_the_index_of_what_counts(journal, plans):
    counted = "USING INDEX counted (symbol=? AND arm=?)"
    assert set(plans(lambda: matured(journal, SYMBOL, ARM, 10))) == {f"SEARCH predictions {counted}"}
    assert set(plans(lambda: last_predictions(journal, SYMBOL, ARM, 10))) == {f"SEARCH predictions {counted}"}


def test_arms_take_as_many_steps_as_there_are_arms(journal, plans):
    add_series(journal, 50)
    assert all("SEARCH predictions USING INDEX counted" in step for step in plans(lambda: arms(journal)))
    statements = []
    journal.set_trace_callback(statements.append)
    arms(journal)
    journal.set_trace_callback(None)
    assert len(statements) == 4  # the one symbol, its one arm, and no more of either
