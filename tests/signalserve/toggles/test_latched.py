"""Letting models answer again."""

from contextlib import closing

import pytest
from toggling import SOMEBODY, Answers

from signalserve.errors import ConfigError
from signalserve.journal import LATCHES
from signalserve.journal.reading import events, open_journal
from signalserve.journal.store import JournalStore
from signalserve.latches import Latch, Latches
from signalserve.toggles.latched import choose, let_answer, models_out

V8 = Latch("ensemble", "BTC-USD", "v8", "ab" * 32, ("clamped",), 1, "r-1")
ALONE = Latch("v8", "BTC-USD", "v8", "ab" * 32, ("clamped",), 2, None)
ETH = Latch("ensemble", "ETH-USD", "v8", "cd" * 32, ("not_finite",), 3, None)


@pytest.fixture
def journal(tmp_path):
    latches = Latches(tmp_path / LATCHES)
    for latch in (V8, ALONE, ETH):
        latches.trip(latch)
    return tmp_path


@pytest.mark.parametrize(
    ("symbol", "generation", "everything", "chosen"),
    [
        ("BTC-USD", None, False, [V8, ALONE]),
        ("ETH-USD", "v8", False, [ETH]),
        (None, None, True, [V8, ALONE, ETH]),
    ],
)
def test_an_operator_names_a_symbol_a_model_or_all(journal, symbol, generation, everything, chosen):
    assert choose(models_out(journal), symbol, generation, everything=everything) == chosen


def test_who_names_none_is_told_what_is_out(journal):
    out = models_out(journal)
    with pytest.raises(ConfigError, match="out are: BTC-USD v8 on ensemble; BTC-USD v8 on v8; ETH-USD v8 on ensemble"):
        choose(out, None, None, everything=False)
    with pytest.raises(ConfigError, match="clear: BTC-USD v6_fixed is not out; out are: BTC-USD v8"):
        choose(out, "BTC-USD", "v6_fixed", everything=False)


def test_what_is_cleared_is_recorded(journal):
    assert let_answer(journal, [V8, ALONE], SOMEBODY, Answers()) == [V8, ALONE]
    assert models_out(journal) == [ETH]
    with closing(JournalStore(journal)) as store:
        store.drain()
    with closing(open_journal(journal)) as connection:
        found = events(connection, 10, ("guardrail_clear",))
    assert [(one.who, one.why, one.content["endpoint"]) for one in found] == [
        ("somebody", "a test", "ensemble"),
        ("somebody", "a test", "v8"),
    ]
    assert found[0].content["rules"] == ["clamped"]


def test_what_is_declined_stays_out(journal):
    assert let_answer(journal, [V8], SOMEBODY, Answers(yes=False)) is None
    assert models_out(journal) == [V8, ALONE, ETH]


def test_what_can_not_be_recorded_is_cleared_only_if_the_operator_says_so(journal):
    (journal / "spool").write_text("a file where a folder should be")
    assert let_answer(journal, [V8], SOMEBODY, Answers(unrecorded=False)) is None
    assert let_answer(journal, [V8], SOMEBODY, Answers()) == [V8]
    assert models_out(journal) == [ALONE, ETH]
