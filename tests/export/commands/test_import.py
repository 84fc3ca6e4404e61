"""`signalserve import` from files to bundles: what it writes, what it says, what it refuses."""

import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import export.commands.import_checkpoint
from signalserve.bundle import find_bundles, load_bundle
from signalserve.commands.main import main
from tests.export.checkpoints.originals import ORIGINALS, edited, fitted_scaler

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("originals")
    for name in ("v6_wrapper", "v8_feed_forward"):
        ORIGINALS[name](folder)
    edited(ORIGINALS["v6_wrapper"](folder), lambda content: content.update(epoch=7), "lstm_ETH-USD_v6_fixed_again.pt")
    return folder


@pytest.fixture
def folder(originals: Path, tmp_path: Path) -> Path:
    """Three checkpoints, two of one generation and symbol, and the scalers beside them."""
    return Path(shutil.copytree(originals, tmp_path / "files"))


def run(*words: object) -> int:
    return main(["import", *map(str, words)])


def bundles(root: Path) -> list[str]:
    return ["/".join(path.parts[-3:]) for path in find_bundles(root)]


def test_a_file_becomes_a_bundle_in_the_store_and_is_described(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    original = ORIGINALS["v6_original"](tmp_path)
    assert run(original.file, "--model-store", tmp_path) == 0
    assert bundles(tmp_path / "bundles") == ["v6/BTC-USD/1"]
    shown = " ".join(capsys.readouterr().out.split())
    assert "72 → 256 → 128 → 64 → 3" in shown
    assert "accuracy (claimed) 0.6912" in shown
    assert "no temperature was found: 1 is taken" in shown


def test_a_folder_becomes_a_version_for_each_checkpoint_in_the_order_of_their_names(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder, "--out", tmp_path / "out") == 0
    assert bundles(tmp_path / "out") == ["v6_fixed/ETH-USD/1", "v6_fixed/ETH-USD/2", "v8/ETH-USD/1"]
    files = [load_bundle(path).manifest.provenance["checkpoint"]["file"] for path in find_bundles(tmp_path / "out")]
    assert files == ["lstm_ETH-USD_v6_fixed.pt", "lstm_ETH-USD_v6_fixed_again.pt", "lstm_ETH-USD_v8.pt"]
    assert "beside 1 earlier version" in capsys.readouterr().out


def test_json_stands_alone_on_standard_output(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "--out", tmp_path / "out", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["faults"] == []
    assert [(each["generation"], each["version"]) for each in told["imported"]] == [
        ("v6_fixed", "1"),
        ("v6_fixed", "2"),
        ("v8", "1"),
    ]
    assert told["imported"][1]["owners_claims"]["epoch"] == 7


def test_bad_files_are_listed_at_the_end_and_the_good_ones_written(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"accuracy": 0.7, "epoch": 3}, folder / "lstm_SOL-USD.pt")
    (folder / "lstm_BTC.pt").write_bytes(b"nonsense")
    assert run(folder, "--out", tmp_path / "out") == 2
    assert len(bundles(tmp_path / "out")) == 3
    _, end = capsys.readouterr().out.split("3 imported, 2 not:")
    assert "lstm_SOL-USD.pt: expected weights, got a file without any: it holds accuracy, epoch" in end
    assert "lstm_BTC.pt" in end


def test_no_scaler_is_the_last_thing_said_and_stands_in_the_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    original = ORIGINALS["bare_lstm"](tmp_path)
    assert run(original.file, "--out", tmp_path / "out") == 0
    shown = capsys.readouterr().out
    assert shown.strip().splitlines()[-1].startswith("NO SCALER was found")
    assert shown.count("NO SCALER") == 1
    assert run(original.file, "--out", tmp_path / "out", "--json") == 0
    assert json.loads(capsys.readouterr().out)["imported"][0]["has_scaler"] is False


def test_text_of_a_file_is_shown_as_it_is_and_obeyed_by_nobody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    original = ORIGINALS["v6_deployed"](tmp_path)
    words = {"version": "[/red] [link=http://evil]x", "[bold]\x1b[2J": "\x1b]0;OWNED\x07\u202e"}
    file = edited(original, lambda content: content.update(words), "lstm_SOL-USD_[bold]\x1b[2J.pt")
    assert run(file, "--out", tmp_path / "out") == 0
    shown = capsys.readouterr().out
    assert "[/red] [link=http://evil]x" in shown and r"[bold]\x1b[2J (claimed)" in shown
    assert shown.startswith(r"lstm_SOL-USD_[bold]\x1b[2J.pt")
    assert shown.replace("\n", "").isprintable()


def test_a_name_that_steers_the_terminal_is_spelled_out_in_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lstm_BTC\x1b[2J.pt").write_bytes(b"nonsense")
    assert run(tmp_path, "--out", tmp_path / "out") == 2
    assert r"lstm_BTC\x1b[2J.pt: expected a file of torch.save" in capsys.readouterr().err


def test_json_tells_what_was_written_before_something_failed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out" / "v8").mkdir(parents=True)
    (tmp_path / "out" / "v8" / "ETH-USD").write_text("no folder")
    assert run(folder, "--out", tmp_path / "out", "--json") == 2
    told = json.loads(capsys.readouterr().out)
    assert [each["generation"] for each in told["imported"]] == ["v6_fixed", "v6_fixed"]
    assert len(told["faults"]) == 1 and "v8" in told["faults"][0]


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_json_tells_what_was_written_before_it_was_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original = ORIGINALS["v6_deployed"](tmp_path)
    monkeypatch.setattr(export.commands.import_checkpoint, "tell", interrupted)
    assert run(original.file, "--out", tmp_path / "out", "--json") == 130
    assert json.loads(capsys.readouterr().out)["imported"][0]["symbol"] == "SOL-USD"


def test_what_the_owner_knows_is_kept(tmp_path: Path) -> None:
    original = ORIGINALS["v6_deployed"](tmp_path)
    (tmp_path / "mine.pkl").write_bytes(pickle.dumps(fitted_scaler(72, 5)))
    known = ["--symbol", "DOGE-USD", "--generation", "v8", "--scaler", tmp_path / "mine.pkl"]
    taught = ["--horizon", 15, "--band", 0.0015, "--trained", "2025-05-04T15:33:00Z", "2025-05-19"]
    assert run(original.file, "--out", tmp_path / "out", *known, *taught) == 0
    manifest = load_bundle(tmp_path / "out" / "v8" / "DOGE-USD" / "1").manifest
    assert manifest.scaler.mean == fitted_scaler(72, 5).mean_.tolist()
    assert manifest.labels and (manifest.labels.horizon_bars, manifest.labels.neutral_band) == (15, 0.0015)
    assert manifest.spans.train and manifest.spans.train.end == "2025-05-19T00:00:00Z"


class Hostile:
    def __reduce__(self) -> Any:
        return (os.system, ("touch executed",))


def test_a_hostile_file_is_refused_and_nothing_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model_state_dict": Hostile()}, "lstm_BTC.pt")
    assert run("lstm_BTC.pt", "--out", "out") == 2
    assert "posix.system" in capsys.readouterr().err
    assert not Path("executed").exists() and not Path("out").exists()


REFUSED = {
    "missing": (["nowhere.pt"], "nowhere.pt: expected a checkpoint or a folder of them, got none: No such file"),
    "empty folder": (["empty"], "empty: expected checkpoints ending in .pt"),
    "scaler for a folder": (
        ["files", "--scaler", "x.pkl"],
        "--scaler: belongs to one checkpoint, and files is a folder",
    ),
    "symbol for a folder": (["files", "--symbol", "BTC"], "--symbol: belongs to one checkpoint"),
    "missing scaler": (["files/lstm_ETH-USD_v8.pt", "--scaler", "no.pkl"], "no.pkl"),
    "horizon alone": (["files", "--horizon", "15"], "--horizon, --band: expected both or neither, got one"),
    "horizon of nothing": (
        ["files", "--horizon", "0", "--band", "0.1"],
        "expected 1 bar or more and a share from 0 to 1",
    ),
    "no times": (["files", "--trained", "then", "now"], "--trained: expected times such as 2025-05-04T15:33:00Z"),
    "backwards": (
        ["files", "--trained", "2025-05-05", "2025-05-04"],
        "--trained: expected the first bar before the last",
    ),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_bad_input_is_one_sentence_and_writes_nothing(
    folder: Path, tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    words, sentence = REFUSED[fault]
    assert run(*words) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1
    assert not Path("model_store").exists()
