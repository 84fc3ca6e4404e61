"""`signalserve journal`, on small journals."""

import argparse
import json
import os
import subprocess
import sys
from contextlib import closing

import pandas
import pytest
from journals import ARM, START_MS, SYMBOL, add_prediction, add_series, insert, new_journal

from signalserve.candles import iso
from signalserve.commands import journal as command
from signalserve.commands.journal import add_parser
from signalserve.errors import DataError, JournalError
from signalserve.journal import spool_of
from signalserve.journal.counts import COUNTS, bump
from signalserve.journal.replay import MOST_SHOWN
from signalserve.journal.tables import PREDICTIONS, TABLES
from signalserve.routing import assign
from signalserve.settings import parse_settings
from signalserve.watcher.quality import live_quality

V8 = "defaults: {mode: v8, weights: {v6_fixed: 0.4, v8: 0.6}, pool: {method: linear, temperature: 1.0}}"
EXPERIMENT = "experiment: {name: x, split: {v6_fixed: 0.5, v8: 0.5}, control: v6_fixed, block_minutes: 1, salt: s}\n"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "journal"


@pytest.fixture
def journal(folder):
    with closing(new_journal(folder)) as connection:
        yield connection


@pytest.fixture
def run(folder, capsys):
    """run(part, *arguments): the exit code is as expected, and this is what was printed."""

    def run(part, *arguments, code=0):
        parser = argparse.ArgumentParser()
        add_parser(parser.add_subparsers())
        args = parser.parse_args(["journal", part, "--journal", str(folder), *map(str, arguments)])
        assert args.run(args) == code
        return capsys.readouterr().out

    return run


# ---- tail


def test_the_tail_says_what_was_predicted_and_what_came(journal, run):
    add_prediction(journal, 0, outcome=2)
    add_prediction(journal, 1, outcome=0, answered=0, arm="ensemble")
    add_prediction(journal, 2, left_out="override", warnings="clamped,stale_input")
    lines = [" ".join(line.split()) for line in run("tail").splitlines()]
    assert lines == [
        "as of symbol arm answered said confidence outcome remarks",
        "2025-11-24 16:00 BTC-USD v8 yes UP 0.500 UP, right",
        "2025-11-24 16:01 BTC-USD ensemble UP 0.500 DOWN, wrong",
        "2025-11-24 16:02 BTC-USD v8 yes UP 0.500 override, clamped, stale_input",
    ]


def test_the_tail_is_as_long_as_asked_and_of_whom_asked(journal, run):
    for minute in range(30):
        add_prediction(journal, minute, arm="v8" if minute % 2 else "ensemble")
    assert len(run("tail").splitlines()) == 21
    found = [json.loads(line) for line in run("tail", "-n", 3, "--arm", "ensemble", "--json").splitlines()]
    assert [row["prediction_id"] for row in found] == ["p-24", "p-26", "p-28"]
    assert run("tail", "--symbol", "ETH-USD", "--json") == ""


def test_json_has_every_column_and_a_pool_as_an_object(journal, run):
    add_prediction(journal, 0, pool='{"method": "log", "members": []}', bundle_id=None)
    row = json.loads(run("tail", "--json"))
    assert tuple(row) == tuple(PREDICTIONS.columns)
    assert (row["pool"], row["version"]) == ({"method": "log", "members": []}, None)


@pytest.mark.parametrize("options", [(), ("--symbol", SYMBOL, "--arm", ARM)])
def test_following_shows_each_later_row_once(journal, run, monkeypatch, capsys, options):
    add_prediction(journal, 0)
    looks = iter(range(3))

    def sleep(_):
        look = next(looks, None)
        if look is None:
            raise KeyboardInterrupt
        add_prediction(journal, 10 * look + 10)
        add_prediction(journal, 10 * look + 11, symbol="ETH-USD")

    monkeypatch.setattr(command.time, "sleep", sleep)
    monkeypatch.setattr(command, "AT_ONCE", 1)
    with pytest.raises(KeyboardInterrupt):
        run("tail", "--follow", "--json", *options)
    ids = [json.loads(line)["prediction_id"] for line in capsys.readouterr().out.splitlines()]
    others = [] if options else ["p-11", "p-21", "p-31"]
    assert ids == sorted(["p-0", "p-10", "p-20", "p-30", *others])


