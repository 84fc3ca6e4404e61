"""The offline pass is measured whole, against the same engine, and a missed limit is said."""

import csv
import dataclasses
import json
import sys
from pathlib import Path

import lab
import pytest
from figures import Spread
from lab import Alone, Lab, Pass
from rich.console import Console
from stores import BTC, ETH, candles, write_model, write_store

import export.series
from signalserve.candles import FIELDS, to_rows
from signalserve.engine import Engine

PASS = Pass("v8 BTC-USD", 900, 1.0, Alone(1000.0, 64, 2), Spread(0.9, 0.7, 1.0))
SLOW = dataclasses.replace(PASS, ratio=Spread(0.45, 0.4, 0.9))
GOOD = Lab({BTC: 1.0}, [PASS], 900.0, {0.0: 0.95, 0.9: 0.93})


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return write_store(tmp_path, (BTC, ETH), hidden=2, layers=1)


@pytest.fixture
def bars(tmp_path: Path) -> Path:
    (tmp_path / "bars").mkdir()
    for symbol in (BTC, ETH):
        with (tmp_path / "bars" / f"{symbol}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([FIELDS, *to_rows(candles(symbol, 1500))])
    return tmp_path / "bars"


def test_every_served_model_passes_over_all_windows_and_features_are_computed_once(
    store: Path, bars: Path, monkeypatch: pytest.MonkeyPatch
):
    computed: list[int] = []
    compute = export.series.compute_features
    monkeypatch.setattr(export.series, "compute_features", lambda bars: (computed.append(len(bars)), compute(bars))[1])
    write_model(store, "v7", BTC, hidden=2, layers=1)
    found = lab.measure(store, bars, Console(quiet=True), quick=True)
    models = [f"{generation} {symbol}" for symbol in (BTC, ETH) for generation in ("v6_fixed", "v8")]
    assert [each.model for each in found.passes] == models
    assert {each.windows for each in found.passes} == {1500 - 1000 - 59}
    assert computed == [1500, 1500]
    assert found.peak_mb > 50
    assert all(0.5 < share <= 1 for share in found.coverage.values())


def test_a_ratio_is_a_part_of_the_pass_over_the_engine_right_before_and_after_it(
    store: Path, bars: Path, monkeypatch: pytest.MonkeyPatch
):
    (subject, *_), _ = lab.read_subjects(store, bars)
    seconds = iter(range(1000))
    monkeypatch.setattr(lab.time, "perf_counter", lambda: float(next(seconds)))  # whatever is timed takes a second
    rates = iter([100.0, 50.0, *[100.0] * 7])
    monkeypatch.setattr(lab, "measure_setting", lambda *_: Alone(next(rates), 64, 1))
    told: list[int] = []
    found = lab.measure_pass(subject, Alone(1.0, 64, 1), told.append)
    assert found.windows == sum(told) == 441
    assert (found.seconds, found.alone.per_second) == (lab.PARTS, 100.0)
    assert (found.ratio.low, found.ratio.high) == (55 / 100, 56 / 75)  # 441 windows in 8 parts of 55 or 56


def test_within_the_limits_nothing_is_missed() -> None:
    assert GOOD.missed() == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"passes": [SLOW]}, "v8 BTC-USD: ratio 0.45 (0.40–0.90)"),
        ({"peak_mb": 1600.0}, "peak memory 1,600 MB"),
        ({"coverage": {0.0: 0.95, 0.9: 0.89}}, "coverage 0.890 at φ 0.9"),
    ],
)
def test_what_misses_its_limit_is_named(change: dict[str, object], said: str) -> None:
    assert dataclasses.replace(GOOD, **change).missed() == [said]  # type: ignore[arg-type]


def test_the_engine_alone_is_asked_with_every_batch_size(
    store: Path, bars: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (subject, *_), _ = lab.read_subjects(store, bars, most=300)
    sizes: set[int] = set()
    run = Engine.predict_rows
    monkeypatch.setattr(Engine, "predict_rows", lambda self, windows: (sizes.add(len(windows)), run(self, windows))[1])
    best = lab.measure_alone(subject)
    assert sizes == {64, 128, 256, 300, 300 % 64, 300 % 128, 300 % 256}
    assert best.batch in lab.BATCHES
    assert best.per_second > 0


def test_the_script_prints_the_ratios_and_its_exit_code_says_whether_limits_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    slow = dataclasses.replace(GOOD, passes=[SLOW])
    monkeypatch.setattr(sys, "argv", ["lab.py", "--json", str(tmp_path / "lab.json")])
    for result, code, words in ((GOOD, 0, "every limit is kept"), (slow, 1, "missed: v8 BTC-USD: ratio 0.45")):
        monkeypatch.setattr(lab, "measure", lambda *_, result=result, **__: result)
        assert lab.main() == code
        assert words in capsys.readouterr().out
    content = json.loads((tmp_path / "lab.json").read_text())
    assert content["passes"][0]["ratio"]["median"] == 0.45
    assert content["missed"] == ["v8 BTC-USD: ratio 0.45 (0.40–0.90)"]
