"""`signalserve toggle` as it is typed."""

import argparse
import io
import json
import os
import re
import subprocess
import sys
from dataclasses import replace

import pytest
from toggling import TEXT, files_in

from signalserve.commands.toggle import add_parser
from signalserve.environment import JOURNAL_VARIABLE, SETTINGS_VARIABLE
from signalserve.errors import ConfigError, JournalError
from signalserve.journal import LATCHES, spool_of
from signalserve.latches import Latch, Latches, clear
from signalserve.settings import load_settings
from signalserve.toggles import latched
from signalserve.toggles.history import read_history

OUT = Latch("ensemble", "BTC-USD", "v8", "ab" * 32, ("clamped",), 1, None)
EXPERIMENT = ["experiment", "--name", "x", "--split", "v6_fixed=0.9,v8=0.1", "--control", "v6_fixed", "--salt", "s"]


@pytest.fixture
def files(tmp_path):
    return files_in(tmp_path)


@pytest.fixture
def toggle(files, capsys, monkeypatch):
    """toggle(*arguments, code=0, typed=None): what was printed. typed: on a terminal; a script has none.

    The service's journal is that of `files` where no --journal says otherwise.
    """
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv(JOURNAL_VARIABLE, str(files.journal))
    monkeypatch.setenv(SETTINGS_VARIABLE, str(files.settings))

    def toggle(*arguments, code=0, typed=None):
        stdin = io.StringIO(typed)
        stdin.isatty = lambda: typed is not None
        monkeypatch.setattr(sys, "stdin", stdin)
        parser = argparse.ArgumentParser()
        add_parser(parser.add_subparsers())
        args = parser.parse_args(["toggle", *map(str, [*arguments, "--model-store", files.model_store])])
        assert args.run(args) == code
        return capsys.readouterr().out

    return toggle


def settings(files):
    return load_settings(files.settings)


@pytest.mark.parametrize(
    "arguments",
    [
        ["mode", "v8"],
        ["mode", "v8", "--symbol", "BTC-USD"],
        ["weights", "v6_fixed=0.3333333,v8=0.6666667"],
        ["pool", "log", "0.67", "--symbol", "SOL-USD"],
        ["shadow", "on", "--budget-ms", "12.5"],
        EXPERIMENT,
    ],
)
def test_the_record_holds_the_command_as_it_was_given(files, toggle, arguments):
    toggle(*arguments, "--yes", "--who", "me", "--why", "to see")
    [found] = read_history(files.journal).toggles
    assert (found.command.split(), found.who, found.why) == (arguments, "me", "to see")
    assert found.after == files.settings.read_text()


def test_each_verb_sets_what_it_says(files, toggle):
    toggle(*EXPERIMENT)
    toggle("experiment", "--block-minutes", 30)
    toggle("split", "v6_fixed=0.5,v8=0.5", "--yes")
    toggle("weights", "v8=1", "--yes", "--symbol", "BTC-USD")
    toggle("pool", "log", 0.5, "--yes")
    toggle("mode", "ab", "--yes")
    toggle("shadow", "on")
    found = settings(files)
    assert found.experiment.split == {"v6_fixed": 0.5, "v8": 0.5}
    assert (found.experiment.block_minutes, found.experiment.name) == (30, "x")
    assert found.symbols["BTC-USD"].weights == {"v8": 1.0}
    assert found.defaults.pool.model_dump() == {"method": "log", "temperature": 0.5}
    assert (found.defaults.mode, found.score_all_arms) == ("ab", True)


def test_a_script_must_say_yes_to_what_widens(files, toggle):
    with pytest.raises(ConfigError, match=r"answers: expected a yes, and nobody can be asked here: pass --yes"):
        toggle("mode", "v8")
    assert settings(files).defaults.mode == "v6_fixed"
    shown = toggle("mode", "v8", "--yes")
    assert "widens  every other symbol: v8 from 0 % to 100 % of the answers" in shown
    assert settings(files).defaults.mode == "v8"


def test_a_script_goes_on_where_nothing_widens(files, toggle):
    shown = toggle("shadow", "on")
    assert "+score_all_arms: true" in shown
    assert "is changed; the service takes it within a second" in shown
    assert "widens" not in shown


@pytest.mark.parametrize(("typed", "code", "mode"), [("y\n", 0, "v8"), ("\n", 1, "v6_fixed"), ("", 1, "v6_fixed")])
def test_a_person_is_asked(files, toggle, typed, code, mode):
    shown = toggle("mode", "v8", typed=typed, code=code)
    assert "change it? [y/N]" in shown
    assert settings(files).defaults.mode == mode


def test_a_change_that_changes_nothing_says_so(files, toggle):
    assert "nothing to change: " in toggle("mode", "v6_fixed")
    assert not files.journal.exists()


