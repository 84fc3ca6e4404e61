"""One change of serving.yaml: whole or not at all, recorded, and by one at a time."""

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from toggling import TEXT, Answers, files_in, to_mode

from signalserve.errors import ConfigError
from signalserve.toggles import change as module
from signalserve.toggles.change import Rewritten, change, sha256_of_text
from signalserve.toggles.history import read_history

TESTS = Path(__file__).parents[2]


@pytest.fixture
def files(tmp_path):
    return files_in(tmp_path)


def left_over(files):
    return sorted(path.name for path in files.settings.parent.iterdir() if path.name.endswith(".new"))


def test_a_change_is_made_and_recorded_with_who_and_why(files):
    assert to_mode(files, "v8") == "changed"
    assert files.settings.read_text() == TEXT.format("v8")
    [toggle] = read_history(files.journal).toggles
    assert (toggle.who, toggle.why, toggle.command) == ("somebody", "a test", "mode v8")
    assert (toggle.before, toggle.after) == (TEXT.format("v6_fixed"), TEXT.format("v8"))
    assert toggle.after_sha256 == sha256_of_text(TEXT.format("v8"))
    assert left_over(files) == []


def test_the_operator_is_shown_the_difference_and_what_it_widens(files):
    operator = Answers()
    to_mode(files, "v8", operator)
    [plan] = operator.plans
    assert [line for line in plan.difference if line[0] in "+-"][2:] == [
        "-  mode: v6_fixed  # who answers",
        "+  mode: v8        # who answers",
    ]
    assert plan.widened == ("every other symbol: v8 from 0 % to 100 % of the answers",)
    assert plan.remarks == (
        f"not checked against the models: no bundles under {files.model_store}; name the folder with --model-store",
        f"no journal at {files.journal} yet: this record begins it; is the service's elsewhere, name it with --journal",
    )


def test_a_change_that_changes_nothing_writes_nothing(files):
    before = files.settings.stat()
    assert to_mode(files, "v6_fixed") == "unchanged"
    after = files.settings.stat()  # its time of access apart
    assert (after.st_ino, after.st_mtime_ns, after.st_ctime_ns) == (
        before.st_ino,
        before.st_mtime_ns,
        before.st_ctime_ns,
    )
    assert not files.journal.exists()


def test_what_the_operator_declines_is_not_made(files):
    assert to_mode(files, "v8", Answers(yes=False)) == "declined"
    assert files.settings.read_text() == TEXT.format("v6_fixed")
    assert not files.journal.exists()


def test_what_would_not_be_right_is_refused(files):
    with pytest.raises(ConfigError, match=r"serving.yaml:1: the file: mode ab in defaults needs an `experiment:`"):
        to_mode(files, "ab")
    assert files.settings.read_text() == TEXT.format("v6_fixed")


def test_mode_and_links_stay(files, tmp_path):
    files.settings.chmod(0o640)
    link = tmp_path / "link" / "serving.yaml"
    link.parent.mkdir()
    link.symlink_to(files.settings)
    to_mode(module.Files(link, files.journal, files.model_store), "v8")
    assert link.is_symlink()
    assert files.settings.read_text() == TEXT.format("v8")
    assert files.settings.stat().st_mode & 0o7777 == 0o640


def test_line_endings_stay(files):
    files.settings.write_bytes(TEXT.format("v6_fixed").replace("\n", "\r\n").encode())
    to_mode(files, "v8")
    assert files.settings.read_bytes() == TEXT.format("v8").replace("\n", "\r\n").encode()


def test_who_edited_the_file_meanwhile_loses_nothing(files):
    class Slow(Answers):
        def approve(self, plan):
            files.settings.write_text(TEXT.format("ensemble"))
            return True

    with pytest.raises(ConfigError, match="somebody else changed it meanwhile; nothing is written"):
        to_mode(files, "v8", Slow())
    assert files.settings.read_text() == TEXT.format("ensemble")
    assert not files.journal.exists()
    assert left_over(files) == []