def test_following_has_its_headings_once(journal, run, monkeypatch, capsys):
    looks = iter(range(2))
    monkeypatch.setattr(command.time, "sleep", lambda _: add_prediction(journal, next(looks)))
    with pytest.raises(StopIteration):
        run("tail", "-f")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [["as", "of"], ["2025-11-24", "16:00"], ["2025-11-24", "16:01"]]
    assert {line.index(word) for line, word in zip(lines[1:], ("UP", "UP"), strict=True)} == {lines[0].index("said")}


def test_a_reader_that_went_away_is_told_to_the_frame(journal, folder):
    add_series(journal, 50)
    code = f"""
import sys
from importlib.metadata import EntryPoint
from signalserve.commands import main as frame
frame.entry_points = lambda group: [EntryPoint("journal", "signalserve.commands.journal", group)]
sys.exit(frame.main(["journal", "tail", "--journal", {str(folder)!r}]))
"""
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, check=False)
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


# ---- export


def test_a_span_is_exported_and_counted(journal, run, tmp_path):
    for minute in range(10):
        add_prediction(journal, minute)
    path = tmp_path / "rows.csv"
    shown = run("export", path, "--since", "2025-11-24T16:02", "--until", "2025-11-24T17:05:00+01:00")
    assert shown == f"wrote 3 rows to {path}\n"
    assert len(path.read_text().splitlines()) == 4
    assert run("export", tmp_path / "rows.parquet") == f"wrote 10 rows to {tmp_path / 'rows.parquet'}\n"


def test_a_wrong_ending_is_said_before_anything_is_read(journal, run, tmp_path):
    with pytest.raises(DataError, match=r"expected a file ending in \.parquet or \.csv"):
        run("export", tmp_path / "rows.txt")


def test_every_table_can_be_exported(journal, run, tmp_path):
    assert tuple(command.WHAT) == tuple(TABLES)
    insert(journal, "events", event_id="e", at_ms=START_MS, event="toggle", who="ann", content="{}")
    insert(journal, "closes", symbol=SYMBOL, feed="w-1", at_ms=START_MS, close=1.5, told_ms=START_MS)
    for what, header in {
        "configs": "sha256,first_at,text",
        "events": "event_id,at,event,who,why,content",
        "closes": "symbol,at,feed,close,told_at",
    }.items():
        path = tmp_path / f"{what}.csv"
        assert run("export", path, "--what", what) == f"wrote 1 rows to {path}\n"
        assert path.read_text().splitlines()[0].replace('"', "") == header


def test_an_arm_can_be_dealt_again_from_exported_files(journal, run, tmp_path):
    text = V8.replace("mode: v8", "mode: ab") + "\n" + EXPERIMENT
    experiment = parse_settings(text, "here").experiment
    insert(journal, "configs", sha256="ab", text=text, first_ms=START_MS)
    for minute in range(30):
        arm = assign(experiment, SYMBOL, START_MS + minute * 60_000)
        add_prediction(journal, minute, config_id=2, mode="ab", assigned=arm)
    run("export", tmp_path / "rows.parquet")
    run("export", tmp_path / "configs.csv", "--what", "configs")
    texts = pandas.read_csv(tmp_path / "configs.csv").set_index("sha256")["text"]
    rows = pandas.read_parquet(tmp_path / "rows.parquet")
    dealt = [
        assign(parse_settings(texts[row.config_sha256], "file").experiment, row.symbol, row.time.value // 10**6)
        for row in rows.itertuples()
    ]
    assert dealt == rows["assigned"].tolist()
    assert len(set(dealt)) == 2


def test_configurations_of_a_span_are_refused_for_they_began_before_it(run, journal, tmp_path):
    with pytest.raises(DataError, match=r"--what configs: expected neither --since nor --until.*leave them out"):
        run("export", tmp_path / "configs.csv", "--what", "configs", "--since", "2025-11-24")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("export", "a.csv", "--since", "yesterday"), "expected a time such as 2026-11-24T10:00, got 'yesterday'"),
        (("tail", "-n", "0"), "expected a number of rows, 1 or more, got '0'"),
    ],
)
def test_wrong_arguments_are_refused_in_words(run, capsys, arguments, words):
    with pytest.raises(SystemExit):
        run(*arguments)
    assert words in capsys.readouterr().err


