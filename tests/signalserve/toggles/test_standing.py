"""What `toggle show` knows."""

from contextlib import closing

import pytest
from toggling import TEXT, files_in, to_mode

from signalserve.journal import LATCHES, spool_of
from signalserve.journal.lines import ConfigLine
from signalserve.journal.spool import SpoolWriter
from signalserve.journal.store import JournalStore
from signalserve.latches import Latch, Latches
from signalserve.toggles.change import sha256_of_text
from signalserve.toggles.exposure import EVERY_OTHER
from signalserve.toggles.standing import CHANGES, standing

GOOD = TEXT.format("v8")


@pytest.fixture
def files(tmp_path):
    return files_in(tmp_path)


def worker_says(files, endpoint, error):
    """A worker has GOOD in force, and the watcher has stored that."""
    writer = SpoolWriter(spool_of(files.journal), "worker")
    writer.append([ConfigLine(sha256_of_text(GOOD), GOOD, 1, endpoint, 7, error)])
    writer.close()
    with closing(JournalStore(files.journal)) as store:
        store.drain()


def test_without_a_journal_there_is_the_file(files):
    found = standing(files)
    assert (found.error, found.sha256) == (None, sha256_of_text(TEXT.format("v6_fixed")))
    [symbol] = found.symbols
    assert (symbol.symbol, symbol.mode, symbol.exposure["v6_fixed"]) == (EVERY_OTHER, "v6_fixed", 1.0)
    assert (found.in_force, found.out, found.changes) == ([], None, [])
    assert "no journal here yet" in str(found.unread)
    assert "expected a folder with" in str(found.out_unknown)


def test_of_a_wrong_file_the_reason_is_shown_and_what_is_in_force(files):
    files.settings.write_text("defaults:\n  mode: v7\n")
    worker_says(files, "ensemble", "serving.yaml:2: defaults.mode: wrong")
    found = standing(files)
    assert "serving.yaml:2: defaults.mode: Input should be" in str(found.error)
    assert [(one.endpoint, one.sha256, one.error) for one in found.in_force] == [
        ("ensemble", sha256_of_text(GOOD), "serving.yaml:2: defaults.mode: wrong")
    ]
    assert [symbol.mode for symbol in found.symbols] == ["v8"]


@pytest.mark.parametrize("endpoint", ["v8", None])
def test_of_a_wrong_file_nothing_is_made_up(files, endpoint):
    files.settings.write_text("defaults:\n  mode: v7\n")
    if endpoint:
        worker_says(files, endpoint, None)
    assert (standing(files).symbols, standing(files).score_all_arms) == ([], None)


def test_a_file_that_is_not_here_may_be_a_right_one(files):
    assert standing(files).here
    files.settings.unlink()
    found = standing(files)
    assert (found.here, found.sha256) == (False, None)
    assert "No such file" in str(found.error)
    worker_says(files, "ensemble", None)
    assert [symbol.mode for symbol in standing(files).symbols] == ["v8"]


def test_a_text_in_force_that_this_version_does_not_know_is_not_shown(files):
    files.settings.write_text("half a fi")
    writer = SpoolWriter(spool_of(files.journal), "worker")
    writer.append([ConfigLine("ab" * 32, "defaults: {mode: v9}", 1, "ensemble", 7, None)])
    writer.close()
    with closing(JournalStore(files.journal)) as store:
        store.drain()
    assert standing(files).symbols == []


def test_the_last_changes_stand_first(files):
    for mode in ("v8", "ensemble") * 3:
        to_mode(files, mode)
    changes = standing(files).changes
    assert [one.command for one in changes] == ["mode ensemble", "mode v8"] * 2 + ["mode ensemble"]
    assert len(changes) == CHANGES
    assert (changes[0].who, changes[0].why) == ("somebody", "a test")


def test_models_that_are_out_are_shown(files):
    latch = Latch("ensemble", "BTC-USD", "v8", "ab" * 32, ("clamped",), 1, None)
    Latches(files.journal / LATCHES).trip(latch)
    assert standing(files).out == [latch]
