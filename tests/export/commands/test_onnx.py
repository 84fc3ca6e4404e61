"""`signalserve onnx`: what it writes answers, and where anything is wrong it writes nothing."""

import csv
import hashlib
import json
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
from stores import BTC, candles, raw_window, write_model, write_settings, write_store

import export.onnx_files
from signalserve.bundle import load_bundle
from signalserve.candles import FIELDS, Candles, to_rows
from signalserve.commands.main import main
from signalserve.engine import onnx_bytes

TINY: dict[str, Any] = {"hidden": 4, "layers": 1}
MODEL, OTHER, POOL = f"v8/{BTC}", f"v6_fixed/{BTC}/1", "ensemble_BTC-USD.onnx"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    write_settings(tmp_path / "serving.yaml", {"symbols": {BTC: {"pool": {"method": "log", "temperature": 1.25}}}})
    return write_store(tmp_path, **TINY)


@pytest.fixture
def bars(tmp_path: Path) -> Path:
    (tmp_path / "bars").mkdir()
    with (tmp_path / "bars" / "BTC-USD.csv").open("w", newline="") as file:
        csv.writer(file).writerows([FIELDS, *to_rows(candles(n=1200))])
    return tmp_path / "bars"


def export_to(store: Path, *words: str) -> int:
    places = ["--model-store", str(store), "--settings", str(store / "serving.yaml"), "--out", str(store / "out")]
    return main(["onnx", *words, *places])


def said_by(path: Path) -> dict[str, str]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return dict(session.get_modelmeta().custom_metadata_map)


def test_models_and_an_ensemble_are_written_after_all_of_them_agreed(
    store: Path, bars: Path, capsys: pytest.CaptureFixture[str]
):
    assert export_to(store, MODEL, OTHER, "--ensemble", BTC, "--bars", str(bars)) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if line]
    names = ["v8_BTC-USD_1.onnx", "v6_fixed_BTC-USD_1.onnx", POOL]
    assert [path.name for path in sorted((store / "out").iterdir())] == sorted(names)
    for line, name in zip(said, names, strict=True):
        assert line.startswith(f"wrote {store / 'out' / name}, ")
        assert "on 141 real windows" in line  # of 1,200 bars, 1,000 until features settle and 60 a window
    session = onnxruntime.InferenceSession(store / "out" / POOL, providers=["CPUExecutionProvider"])
    (probabilities,) = session.run(["probabilities"], {"windows": raw_window()[None], "weights": [0.5, 0.5]})
    assert probabilities.sum() == pytest.approx(1)


def test_the_pool_is_the_configured_one_unless_the_command_line_says_otherwise(store: Path):
    pools = []
    for words in ((), ("--pool", "linear"), ("--temperature", "3")):
        assert export_to(store, "--ensemble", BTC, *words) == 0
        said = said_by(store / "out" / POOL)
        pools.append((said["pool"], float(said["pool_temperature"])))
    assert pools == [("log", 1.25), ("linear", 1.25), ("log", 3.0)]


def test_with_json_the_output_is_what_was_written_and_on_what_it_was_checked(
    store: Path, capsys: pytest.CaptureFixture[str]
):
    assert export_to(store, MODEL, "--json") == 0
    (written,) = json.loads(capsys.readouterr().out)
    content = Path(written["file"]).read_bytes()
    assert (written["bytes"], written["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert (written["windows"], written["windows_from"]) == (1000, "generated")
    assert 0 <= written["float64"]["probability"] < 1e-5


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "pass v8/BTC-USD or --ensemble BTC-USD"),
        ((MODEL, "--pool", "log"), "expected with --ensemble SYMBOL alone"),
        ((MODEL, "--temperature", "2"), "expected with --ensemble SYMBOL alone"),
        (("--ensemble", BTC, "--temperature", "0"), "--temperature: expected a finite number above 0, got 0"),
        (("--ensemble", BTC, "--temperature", "nan"), "--temperature: expected a finite number above 0, got nan"),
        (("--ensemble", "DOGE-USD"), "expected a symbol that has served models, which are BTC-USD; got DOGE-USD"),
        (("v9/BTC-USD",), "v9/BTC-USD: expected a bundle's folder, or one of v6_fixed/BTC-USD/1"),
        ((MODEL, MODEL), "got two that would be v8_BTC-USD_1.onnx"),
        ((MODEL, "--bars", "nowhere"), "nowhere: expected a folder with files of candles"),
    ],
)
def test_what_cannot_be_exported_is_one_sentence_and_nothing_is_written(
    store: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], sentence: str
):
    assert export_to(store, *words) == 2
    assert sentence in capsys.readouterr().err
    assert not (store / "out").exists()


def test_a_model_that_reads_no_candles_is_checked_on_features_or_generated_windows(
    store: Path, bars: Path, capsys: pytest.CaptureFixture[str]
):
    write_model(store, "v7", columns=("mood", "moon"), **TINY)
    assert export_to(store, f"v7/{BTC}", "--bars", str(bars)) == 2
    assert "pass a folder of ready features with --features" in capsys.readouterr().err
    assert export_to(store, f"v7/{BTC}") == 0


def test_one_file_that_answers_otherwise_keeps_all_of_them_from_being_written(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    other = load_bundle(write_model(store, "v7", **TINY))
    monkeypatch.setattr(
        export.onnx_files, "onnx_bytes", lambda bundle: onnx_bytes(other if bundle.name.startswith("v6") else bundle)
    )
    assert export_to(store, MODEL, OTHER) == 2
    assert "v6_fixed_BTC-USD_1.onnx: expected every probability within 1e-05 of torch's" in capsys.readouterr().err
    assert not (store / "out").exists()


def test_a_folder_that_cannot_be_written_is_named(store: Path, capsys: pytest.CaptureFixture[str]):
    (store / "out").write_text("a file")
    assert export_to(store, MODEL) == 2
    assert f"{store / 'out'}: cannot be written: Not a directory" in capsys.readouterr().err


def test_a_committed_model_agrees_on_the_real_bars(
    real_bars: dict[str, Candles], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    root = Path(__file__).resolve().parents[3]
    words = ["onnx", f"v6_fixed/{BTC}", "--model-store", str(root / "model_store"), "--out", str(tmp_path)]
    assert main([*words, "--bars", str(root.parent / "shared" / "data")]) == 0
    assert "on 1,000 real windows" in capsys.readouterr().out
