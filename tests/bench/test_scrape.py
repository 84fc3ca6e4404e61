"""Workers that live for a moment leave what real ones leave, and what the watcher says of them is held to the goal."""

import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import scrape
from full_windows import values_of
from rich.console import Console
from scrape import Measured, Scraper, Scrapes
from stores import BTC, ETH, write_store

from signalserve.environment import METRICS_VARIABLE
from signalserve.watcher.fold import fold_dead
from signalserve.watcher.worker_counts import WorkerCounts

SERVED = {BTC: ["v6_fixed", "v8"], ETH: ["v8"]}
STARTS = "signalserve_worker_starts_total"
QUICK = Scrapes("at the start", 20, 10.0, 20.0, 90.0, 8.0)
GOOD = Measured([QUICK, dataclasses.replace(QUICK, when="after")], 2_900, 8, 8, 2)


def test_as_many_workers_begin_as_are_asked_for_and_all_are_counted_when_they_are_dead(tmp_path: Path) -> None:
    with scrape.short_lives(tmp_path, SERVED) as wave:
        wave(4)
        assert fold_dead(tmp_path) == 16  # counters, histograms and two kinds of gauges of each
        wave(3)
    fold_dead(tmp_path)
    page = WorkerCounts(tmp_path).text().decode()
    starts = {endpoint: values_of(page, STARTS, endpoint=endpoint) for endpoint in ("v6_fixed", "v8", "ensemble")}
    assert starts == {"v6_fixed": [2], "v8": [2], "ensemble": [3]}
    assert values_of(page, "signalserve_predictions_total", endpoint="v8", symbol=ETH, direction="UP") == [2]


@pytest.fixture
def scraper(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Scraper]:
    """Of a watcher that counts its own pages as starts, and takes a second of processor time for each."""
    pages: list[str] = []

    def get(_: str) -> Any:
        pages.append("# TYPE x counter\n" + "".join(f'{STARTS}{{endpoint="e{i}"}} 1\n' for i in range(len(pages))))
        return SimpleNamespace(raise_for_status=lambda: SimpleNamespace(text=pages[-1]))

    process = SimpleNamespace(
        environ=lambda: {METRICS_VARIABLE: str(tmp_path)},
        cpu_times=lambda: SimpleNamespace(user=float(len(pages)), system=0.0),
    )
    service: Any = SimpleNamespace(process=lambda role: {"watcher": process}[role], watcher_url="http://127.0.0.1:1")
    with Scraper(service) as scraper:
        monkeypatch.setattr(scraper._client, "get", get)
        yield scraper


def test_one_scrape_follows_each_event_and_takes_what_the_watcher_took(scraper: Scraper) -> None:
    done = scraper.scrape("now", range(5))
    assert (done.when, done.times, done.cpu_ms) == ("now", 5, 1000)
    assert 0 < done.median_ms <= done.p99_ms <= done.most_ms


def test_starts_are_added_up_over_the_endpoints(scraper: Scraper) -> None:
    assert [scraper.worker_starts() for _ in range(3)] == [0, 1, 2]


def test_within_the_goals_nothing_is_missed() -> None:
    assert GOOD.missed() == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"scrapes": [QUICK, dataclasses.replace(QUICK, when="later", p99_ms=51.0)]}, "later: 51 ms"),
        ({"series": 3_001}, "3,001 series"),
        ({"counted": 7}, "7 of 8 starts counted"),
        ({"files": 18}, "18 files left of workers that have ended"),
    ],
)
def test_what_misses_its_goal_is_named(change: dict[str, Any], said: str) -> None:
    assert dataclasses.replace(GOOD, **change).missed() == [said]


def test_the_exit_code_says_whether_the_goals_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["scrape.py", "--json", str(tmp_path / "out.json")])
    for result, code, words in (
        (GOOD, 0, "within 50 ms"),
        (dataclasses.replace(GOOD, series=4_000), 1, "NOT within 50 ms"),
    ):
        monkeypatch.setattr(scrape, "measure", lambda *_, result=result: result)
        assert scrape.main() == code
        assert words in capsys.readouterr().out
    assert json.loads((tmp_path / "out.json").read_text())["missed"] == ["4,000 series"]


def test_bundles_without_references_are_refused(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", (BTC,), hidden=2, layers=1)
    with pytest.raises(scrape.ProgramError, match="expected bundles with references of drift, v6_fixed/BTC-USD/1"):
        scrape.measure(store, 1, 1, Console(quiet=True))
