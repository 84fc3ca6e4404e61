"""Letting models answer again."""

import os
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from toggling import SOMEBODY, Answers, as_nobody

from signalserve.errors import ConfigError, JournalError
from signalserve.journal import LATCHES, spool_of
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
    spool_of(tmp_path).mkdir()
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
    assert choose(journal, models_out(journal), symbol, generation, everything=everything) == chosen


def test_who_names_none_is_told_what_is_out(journal):
    out = models_out(journal)
    words = f"out by {journal} are: BTC-USD v8 on ensemble; BTC-USD v8 on v8; ETH-USD v8 on ensemble"
    with pytest.raises(ConfigError, match=words):
        choose(journal, out, None, None, everything=False)
    with pytest.raises(ConfigError, match=r"clear: BTC-USD v6_fixed is not out; out by .* are: BTC-USD v8"):
        choose(journal, out, "BTC-USD", "v6_fixed", everything=False)


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
    spool_of(journal).rmdir()
    spool_of(journal).write_text("a file where a folder should be")
    assert let_answer(journal, [V8], SOMEBODY, Answers(unrecorded=False)) is None
    assert let_answer(journal, [V8], SOMEBODY, Answers()) == [V8]
    assert models_out(journal) == [ALONE, ETH]


@pytest.fixture
def elsewhere():
    """A folder that others can reach, which a test's own is not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@contextmanager
def mode_of(folder, mode):
    folder.chmod(mode)
    try:
        with as_nobody():
            yield
    finally:
        folder.chmod(0o755)


def test_who_may_not_remove_a_latch_is_told_before_anything_is_asked_or_recorded(elsewhere):
    spool_of(elsewhere).mkdir()
    Latches(elsewhere / LATCHES).trip(V8)

    class Unasked(Answers):
        def approve_clear(self, latches):
            raise AssertionError("asked, though it can't be done")

    with (
        mode_of(elsewhere / LATCHES, 0o555),
        pytest.raises(JournalError, match="expected the right to delete files there: run this as the service's user"),
    ):
        let_answer(elsewhere, models_out(elsewhere), SOMEBODY, Unasked())
    assert models_out(elsewhere) == [V8]
    assert list(spool_of(elsewhere).iterdir()) == []


@pytest.mark.parametrize("part", ["", LATCHES])
def test_what_may_not_be_read_is_not_taken_for_empty(elsewhere, part):
    Latches(elsewhere / LATCHES).trip(V8)
    with mode_of(elsewhere / part, 0o700 if os.geteuid() == 0 else 0o000), pytest.raises(JournalError, match="denied"):
        models_out(elsewhere)


def test_a_latch_that_the_disk_keeps_is_said_to_stay(journal, monkeypatch):
    def refuse(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(JournalError, match="Read-only file system; BTC-USD v8 stays out on ensemble until this file"):
        let_answer(journal, [V8], SOMEBODY, Answers())