# ---- stats


def test_stats_count_what_became_of_the_rows(journal, run, folder):
    for minute in range(3):
        add_prediction(journal, minute, outcome=1)
    add_prediction(journal, 3, left_out="override")
    bump(journal, "outcomes_joined", 3)
    spool_of(folder).mkdir()
    (spool_of(folder) / "w.ndjson").write_bytes(b"x" * 1234)
    content = json.loads(run("stats", "--json"))
    assert (content["rows"], content["first"], content["last"]) == (4, "2025-11-24T16:00:00Z", "2025-11-24T16:03:00Z")
    assert content["waiting_bytes"] == 1234
    assert content["database_bytes"] > 10_000
    [arm] = content["arms"]
    assert (arm["counted"], arm["left_out"], arm["labelled"], arm["waiting"]) == (3, {"override": 1}, 3, 1)
    assert arm["quality"] == {"n": 3, "neutral_left_out": 0, "since": "2025-11-24T16:00:00Z", "scores": None}
    model = {"sha256": "beef", "generation": "v8", "version": "2", "weight": 1.0, "base_rates": [0.3, 0.4, 0.3]}
    assert arm["made_by"] == {"models": [model], "method": None, "temperature": 1.0, "knows_neutral": True}
    assert content["counts"] == {**dict.fromkeys(COUNTS, 0), "outcomes_joined": 3}


def test_stats_give_the_quality_of_the_last_outcomes(journal, run):
    add_series(journal, 300)
    found = live_quality(journal, SYMBOL, ARM).scores
    [arm] = json.loads(run("stats", "--json"))["arms"]
    scores = arm["quality"]["scores"]
    assert scores["accuracy"]["value"] == found.accuracy.value
    assert scores["nll"]["interval"]["low"] == found.nll.interval.low
    assert scores["before"]["shares"] == [0.3, 0.4, 0.3]
    shown = " ".join(run("stats").split())
    low, high = found.accuracy.interval.low, found.accuracy.interval.high
    assert f"BTC-USD v8 300 {found.effective_n:,.0f} {found.accuracy.value:.1%} ({low:.1%}–{high:.1%})" in shown
    assert f"shares known before {found.before.accuracy:.1%} {found.before.nll:.3f} {found.before.brier:.3f}" in shown
    assert f"shares in hindsight {found.hindsight.accuracy:.1%}" in shown


def test_stats_say_where_outcomes_are_too_few_and_what_is_behind(journal, run, folder):
    add_prediction(journal, 0, left_out="repeat")
    add_series(journal, 99)
    bump(journal, "repeats")
    spool_of(folder).mkdir()
    (spool_of(folder) / "w.ndjson").write_bytes(b"x" * 2_500_000)
    shown = " ".join(run("stats").split())
    assert "the watcher is 2.5 MB behind" in shown
    assert "BTC-USD v8 99 too few" in shown
    assert "BTC-USD v8 100 99 1 repeat 99 1 0" in shown
    assert f"1 {COUNTS['repeats']}" in shown


def test_stats_of_an_empty_journal_are_no_error(journal, run):
    content = json.loads(run("stats", "--json"))
    assert (content["rows"], content["first"], content["arms"]) == (0, None, [])
    assert "0 rows" in run("stats")


