"""`signalserve compare` from files to a report: what it prints, what it writes, what it refuses."""

import csv
import json
import shutil
from pathlib import Path
from textwrap import indent

import pytest
from stores import BTC, DEFAULTS, ETH, SOL, candles, write_model

from export.report.model import read_report
from signalserve.candles import FIELDS, iso, to_rows
from signalserve.commands.main import main
from signalserve.settings import parse_settings

BARS = 2700
NEXT_BAR = {"horizon_bars": 1, "neutral_band": 1e-4}
UNKNOWN = {"train": None, "calibration": None, "test": None}


def span(first: int, last: int) -> dict[str, str]:
    """Of the bars that are written here, both ends included."""
    times = candles(BTC, BARS).timestamp_ms
    return {"start": iso(times[first]), "end": iso(times[last])}


def write_pair(store: Path, symbol: str = BTC, **fields: object) -> None:
    spans = {"train": span(0, 1000), "calibration": span(1001, 2300), "test": None}
    for generation in ("v6_fixed", "v8"):
        write_model(store, generation, symbol, hidden=4, layers=1, **{"labels": NEXT_BAR, "spans": spans, **fields})


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bars")
    for symbol in (BTC, ETH):
        with (folder / f"{symbol}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([FIELDS, *to_rows(candles(symbol, BARS))])
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    for symbol in (BTC, ETH, SOL):
        write_pair(folder, symbol)
    return folder


def compare(store: Path, reports: Path, *words: object) -> int:
    return main(["compare", *map(str, [*words, "--model-store", store, "--reports", reports])])


def test_all_symbols_with_bars_are_compared_in_one_report(
    store: Path, bars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(store, tmp_path, "--bars", bars) == 0
    printed = capsys.readouterr().out
    assert "left out, without bars: SOL-USD" in printed
    assert "All symbols together: no criterion is met" in printed
    report = read_report(tmp_path / "compare.json")
    assert list(report.figures["symbols"]) == [BTC, ETH]
    assert list(report.figures["scopes"]) == ["All symbols together", BTC, ETH]
    entries = str(report.figures["serving_yaml"])
    assert "defaults" not in entries  # SOL-USD is served too, and was not asked
    file = f"defaults: {json.dumps(DEFAULTS)}\nsymbols:\n  {SOL}: {{mode: v8}}\n{indent(entries, '  ')}"
    assert set(parse_settings(file, "serving.yaml").symbols) == {BTC, ETH, SOL}
    assert (tmp_path / "compare.html").read_text().count("<svg") == 11


def test_two_named_bundles_in_any_order_give_json_alone(
    bars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pair(tmp_path / "store")
    reports = tmp_path / "reports"
    assert (
        compare(tmp_path / "store", reports, f"v8/{BTC}", f"v6_fixed/{BTC}/1", "--bars", bars, "--json", "--urgent")
        == 0
    )
    report = json.loads(capsys.readouterr().out)
    assert report["subject"] == f"v6_fixed/{BTC}/1, v8/{BTC}/1"
    settings = parse_settings(report["figures"]["serving_yaml"], "lines")  # of all symbols of this store: a whole file
    assert set(settings.symbols) == {BTC}
    judged = report["figures"]["scopes"][BTC]["judged"]
    assert judged["n"] == BARS - 2301 - 60  # a window after the calibration spans, a label before the end
    assert report["figures"]["symbols"][BTC]["calibration_span"]["bars"] == 1300
    assert [path.name for path in sorted(reports.iterdir())] == [f"compare-{BTC}.html", f"compare-{BTC}.json"]


@pytest.mark.parametrize(
    ("fields", "words", "said"),
    [
        ({"labels": None}, [], "does not say what it was taught: pass --horizon BARS and --band SHARE"),
        ({}, ["--horizon", "15"], "was taught 1 bars ahead with a band of 0.0001, got 15"),
        ({"spans": UNKNOWN}, [], "does not say which bars it was trained on"),
        ({"labels": {"horizon_bars": 15, "neutral_band": 1e-3}}, [], "1,000 effective labels to fit pools of BTC-USD"),
        ({"spans": {**UNKNOWN, "train": span(0, 1500)}}, [], "fit to more of them with --fit-share"),
        ({}, ["--fit-share", "0.8"], "at least 300 effective labels to judge BTC-USD on"),
        ({"spans": {**UNKNOWN, "train": span(0, BARS - 30)}}, [], "give later bars"),
        ({}, ["--fit-share", "1.5"], "--fit-share: expected a share between 0 and 1, got 1.5"),
        ({}, ["--accuracy", "68"], "--accuracy: expected a share between 0 and 1, got 68"),
        ({}, ["--fit-share", "0.99"], "give more bars after the training spans"),
        ({}, [f"v8/{BTC}"], "expected two bundles of one symbol and no --symbols, or none, got 1"),
        ({}, [f"v8/{BTC}", f"v8/{BTC}/1"], "expected a v6_fixed and a v8 of one symbol, got v8/BTC-USD/1 and v8"),
        ({}, [f"v8/{BTC}", "v7/BTC-USD"], "v7/BTC-USD: expected a bundle's folder, or one of v6_fixed/BTC-USD/1"),
        ({}, ["--symbols", "DOGE-USD"], "expected a v6_fixed and a v8 of DOGE-USD, got both of BTC-USD"),
        ({"interval_ms": 300_000}, [], "300"),
    ],
)
def test_bad_input_is_a_sentence_and_nothing_is_written(
    fields: dict[str, object],
    words: list[str],
    said: str,
    bars: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_pair(tmp_path / "store", **fields)
    assert compare(tmp_path / "store", tmp_path / "reports", *words, "--bars", bars) == 2
    printed = capsys.readouterr().err
    assert said in printed
    assert "Traceback" not in printed
    assert not (tmp_path / "reports").exists()


def test_models_of_different_labels_are_refused(bars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pair(tmp_path / "store")
    shutil.rmtree(tmp_path / "store" / "bundles" / "v8")
    write_model(tmp_path / "store", "v8", labels={"horizon_bars": 15, "neutral_band": 1e-4})
    assert compare(tmp_path / "store", tmp_path / "reports", "--bars", bars) == 2
    assert "no comparison would mean anything" in capsys.readouterr().err


def test_a_symbol_with_one_model_only_is_refused(
    bars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(tmp_path / "store", "v8", hidden=4, layers=1)
    assert compare(tmp_path / "store", tmp_path / "reports", "--bars", bars) == 2
    assert "expected a v6_fixed and a v8 of at least one symbol, got both of none" in capsys.readouterr().err


def test_bars_of_other_symbols_are_refused_by_name(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "DOGE-USD.csv").touch()
    assert compare(store, tmp_path / "reports", "--bars", tmp_path) == 2
    assert "expected bars of BTC-USD, ETH-USD, SOL-USD, got DOGE-USD" in capsys.readouterr().err