def test_a_change_that_can_not_be_recorded_needs_a_yes(files, toggle):
    files.journal.mkdir()
    spool_of(files.journal).write_text("a file where a folder should be")
    with pytest.raises(ConfigError, match="this cannot be recorded in the journal: expected a yes"):
        toggle("shadow", "on")
    assert "NOT RECORDED  the journal cannot be written: " in toggle("shadow", "on", "--yes")
    assert settings(files).score_all_arms


def test_only_a_right_file_is_edited(files, toggle):
    files.settings.write_text("defaults:\n  mode: v7\n")
    with pytest.raises(
        ConfigError, match=r"serving.yaml:2: .*only a file that is right can be edited: .* rollback --to"
    ):
        toggle("mode", "v8")


def test_rollback_puts_back_what_was(files, toggle):
    toggle("mode", "v8", "--yes")
    toggle("shadow", "on")
    assert "-score_all_arms: true" in toggle("rollback")
    toggle("rollback")
    assert files.settings.read_text() == TEXT.format("v6_fixed")


def test_rollback_to_a_text_mends_a_wrong_file(files, toggle):
    toggle("mode", "v8", "--yes")
    [known] = read_history(files.journal).toggles
    files.settings.write_text("half a fi")
    with pytest.raises(ConfigError, match="changed by hand"):
        toggle("rollback", "--yes")
    toggle("rollback", "--yes", "--to", known.after_sha256[:12])
    assert files.settings.read_text() == TEXT.format("v8")


def test_a_journal_that_is_not_there_is_no_place_for_a_record(files, toggle, tmp_path):
    typo = tmp_path / "jurnal"
    with pytest.raises(
        JournalError, match=r"jurnal: expected a folder with journal.sqlite, spool or latches, got none"
    ):
        toggle("mode", "v8", "--yes", "--journal", typo)
    assert settings(files).defaults.mode == "v6_fixed"
    assert not typo.exists()


def test_the_first_toggle_says_that_it_begins_a_journal(files, toggle):
    words = f"!  no journal at {files.journal} yet: this record begins it"
    assert words in toggle("shadow", "on")
    assert words not in toggle("shadow", "off")


def test_a_toggle_under_a_narrow_umask_leaves_what_others_can_read(files, toggle):
    spool_of(files.journal).mkdir(parents=True)
    files.settings.chmod(0o644)
    before = os.umask(0o077)
    try:
        toggle("shadow", "on")
    finally:
        os.umask(before)
    left = [files.settings, files.settings.with_name(".serving.yaml.lock"), *spool_of(files.journal).iterdir()]
    assert [path.stat().st_mode & 0o777 for path in left] == [0o644] * 3


def test_clear_says_where_nothing_is_out(files, toggle):
    spool_of(files.journal).mkdir(parents=True)
    assert toggle("clear") == f"no model is out by {files.journal}\n"


@pytest.mark.parametrize(("make", "words"), [(None, "got none"), ("folder", "got one without"), ("file", "Not a dir")])
def test_clear_knows_nothing_of_a_folder_that_is_no_services(files, toggle, make, words):
    if make == "folder":
        files.journal.mkdir()
    elif make == "file":
        files.journal.touch()
    with pytest.raises(JournalError, match=f"{files.journal}: .*{words}.* --journal"):
        toggle("clear", "--all", "--yes")


def test_a_service_without_a_journal_is_cleared_by_its_run_folder(toggle, tmp_path):
    run = tmp_path / "run"
    Latches(run / LATCHES).trip(OUT)
    assert "OUT  BTC-USD v8 on ensemble" in toggle("show", "--journal", run)
    declined = toggle("clear", "--all", "--journal", run, typed="y\nn\n", code=1)
    assert "NOT RECORDED" in declined and "a service that keeps none" in declined
    toggle("clear", "--all", "--journal", run, "--yes")
    assert [path.name for path in run.iterdir()] == [LATCHES]
    assert list((run / LATCHES).iterdir()) == []


def test_clear_says_what_stays_out_because_its_record_was_declined(files, toggle, monkeypatch):
    spool_of(files.journal).mkdir(parents=True)
    for latch in (OUT, replace(OUT, symbol="ETH-USD", at_ms=2)):
        Latches(files.journal / LATCHES).trip(latch)
    results = iter([None, "the disk is full"])
    monkeypatch.setattr(latched, "record", lambda *_: next(results))
    shown = toggle("clear", "--all", typed="y\nn\n", code=1)
    assert "BTC-USD v8 on ensemble may answer again" in shown
    assert "ETH-USD v8 on ensemble stays out" in shown


def test_clear_says_that_somebody_else_was_faster(files, toggle, monkeypatch):
    spool_of(files.journal).mkdir(parents=True)
    Latches(files.journal / LATCHES).trip(OUT)
    monkeypatch.setattr(latched, "record", lambda *_: clear(files.journal / LATCHES, OUT) and None)
    assert "BTC-USD v8 on ensemble was no longer out: somebody else cleared it" in toggle("clear", "--all", "--yes")


