"""A replay's outcomes are compared with the bars, and whatever is missing or different shows."""

import json
import sqlite3
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import replay as bench
from history import History
from replay import Joined, compare, labels_of, read_bars
from stores import BTC, ETH, LAST_BAR_MS, SOL, candles, write_store

from signalserve.bundle import Labels, Manifest, load_bundle, newest_bundles
from signalserve.candles import Candles
from signalserve.errors import DataError
from signalserve.features import MIN_CANDLES
from signalserve.journal import spool_of
from signalserve.journal.spool import SpoolWriter
from signalserve.journal.store import JournalStore

MINUTES, HORIZON = 40, 15
BARS = MIN_CANDLES - 1 + MINUTES
GOOD = Joined(windows=40, recorded=40, predictions=120, due=75, joined=75, differing=0)


@pytest.fixture
def manifests(tmp_path: Path) -> list[Manifest]:
    store = write_store(tmp_path / "store", (BTC,), hidden=2, layers=1)
    return [load_bundle(path).manifest for path in newest_bundles(store / "bundles")]


@pytest.fixture
def connection(tmp_path: Path, manifests: list[Manifest]) -> Iterator[sqlite3.Connection]:
    """The journal of a service that was asked at the end of each of the last MINUTES bars."""
    bundles = [load_bundle(path) for path in newest_bundles(tmp_path / "store" / "bundles")]
    history = History(bundles, BARS, LAST_BAR_MS + 60_000)
    store = JournalStore(tmp_path / "journal")
    writer = SpoolWriter(spool_of(tmp_path / "journal"), "test", header=history.header)
    for minute in range(MIN_CANDLES - 1, BARS):
        writer.append(history.of(BTC, minute))
    store.drain()
    yield store.connection
    store.close()


def joined(connection: sqlite3.Connection, manifests: list[Manifest]) -> Joined:
    bars = {BTC: candles(BTC, BARS)}
    return compare(connection, bars, labels_of(bars, manifests))


def moving(closes: list[float]) -> Candles:
    return replace(candles(BTC, len(closes)), close=candles(BTC, len(closes)).close * 0 + closes)


def test_outcomes_as_the_bars_have_them_are_all_joined(
    connection: sqlite3.Connection, manifests: list[Manifest]
) -> None:
    assert joined(connection, manifests) == GOOD


def test_an_outcome_that_is_missing_is_counted(connection: sqlite3.Connection, manifests: list[Manifest]) -> None:
    connection.execute("UPDATE predictions SET outcome = NULL WHERE row_id = 1")
    assert joined(connection, manifests) == replace(GOOD, joined=74)


def test_an_outcome_other_than_the_bars_is_counted(connection: sqlite3.Connection, manifests: list[Manifest]) -> None:
    connection.execute("UPDATE predictions SET outcome = (outcome + 1) % 3 WHERE row_id <= 2")
    assert joined(connection, manifests) == replace(GOOD, differing=2)


def test_an_outcome_that_no_bar_decides_is_a_difference(
    connection: sqlite3.Connection, manifests: list[Manifest]
) -> None:
    connection.execute("UPDATE predictions SET outcome = 1 WHERE row_id = 120")
    assert joined(connection, manifests) == replace(GOOD, differing=1)


def test_an_answer_that_is_not_recorded_is_counted(connection: sqlite3.Connection, manifests: list[Manifest]) -> None:
    connection.execute("DELETE FROM predictions WHERE row_id IN (118, 119, 120)")
    assert joined(connection, manifests) == replace(GOOD, recorded=39, predictions=117)


def test_labels_are_where_the_close_stands_a_horizon_later(manifests: list[Manifest]) -> None:
    rule = Labels(horizon_bars=2, neutral_band=0.01)
    bars = moving([100.0, 100.0, 102.0, 100.5, 90.0])
    found = labels_of({BTC: bars}, [manifest.model_copy(update={"labels": rule}) for manifest in manifests])
    for arm in ("v6_fixed", "v8", "ensemble"):
        assert [found.get((BTC, arm, int(at) + 60_000)) for at in bars.timestamp_ms] == [2, 1, 0, None, None]


def test_a_pool_of_models_with_different_rules_has_no_label(manifests: list[Manifest]) -> None:
    first, second = manifests
    other = second.model_copy(update={"labels": Labels(horizon_bars=5, neutral_band=0.01)})
    arms = {arm for _, arm, _ in labels_of({BTC: candles(BTC, 30)}, [first, other])}
    assert arms == {"v6_fixed", "v8"}


def test_too_few_bars_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "BTC-USD.csv").write_text("timestamp,open,high,low,close,volume\n1764000000000,1,1,1,1,1\n")
    with pytest.raises(DataError, match="expected 1,100 bars of BTC-USD, ETH-USD"):
        read_bars([BTC, ETH], 1100, tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"recorded": 39}, ["39 of 40 answers recorded"]),
        ({"differing": 2}, ["2 outcomes differ from the bars"]),
        ({"joined": 74}, ["98.667% have an outcome"]),
        ({"due": 0, "joined": 0}, ["0.000% have an outcome"]),
        ({}, []),
    ],
)
def test_what_is_missed_is_named(change: dict[str, int], said: list[str]) -> None:
    assert replace(GOOD, **change).missed() == said


@pytest.mark.live
def test_a_replay_through_the_service_joins_every_outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = write_store(tmp_path / "store", (BTC, ETH, SOL), hidden=2, layers=1)
    options = ["--model-store", str(store), "--demo", "--quick", "--json", str(tmp_path / "out.json")]
    monkeypatch.setattr(sys, "argv", ["replay.py", *options])
    assert bench.main() == 0
    found = json.loads((tmp_path / "out.json").read_text())
    assert (found["windows"], found["recorded"], found["due"]) == (120, 120, 3 * 3 * (MINUTES - HORIZON))
    assert (found["joined"], found["differing"]) == (found["due"], 0)