def test_stats_name_what_is_judged_since_when_and_on_what(journal, run):
    add_series(journal, 300, p=(0.4, 0.0, 0.6), logits=(-0.2, None, 0.2))
    found = live_quality(journal, SYMBOL, ARM)
    shown = " ".join(run("stats").split())
    assert f"BTC-USD v8 {found.n} " in shown
    since = iso(found.since_ms)
    assert f"v8 2 beef since {since} without {found.neutral_left_out} NEUTRAL, which it does not know" in shown


def test_stats_name_the_members_of_a_pool(journal, run):
    members = '[{"sha256": "beef", "weight": 0.4}, {"sha256": "never-told", "weight": 0.6}]'
    add_prediction(journal, bundle_id=None, pool=f'{{"method": "log", "members": {members}}}')
    shown = " ".join(run("stats").split())
    assert "too few 0.4 v8 2 beef 0.6 unknown never-to" in shown


def test_stats_of_what_does_not_count_judge_nobody(journal, run):
    add_prediction(journal, 0, left_out="override", outcome=1)
    [arm] = json.loads(run("stats", "--json"))["arms"]
    assert (arm["made_by"], arm["quality"]["n"], arm["quality"]["since"]) == (None, 0, None)
    assert "BTC-USD v8 0 too few" in " ".join(run("stats").split())


# ---- replay


@pytest.fixture
def dealt(journal):
    """Two answers that agree with their serving.yaml, one of an unknown one, and one of another endpoint."""
    insert(journal, "configs", sha256="cafe", text=V8, first_ms=START_MS)
    insert(journal, "configs", sha256="dead")
    for minute in range(2):
        add_prediction(journal, minute, config_id=2)
    add_prediction(journal, 2, config_id=3)
    add_prediction(journal, 3, endpoint="v8")


def test_a_replay_says_how_many_agree_and_how_many_cannot_be_compared(dealt, run):
    assert run("replay").splitlines() == [
        "2 answers compared: 2 agree, 0 differ",
        "        1 not compared: the journal does not hold their serving.yaml",
        "        1 not compared: of the endpoints of one model, which assign no arm",
    ]


def test_a_replay_that_differs_fails_and_names_the_answers(dealt, journal, run):
    for minute in range(10, 10 + MOST_SHOWN + 2):
        add_prediction(journal, minute, config_id=2, assigned="ensemble")
    lines = run("replay", code=1).splitlines()
    assert lines[0] == "24 answers compared: 2 agree, 22 differ"
    assert lines[3] == (
        "2025-11-24T16:10:00Z BTC-USD p-10: ensemble (mode v8) in the journal, v8 (mode v8) by its serving.yaml"
    )
    assert lines[-1] == "… and 2 more"


def test_a_replay_as_json_has_every_count(dealt, journal, run):
    add_prediction(journal, 9, config_id=2, mode="ab")
    content = json.loads(run("replay", "--json", code=1))
    [difference] = content.pop("differences")
    assert difference["mode"] == "ab" != difference["replayed_mode"]
    counts = {"compared": 3, "agreeing": 2, "differing": 1, "text_unknown": 1, "text_unreadable": 0, "unassigned": 1}
    assert content == counts


# ---- which journal


def test_the_journal_is_that_of_the_environment(journal, folder, monkeypatch, capsys):
    add_prediction(journal, 0)
    monkeypatch.setenv("SIGNALSERVE_JOURNAL", str(folder))
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    args = parser.parse_args(["journal", "tail", "--json"])
    args.run(args)
    assert json.loads(capsys.readouterr().out)["time_ms"] == START_MS


def test_where_there_is_none_yet_it_says_so(run):
    with pytest.raises(JournalError, match="no journal here yet"):
        run("tail")


def test_a_journal_that_breaks_while_it_is_read_is_named(journal, run):
    journal.execute("DROP TABLE counts")
    with pytest.raises(JournalError, match=r"journal\.sqlite: cannot be read: no such table: counts"):
        run("stats")
