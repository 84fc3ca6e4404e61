"""`signalserve toggle` as it is typed."""

import argparse
import io
import json
import re
import subprocess
import sys

import pytest
from toggling import TEXT, files_in

from signalserve.commands.toggle import add_parser
from signalserve.errors import ConfigError
from signalserve.journal import LATCHES
from signalserve.latches import Latch, Latches
from signalserve.settings import load_settings
from signalserve.toggles.history import read_history

EXPERIMENT = ["experiment", "--name", "x", "--split", "v6_fixed=0.9,v8=0.1", "--control", "v6_fixed", "--salt", "s"]


@pytest.fixture
def files(tmp_path):
    return files_in(tmp_path)


@pytest.fixture
def toggle(files, capsys, monkeypatch):
    """toggle(*arguments, code=0, typed=None): what was printed. typed: on a terminal; a script has none."""
    monkeypatch.setenv("COLUMNS", "200")

    def toggle(*arguments, code=0, typed=None):
        stdin = io.StringIO(typed)
        stdin.isatty = lambda: typed is not None
        monkeypatch.setattr(sys, "stdin", stdin)
        parser = argparse.ArgumentParser()
        add_parser(parser.add_subparsers())
        where = ["--settings", files.settings, "--journal", files.journal, "--model-store", files.model_store]
        args = parser.parse_args(["toggle", *map(str, [*arguments, *where])])
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
    files.journal.write_text("a file where a folder should be")
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


def test_clear_says_when_nothing_is_out(toggle):
    assert toggle("clear") == "no model is out\n"


def test_clear_asks_and_lets_a_model_answer(files, toggle):
    Latches(files.journal / LATCHES).trip(Latch("ensemble", "BTC-USD", "v8", "ab" * 32, ("clamped",), 1, None))
    with pytest.raises(ConfigError, match="this lets a model answer that broke a rule: expected a yes"):
        toggle("clear", "BTC-USD", "v8")
    assert "not cleared" in toggle("clear", "BTC-USD", typed="n\n", code=1)
    shown = toggle("clear", "BTC-USD", typed="y\n")
    assert "answers again  BTC-USD v8 on ensemble since 1970-01-01T00:00:00.001Z: clamped" in shown
    assert "BTC-USD v8 on ensemble may answer again" in shown
    assert toggle("clear", "--all") == "no model is out\n"


def test_show_tells_an_operator_what_matters(files, toggle):
    toggle(*EXPERIMENT, "--who", "me", "--why", "[b]to see[/b]")
    Latches(files.journal / LATCHES).trip(Latch("ensemble", "BTC-USD", "v8", "ab" * 32, ("clamped",), 1, None))
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


def test_show_of_a_wrong_file_says_what_to_do(files, toggle):
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