def test_a_toggle_waits_for_another_and_not_forever(files, monkeypatch):
    monkeypatch.setattr(module, "LOCK_S", 0.0)
    with (files.settings.parent / ".serving.yaml.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="another toggle is at work, or waits for its answer"):
            to_mode(files, "v8")
    assert to_mode(files, "v8") == "changed"


@pytest.mark.parametrize("goes_on", [True, False])
def test_where_the_journal_can_not_be_written_the_operator_decides(files, goes_on):
    files.journal.write_text("a file where a folder should be")
    operator = Answers(unrecorded=goes_on)
    assert to_mode(files, "v8", operator) == ("changed" if goes_on else "declined")
    assert "journal" in operator.reasons[0]
    assert files.settings.read_text() == TEXT.format("v8" if goes_on else "v6_fixed")


def test_a_folder_that_refuses_is_one_line(files, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "fchown", refuse)
    with pytest.raises(ConfigError, match="cannot be replaced by a file of the same owner: Operation not permitted"):
        to_mode(files, "v8")
    assert files.settings.read_text() == TEXT.format("v6_fixed")
    assert left_over(files) == []


def test_a_wrong_file_may_be_replaced_as_a_whole(files):
    files.settings.write_text("defaults: {mode: v7}")
    operator = Answers()
    outcome = change(files, "rollback", lambda _: Rewritten(TEXT.format("v8")), module.Author("x", None), operator)
    assert (outcome, files.settings.read_text()) == ("changed", TEXT.format("v8"))
    assert "the file as it is is wrong" in operator.plans[0].widened[0]


# ---- processes

TOGGLE = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from toggling import Answers, to_mode
from signalserve.toggles import change
from signalserve.toggles.change import Files
folder = Path({folder!r})
files = Files(folder / "serving.yaml", folder / "journal", folder / "model_store")
{how}
"""


def script(files, how):
    code = TOGGLE.format(tests=str(TESTS), folder=str(files.settings.parent), how=how)
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE)


DIE = "os.kill(os.getpid(), signal.SIGKILL)"


@pytest.mark.parametrize(
    ("place", "made", "recorded"),
    [
        ("os.fsync = lambda _: " + DIE, False, False),
        ("change.record = lambda *_: " + DIE, False, False),
        ("change._replace = lambda *_: " + DIE, False, True),
        ("replace = change._replace; change._replace = lambda *a: (replace(*a), " + DIE + ")", True, True),
    ],
)
def test_killed_at_any_place_it_leaves_a_whole_file_and_no_change_without_a_record(files, place, made, recorded):
    killed = script(files, f"{place}\nto_mode(files, 'v8')")
    assert (killed.wait(), killed.communicate()[1]) == (-signal.SIGKILL, b"")
    assert files.settings.read_text() == TEXT.format("v8" if made else "v6_fixed")
    assert len(read_history(files.journal).toggles) == recorded
    assert to_mode(files, "ensemble") == "changed"
    assert files.settings.read_text() == TEXT.format("ensemble")
    assert left_over(files) == []


def test_two_at_once_both_land_one_after_the_other(files):
    loop = "for _ in range(10):\n    assert to_mode(files, {!r}) in ('changed', 'unchanged')"
    both = [script(files, loop.format(mode)) for mode in ("v8", "ensemble")]
    assert [(one.communicate()[1], one.returncode) for one in both] == [(b"", 0), (b"", 0)]
    toggles = read_history(files.journal).toggles
    assert {toggle.command for toggle in toggles} == {"mode v8", "mode ensemble"}
    chain = [TEXT.format("v6_fixed")]
    for toggle in toggles:  # each began where the one before it ended
        assert toggle.before == chain[-1]
        chain.append(toggle.after)
    assert files.settings.read_text() == chain[-1]
