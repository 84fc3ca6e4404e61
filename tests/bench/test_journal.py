"""The journal that is measured holds what a service would have written, and its labels."""

import dataclasses
import json
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import journal
import pytest
from history import ARMS, History
from journal import Filled, Measured, Timing, Watched
from rich.console import Console
from stores import BTC, ETH, LAST_BAR_MS, SOL, candles, write_store

from signalserve.bundle import load_bundle, newest_bundles
from signalserve.journal.store import JournalStore

QUIET = Console(quiet=True)
END_MS = LAST_BAR_MS + 60_000
MINUTES, HORIZON, BAND = 40, 15, 1e-3
WATCHED = Watched(60.0, 0.03, 150.0, 120.0, 20.0, 600, 1800)
GOOD = Measured(Filled(900, 800, 1.0, 90_000), [Timing("overdue", 0.1, 0.2, 20)], WATCHED)


@pytest.fixture
def history(tmp_path: Path) -> History:
    store = write_store(tmp_path / "store", (BTC, ETH), hidden=2, layers=1)
    return History([load_bundle(path) for path in newest_bundles(store / "bundles")], MINUTES + 60, END_MS)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JournalStore]:
    store = JournalStore(tmp_path / "journal")
    yield store
    store.close()


def test_every_arm_of_every_window_is_taken_in_and_labelled_once_its_bar_has_come(
    history: History, store: JournalStore, tmp_path: Path
) -> None:
    filled = journal.fill(store, tmp_path / "journal", history, MINUTES, QUIET)
    assert filled.rows == 2 * ARMS * MINUTES
    assert filled.labelled == 2 * ARMS * (MINUTES - HORIZON)
    assert filled.size == (tmp_path / "journal" / "journal.sqlite").stat().st_size


def test_labels_are_those_of_the_bars_that_the_history_tells(
    history: History, store: JournalStore, tmp_path: Path
) -> None:
    journal.fill(store, tmp_path / "journal", history, MINUTES, QUIET)
    close = candles(BTC, MINUTES + 60).close[:MINUTES]
    found = store.connection.execute(
        "SELECT outcome FROM predictions WHERE symbol = ? AND arm = 'v8' AND outcome IS NOT NULL ORDER BY as_of_ms",
        (BTC,),
    )
    moves = [later / now - 1 for now, later in zip(close, close[HORIZON:], strict=False)]
    assert [outcome for (outcome,) in found] == [1 + (move > BAND) - (move < -BAND) for move in moves]


def test_one_arm_of_a_window_is_answered_and_probabilities_are_whole(history: History) -> None:
    prediction, _ = history.of(ETH, 3)
    assert [arm.arm for arm in prediction.arms if arm.answered] == ["ensemble"]
    assert [sum(arm.probabilities) for arm in prediction.arms] == pytest.approx([1.0] * ARMS)


def test_asking_adds_only_the_predictions_whose_taking_in_is_timed(
    history: History, store: JournalStore, tmp_path: Path
) -> None:
    filled = journal.fill(store, tmp_path / "journal", history, MINUTES, QUIET)
    drain, *others = journal.ask(store, tmp_path / "journal", history, count(MINUTES))
    assert len(others) == 9
    assert journal.count_rows(tmp_path / "journal") == filled.rows + ARMS * drain.times
    assert store.connection.execute("SELECT count(*) FROM predictions WHERE outcome_source = 'caller'").fetchone() == (
        0,
    )


def test_within_the_goals_nothing_is_missed() -> None:
    assert GOOD.missed() == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rss_mb": 301.0}, "301 MB"),
        ({"core": 0.062}, "6.2% of a core"),
        ({"rows": 1797}, "1,797 rows taken in of 1,800"),
    ],
)
def test_what_misses_its_goal_is_named(change: dict[str, float], said: str) -> None:
    watched = dataclasses.replace(WATCHED, **change)  # type: ignore[arg-type]
    assert dataclasses.replace(GOOD, watched=watched).missed() == [said]


def test_the_exit_code_says_whether_the_goals_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    large = dataclasses.replace(GOOD, watched=dataclasses.replace(WATCHED, rss_mb=400.0))
    monkeypatch.setattr(sys, "argv", ["journal.py", "--json", str(tmp_path / "out.json")])
    for result, code, words in ((GOOD, 0, "within 300 MB"), (large, 1, "NOT within 300 MB and 5% of a core: 400 MB")):
        monkeypatch.setattr(journal, "measure", lambda *_, result=result: result)
        assert journal.main() == code
        assert words in capsys.readouterr().out
    assert json.loads((tmp_path / "out.json").read_text())["missed"] == ["400 MB"]


@pytest.mark.live
def test_the_services_own_watcher_takes_in_all_that_is_added(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", (BTC, ETH, SOL), hidden=2, layers=1)
    measured = journal.measure(store, 500, 2.0, QUIET)
    assert measured.filled.rows >= 500
    assert (measured.watched.predictions, measured.watched.rows) == (20, 60)
    assert measured.watched.core > 0
    assert 20 < measured.watched.pss_mb <= measured.watched.rss_mb
