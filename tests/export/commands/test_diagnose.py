"""`signalserve diagnose` from files to a report: what it writes, what it prints, what it refuses."""

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from stores import BTC, ETH, candles, write_model
from torch import nn

from export.commands.diagnose import distinct
from export.report.model import read_report
from signalserve.candles import FIELDS, to_rows
from signalserve.commands.main import main
from signalserve.features import COLUMNS

MODEL = f"v8/{BTC}"


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bars")
    for symbol in (BTC, ETH):
        with (folder / f"{symbol}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([FIELDS, *to_rows(candles(symbol, 1600))])
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Path:
    write_model(tmp_path / "store", layers=1)
    return tmp_path / "store"


def run(store: Path, *words: object) -> int:
    places = ["--model-store", str(store), "--reports", str(store.parent / "reports")]
    return main(["diagnose", *map(str, words), *places])


def written(store: Path) -> list[str]:
    return sorted(path.name for path in (store.parent / "reports").glob("*"))


def refused(capsys: pytest.CaptureFixture[str], store: Path, *words: object) -> str:
    """The one line that it is refused with; nothing is written."""
    assert run(store, *words) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert written(store) == []
    return line


def checkpoint(path: Path, **others: object) -> Path:
    """V6's plain net, as its owners saved it."""
    torch.manual_seed(0)
    sizes = (len(COLUMNS), 256, 128, 64, 3)
    tensors = {}
    for i in range(1, 5):
        layer = nn.Linear(sizes[i - 1], sizes[i])
        tensors |= {f"fc{i}.weight": layer.weight.data, f"fc{i}.bias": layer.bias.data}
    torch.save({"model_state_dict": tensors, "input_size": len(COLUMNS), **others}, path)
    return path


def test_a_bundle_on_bars_gets_a_page_and_its_data(store: Path, bars: Path, capsys: pytest.CaptureFixture[str]):
    assert run(store, MODEL, "--bars", bars) == 0
    stem = f"diagnose-v8-{BTC}-1"
    assert written(store) == [f"{stem}.html", f"{stem}.json"]
    report = read_report(store.parent / "reports" / f"{stem}.json")
    assert report.facts["Windows"] == "541, in a row"  # of 1,600 bars, 1,000 of them to settle
    assert report.verdict.sentence.split()[0] in capsys.readouterr().out


def test_a_bad_model_is_a_finding_and_no_error(store: Path, bars: Path, tmp_path: Path):
    assert run(store, checkpoint(tmp_path / "lstm_BTC_v6.pt"), "--bars", bars) == 0
    report = read_report(store.parent / "reports" / "diagnose-lstm_BTC_v6.json")
    assert report.verdict.level == "fail"
    assert report.verdict.sentence.startswith("Features go in unscaled: logits reach ±")
    assert report.subject == "lstm_BTC_v6.pt: v6 of BTC-USD"
    assert any("NO SCALER" in words for words in report.sections[-1].text)


def test_a_checkpoints_scaler_and_symbol_can_be_given(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    means = {"mean": [0.5] * len(COLUMNS), "std": [2.0] * len(COLUMNS)}
    torch.save({key: torch.tensor(value) for key, value in means.items()}, tmp_path / "means.pt")
    model = checkpoint(tmp_path / "model.pt")
    assert "--symbol" in refused(capsys, store, model)
    assert run(store, model, "--symbol", "ETH", "--scaler", tmp_path / "means.pt") == 0
    assert read_report(store.parent / "reports" / "diagnose-model.json").facts["Scaler"] == "of 72 columns"


def test_without_bars_the_model_alone_is_looked_at(store: Path):
    assert run(store, MODEL) == 0
    report = read_report(store.parent / "reports" / f"diagnose-v8-{BTC}-1.json")
    assert [section.title for section in report.sections] == ["Weights"]
    assert report.figures["on_bars"] is None


def test_the_newest_windows_can_be_asked_for(store: Path, bars: Path):
    assert run(store, MODEL, "--bars", bars, "--windows", 100) == 0
    report = read_report(store.parent / "reports" / f"diagnose-v8-{BTC}-1.json")
    assert report.facts["Windows"] == "100, in a row"


def test_feature_files_without_times_or_closes_do(store: Path, tmp_path: Path):
    rows = np.random.default_rng(0).normal(size=(300, 3))
    pq.write_table(pa.table({f"x{i}": rows[:, i] for i in range(3)}), tmp_path / "BTC_features.parquet")
    write_model(store, "v9", layers=1, columns=("x0", "x1", "x2"), mean=[0.0] * 3, scale=[1.1] * 3)
    assert run(store, f"v9/{BTC}", "--features", tmp_path) == 0
    report = read_report(store.parent / "reports" / f"diagnose-v9-{BTC}-1.json")
    assert "rows 0 to 299" in report.facts["Bars"]
    assert "has no times" in report.sections[2].tables[0].note


def test_with_json_the_output_is_the_reports_alone(store: Path, bars: Path, capsys: pytest.CaptureFixture[str]):
    assert run(store, MODEL, MODEL, "--bars", bars, "--windows", 50, "--json") == 0
    reports = json.loads(capsys.readouterr().out)
    assert [report["command"] for report in reports] == ["diagnose", "diagnose"]
    assert len(written(store)) == 4


def test_models_of_one_name_get_reports_of_their_own():
    assert distinct(["a", "b", "a", "a"]) == ["a", "b", "a-2", "a-3"]


def test_what_cannot_be_read_is_refused_in_a_sentence(
    store: Path, bars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "noise.pt").write_bytes(b"no checkpoint at all")
    assert "noise.pt" in refused(capsys, store, tmp_path / "noise.pt")
    assert "does not exist" in refused(capsys, store, tmp_path / "missing.pt")
    assert "v8/BTC-USD/1" in refused(capsys, store, "v7/BTC-USD")
    assert "--windows: expected 1 or more" in refused(capsys, store, MODEL, "--windows", 0)
    assert "file of bars of SOL-USD" in refused(capsys, write_sol(store), "v8/SOL-USD", "--bars", bars)
    assert "expected a checkpoint beside" in refused(capsys, store, MODEL, "--symbol", "ETH")
    one, two = checkpoint(tmp_path / "lstm_BTC.pt"), checkpoint(tmp_path / "lstm_ETH.pt")
    assert "expected one checkpoint" in refused(capsys, store, one, two, "--symbol", "ETH")


def write_sol(store: Path) -> Path:
    write_model(store, "v8", "SOL-USD", layers=1)
    return store


def test_a_nan_in_a_checkpoint_is_named(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = checkpoint(tmp_path / "lstm_BTC_v6.pt")
    content = torch.load(path)
    content["model_state_dict"]["fc2.weight"][0, 0] = torch.nan
    torch.save(content, path)
    assert "fc2.weight" in refused(capsys, store, path)


def test_bars_with_a_gap_are_refused_and_nothing_is_written(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    rows = to_rows(candles(BTC, 1600))
    (tmp_path / "gap").mkdir()
    with (tmp_path / "gap" / "BTC-USD.csv").open("w", newline="") as file:
        csv.writer(file).writerows([FIELDS, *rows[:700], *rows[701:]])
    assert "BTC-USD.csv" in refused(capsys, store, MODEL, "--bars", tmp_path / "gap")