def test_a_damaged_latch_is_out_for_an_unknown_reason_and_can_be_cleared(files, toggle):
    spool_of(files.journal).mkdir(parents=True)
    (files.journal / LATCHES).mkdir()
    (files.journal / LATCHES / OUT.file_name).write_text('{"at_ms": "x"}')
    (files.journal / LATCHES / "v8.ETH-USD.v8.0.json").mkdir()
    shown = toggle("show")
    assert re.search(r"OUT  BTC-USD v8 on ensemble since \S+: its latch file is damaged, so that nobody knows", shown)
    assert "ETH-USD" not in shown
    assert "BTC-USD v8 on ensemble may answer again" in toggle("clear", "BTC-USD", "--yes")


def test_clear_asks_and_lets_a_model_answer(files, toggle):
    spool_of(files.journal).mkdir(parents=True)
    Latches(files.journal / LATCHES).trip(OUT)
    with pytest.raises(ConfigError, match="this lets a model answer that broke a rule: expected a yes"):
        toggle("clear", "BTC-USD", "v8")
    assert "not cleared" in toggle("clear", "BTC-USD", typed="n\n", code=1)
    shown = toggle("clear", "BTC-USD", typed="y\n")
    assert "answers again  BTC-USD v8 on ensemble since 1970-01-01T00:00:00.001Z: clamped" in shown
    assert "BTC-USD v8 on ensemble may answer again" in shown
    assert toggle("clear", "--all") == f"no model is out by {files.journal}\n"


def test_show_tells_an_operator_what_matters(files, toggle):
    toggle(*EXPERIMENT, "--who", "me", "--why", "[b]to see[/b]")
    Latches(files.journal / LATCHES).trip(OUT)
    shown = toggle("show")
    assert f"{files.settings}  valid" in shown
    assert re.search(
        r"every other symbol +v6_fixed +v6_fixed 40 % +linear, T 1 +v6_fixed 100 % *\n +v8 60 % *\n", shown
    )
    assert "experiment x: v6_fixed 90 %, v8 10 %; control v6_fixed, blocks of 60 minutes, salt s" in shown
    assert "OUT  BTC-USD v8 on ensemble" in shown
    assert "mend it, then: signalserve toggle clear BTC-USD v8" in shown
    assert "[b]to see[/b]" in shown


def test_show_as_json_is_all_of_it(files, toggle):
    toggle("mode", "v8", "--yes")
    found = json.loads(toggle("show", "--json"))
    assert (found["error"], found["symbols"][0]["exposure"]["v8"]) == (None, 1.0)
    assert found["changes"][0]["command"] == "mode v8"


@pytest.mark.parametrize("text", ['a: !!float ""', "a: &x {b: *x}", "a: !!bool x", "{", "a: 2026-13-01"])
def test_show_of_what_is_no_yaml_is_in_words(files, toggle, text):
    spool_of(files.journal).mkdir(parents=True)
    files.settings.write_text(text)
    assert f"WRONG  {files.settings}" in toggle("show")


def test_show_of_a_missing_file_does_not_call_it_wrong(files, toggle):
    toggle("mode", "v8", "--yes")
    files.settings.unlink()
    shown = toggle("show", code=2)
    assert f"NOT READ  {files.settings}: No such file or directory" in shown
    assert "what is in force is not known here" in shown
    assert "mode v8" in shown
    assert "WRONG" not in shown and "last good" not in shown


def test_show_says_when_nobody_can_tell_what_is_out(files, toggle):
    shown = toggle("show", code=2)
    assert f"NOT KNOWN  which models are out: {files.journal}: expected a folder" in shown
    found = json.loads(toggle("show", "--json", code=2))
    assert found["out"] is None and str(files.journal) in found["out_unknown"]


def test_show_of_a_wrong_file_says_what_to_do(files, toggle):
    spool_of(files.journal).mkdir(parents=True)
    files.settings.write_text("defaults:\n  mode: v7\n")
    shown = toggle("show")
    assert "WRONG  " in shown
    assert "serving.yaml:2: defaults.mode" in shown
    assert "signalserve toggle rollback --to SHA256" in shown


@pytest.mark.parametrize("text", ["v8", "v8=x", "=1", "v8=nan", "", "v8=1=2"])
def test_shares_that_are_none_are_refused_with_an_example(toggle, capsys, text):
    with pytest.raises(SystemExit):
        toggle("weights", text)
    assert "expected names and shares such as v6_fixed=0.4,v8=0.6" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["0", "-1", "inf", "nan", "hot"])
def test_a_temperature_is_above_0(toggle, capsys, text):
    with pytest.raises(SystemExit):
        toggle("pool", "log", f" {text}")
    assert "expected a number above 0" in capsys.readouterr().err


def test_help_needs_nothing_heavy():
    heavy = ["numpy", "pydantic", "rich", "torch", "yaml"]
    code = (
        "import argparse, sys; from signalserve.commands.toggle import add_parser; "
        "add_parser(argparse.ArgumentParser().add_subparsers()); "
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
