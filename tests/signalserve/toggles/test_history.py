"""Earlier changes out of the journal, drained or not, and where a rollback leads."""

from contextlib import closing

import pytest
from toggling import Answers, files_in, to_mode

from signalserve.errors import ConfigError
from signalserve.journal import database_of, spool_of
from signalserve.journal.lines import ConfigLine
from signalserve.journal.spool import SpoolWriter
from signalserve.journal.store import JournalStore
from signalserve.toggles import history as module
from signalserve.toggles.change import Rewritten, change, sha256_of_text
from signalserve.toggles.history import Author, History, Known, Toggle, read_history, record


@pytest.fixture
def files(tmp_path):
    return files_in(tmp_path)


def drain(files):
    """What the watcher does: spool lines become rows, and the segments go."""
    with closing(JournalStore(files.journal)) as store:
        while store.drain():
            pass


def roll_back(files):
    """As `toggle rollback` does; returns the mode that it leads to."""

    def rewrite(text):
        undone = read_history(files.journal).last_into(sha256_of_text(text))
        return Rewritten(undone.before, undone.event_id)

    assert change(files, "rollback", rewrite, Author("x", None), Answers()) == "changed"
    return mode_of(files)


def mode_of(files):
    return files.settings.read_text().split("mode: ")[1].split()[0]


@pytest.mark.parametrize("drained", [False, True])
def test_rollbacks_go_back_one_toggle_each(files, drained):
    for mode in ("v8", "ensemble"):
        to_mode(files, mode)
    if drained:
        drain(files)
    assert [roll_back(files), roll_back(files)] == ["v8", "v6_fixed"]
    with pytest.raises(ConfigError, match="no toggle is known that led to the file as it is; name a text with --to: "):
        roll_back(files)


def test_after_a_rollback_new_toggles_are_undone_first(files):
    to_mode(files, "v8")
    to_mode(files, "ensemble")
    roll_back(files)
    to_mode(files, "v6_fixed")
    assert [roll_back(files), roll_back(files)] == ["v8", "v6_fixed"]


def test_there_and_back_is_undone_step_by_step(files):
    for mode in ("v8", "v6_fixed", "v8"):
        to_mode(files, mode)
    assert [roll_back(files) for _ in range(3)] == ["v6_fixed", "v8", "v6_fixed"]


def test_a_change_that_never_took_force_is_passed_over(files):
    to_mode(files, "v8")
    text = files.settings.read_text()
    to_mode(files, "ensemble")
    files.settings.write_text(text)  # as if killed between the record and the file
    assert roll_back(files) == "v6_fixed"


def test_a_rollback_that_never_took_force_undid_nothing(files):
    to_mode(files, "v8")
    text = files.settings.read_text()
    roll_back(files)
    files.settings.write_text(text)
    assert roll_back(files) == "v6_fixed"


def test_a_change_by_hand_is_not_lost(files):
    to_mode(files, "v8")
    with files.settings.open("a") as file:
        file.write("# by hand\n")
    known = sha256_of_text(read_history(files.journal).toggles[0].after)[:12]
    with pytest.raises(
        ConfigError,
        match=rf"changed by hand after the last toggle .*; name a text with --to: {known} \(mode v8; after mode v8 by "
        r"somebody at 20\S+Z\), \w{12} \(mode v6_fixed; before mode v8 by",
    ):
        roll_back(files)


def test_a_segment_that_is_drained_meanwhile_counts_once(files):
    to_mode(files, "v8")
    kept = {path: path.read_bytes() for path in spool_of(files.journal).iterdir()}
    drain(files)
    for path, content in kept.items():
        path.write_bytes(content)
    assert len(read_history(files.journal).toggles) == 1


def test_the_workers_configurations_can_be_named_too(files):
    writer = SpoolWriter(spool_of(files.journal), "worker")
    for endpoint, error in (("ensemble", None), ("v8", "f:3: wrong")):
        writer.append([ConfigLine("ab" * 32, "a text", 1, endpoint, 7, error)])
    writer.close()
    drain(files)
    history = read_history(files.journal)
    assert history.named("ababab") == "a text"
    assert "abababababab (not a right file; in force from 1970-01-01T00:00:00Z on)" in history.offer()
    assert "abababababab" not in history.offer("ab" * 32)
    assert {line.content["endpoint"]: line.content["error"] for line in history.in_force} == {
        "ensemble": None,
        "v8": "f:3: wrong",
    }


@pytest.mark.parametrize(("prefix", "count"), [("aaaaaa", 2), ("aaaaaab", 1), ("cccccc", 0), ("b", 1)])
def test_a_name_must_be_one_texts_and_long_enough(prefix, count):
    toggle = Toggle("id", 0, "x", None, "mode v8", "before", "after", "aaaaaab", "aaaaaac", None)
    history = History([toggle], {"b00000": Known("config", "in force once")})
    if count == 1 and len(prefix) > 5:
        assert history.named(prefix) == "before"
    else:
        with pytest.raises(
            ConfigError,
            match=f"got '{prefix}', which {count} have; name a text with --to: aaaaaac "
            r"\(not a right file; after mode v8 by x at 1970-01-01T00:00:00Z\), aaaaaab ",
        ):
            history.named(prefix)


def test_nothing_is_known_where_there_is_no_journal(files):
    history = read_history(files.journal)
    assert (history.toggles, history.known()) == ([], {})
    with pytest.raises(ConfigError, match=r"earlier texts are not known: .* no journal here yet"):
        history.last_into("abcdef")


def test_a_broken_database_leaves_what_waits_in_the_spool(files):
    to_mode(files, "v8")
    database_of(files.journal).write_bytes(b"no database" * 100)
    history = read_history(files.journal)
    assert len(history.toggles) == 1
    assert "cannot be read as a journal" in str(history.unread)


def test_toggles_that_cannot_be_read_are_not_passed_over(files, monkeypatch):
    to_mode(files, "v8")
    drain(files)

    def refuse(folder):
        raise PermissionError(13, "Permission denied", str(folder / "toggle-1.ndjson"))

    monkeypatch.setattr(module, "segments", refuse)
    assert [toggle.command for toggle in read_history(files.journal).toggles] == ["mode v8"]
    words = (
        r"the last toggles cannot be read: .*toggle-1.ndjson: Permission denied; name a text with --to: \w+ \(mode v6"
    )
    with pytest.raises(ConfigError, match=words):
        roll_back(files)


def test_of_a_folder_that_may_not_be_read_the_reason_is_known(tmp_path):
    (tmp_path / "journal").touch()
    found = read_history(tmp_path / "journal")
    assert "journal: Not a directory" in str(found.unread)
    assert found.behind == found.unread


def test_in_the_folder_of_a_run_nothing_is_recorded(tmp_path):
    (tmp_path / "latches").mkdir()
    assert "the folder of a service that keeps none" in str(record(tmp_path, "toggle", Author("x", None), {}))
    assert [path.name for path in tmp_path.iterdir()] == ["latches"]


def test_a_torn_line_hides_no_other(files):
    assert record(files.journal, "guardrail_clear", Author("x", None), {}) is None
    to_mode(files, "v8")
    (spool_of(files.journal) / "toggle-0-torn.ndjson").write_bytes(b'{"kind":"event","eve')
    assert [toggle.command for toggle in read_history(files.journal).toggles] == ["mode v8"]
