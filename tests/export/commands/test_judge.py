"""`signalserve judge` from the command line: its exit codes, what it writes, and what it refuses in words."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from stores import BTC, ETH, candles, write_model

from export.report.model import report_schema
from signalserve.bundle import load_bundle
from signalserve.candles import FIELDS, Candles, to_rows
from signalserve.commands.main import main
from signalserve.features import COLUMNS, compute_features

BARS = 2600
LENIENT = "required: [finite, logits]\nraw_logit: 100.0\nwindows: 300\n"
STRICT = "windows: 300\n"
UNKNOWN = {"train": None, "calibration": None, "test": None}
COMMITTED = Path(__file__).resolve().parents[3] / "model_store"


def write_bars(folder: Path, rows: list[list[Any]] | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    with (folder / f"{BTC}.csv").open("w", newline="") as file:
        csv.writer(file).writerows([FIELDS, *(to_rows(candles(BTC, BARS)) if rows is None else rows)])
    return folder


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bars(tmp_path_factory.mktemp("bars"))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    write_model(tmp_path / "store", "v8", hidden=4)
    return tmp_path / "store"


Judge = Callable[..., int]


@pytest.fixture
def judge(tmp_path: Path, store: Path, bars: Path) -> Judge:
    """judge(*arguments, gates=…): the exit code, on the store and bars above."""

    def run(*arguments: object, gates: str = STRICT, bars: Path = bars) -> int:
        (tmp_path / "gates.yaml").write_text(gates)
        where = ["--model-store", store, "--bars", bars, "--reports", tmp_path / "reports"]
        words = arguments or (f"v8/{BTC}",)
        return main(["judge", *map(str, [*words, "--gates", tmp_path / "gates.yaml", *where])])

    return run


def versions(store: Path) -> list[str]:
    return sorted(path.name for path in (store / "bundles" / "v8" / BTC).iterdir())


def test_a_model_that_fails_gives_1_and_a_new_version_says_so(judge: Judge, store: Path, tmp_path: Path):
    old = (store / "bundles" / "v8" / BTC / "1" / "manifest.json").read_bytes()
    assert judge() == 1
    assert versions(store) == ["1", "2"]
    new = load_bundle(store / "bundles" / "v8" / BTC / "2")
    assert {"accuracy", "features"} <= set(new.failed_gates)  # features: its training bars are not in the file
    assert new.manifest.gates.report["sets"]["same_windows"]["windows"] == 300
    assert new.manifest.provenance["history"][-1]["changed"] == ["gates"]
    assert (store / "bundles" / "v8" / BTC / "1" / "manifest.json").read_bytes() == old
    assert {path.name for path in (tmp_path / "reports").iterdir()} == {
        f"judge-v8-{BTC}-1.{e}" for e in ("html", "json")
    }


def test_a_model_that_passes_gives_0(judge: Judge, store: Path, capsys: pytest.CaptureFixture[str]):
    assert judge(gates=LENIENT) == 0
    assert load_bundle(store / "bundles" / "v8" / BTC / "2").manifest.gates.passed == ["finite", "logits"]
    assert "All 2 required gates were passed, with reservations." in capsys.readouterr().out


def test_ready_features_give_the_same_verdict_as_their_candles(judge: Judge, store: Path, tmp_path: Path):
    made = candles(BTC, BARS)
    columns = {
        "timestamp": made.timestamp_ms,
        "close": made.close,
        **dict(zip(COLUMNS, compute_features(made).T, strict=True)),
    }
    (tmp_path / "ready").mkdir()
    pq.write_table(
        pa.table({name: rows[1000:] for name, rows in columns.items()}), tmp_path / "ready" / "BTC_features.parquet"
    )
    (tmp_path / "gates.yaml").write_text(STRICT)
    where = ["--model-store", store, "--reports", tmp_path / "reports", "--gates", tmp_path / "gates.yaml"]
    assert judge() == main(["judge", f"v8/{BTC}/1", "--features", str(tmp_path / "ready"), *map(str, where)]) == 1
    from_candles, ready = (load_bundle(store / "bundles" / "v8" / BTC / v).manifest.gates.report for v in ("2", "3"))
    assert values(ready) == pytest.approx(values(from_candles), abs=1e-6)


def values(report: dict[str, Any]) -> dict[tuple[str, str], float]:
    return {(one["name"], one["on"]): one["value"] for one in report["figures"] if one["gate"] != "features"}


def test_one_failure_among_several_bundles_gives_1(judge: Judge, store: Path, tmp_path: Path):
    passing = write_model(tmp_path / "other", "v6_fixed", hidden=4)
    failing = write_model(tmp_path / "other", "v8", hidden=4, gain=1e4)  # logits beyond ±100
    assert judge(passing, failing, "--out", tmp_path / "out", gates=LENIENT) == 1
    found = [load_bundle(tmp_path / "out" / name / BTC / "1").failed_gates for name in ("v6_fixed", "v8")]
    assert found == [(), ("logits",)]


def test_a_dry_run_reports_and_writes_no_version(judge: Judge, store: Path, tmp_path: Path):
    assert judge(f"v8/{BTC}", "--dry-run") == 1
    assert versions(store) == ["1"]
    assert (tmp_path / "reports" / f"judge-v8-{BTC}-1.html").exists()


def test_json_is_the_report_alone(judge: Judge, capsys: pytest.CaptureFixture[str]):
    assert judge(f"v8/{BTC}", "--json", "--dry-run") == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["command"], report["verdict"]["level"]) == ("judge", "fail")
    assert jsonschema.Draft202012Validator(report_schema()).is_valid(report)
    assert report["figures"]["bars"] == f"{BTC}.csv"


def seen_to(end: str) -> dict[str, Any]:
    span = {"start": "2025-11-20T00:00:00Z", "end": end, "bars": None}
    return {"spans": {"train": span, "calibration": span, "test": None}}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"spans": UNKNOWN}, "does not say which bars it was trained on"),
        ({"labels": None}, "does not say what it was taught: pass --horizon BARS and --band SHARE"),
        (seen_to("2025-11-24T16:00:00Z"), "the model has seen bars up to 2025-11-24T16:00:00Z"),
        (seen_to("2025-11-24T12:00:00Z"), "expected at least 300 windows to judge v8 of BTC-USD"),
        ({"interval_ms": 900_000}, "900"),
        ({"columns": ("rsi_14", "my_own")}, "the model reads my_own, which candles do not give"),
    ],
)
def test_a_model_that_cannot_be_judged_is_refused_in_words(
    judge: Judge, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], fields: dict[str, Any], words: str
):
    write_model(store, "v8", version="2", hidden=4, **fields)
    assert judge() == 2
    assert words in refusal(capsys)
    assert versions(store) == ["1", "2"] and not (tmp_path / "reports").exists()


def refusal(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on standard error."""
    [line] = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("signalserve: ")
    return line


def with_a_gap(all_bars: Candles) -> list[list[Any]]:
    rows = to_rows(all_bars)
    return [*rows[:2000], *rows[2001:]]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: write_bars(folder, with_a_gap(candles(BTC, BARS))), "csv"),
        (lambda folder: write_bars(folder, to_rows(candles(BTC, 900))), "expected more than 1000 bars"),
        (lambda folder: folder, "does not exist"),
    ],
)
def test_bars_that_cannot_be_used_are_refused_in_words(
    judge: Judge, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], make: Callable, words: str
):
    assert judge(bars=make(tmp_path / "wrong")) == 2
    assert words in refusal(capsys)
    assert versions(store) == ["1"]


@pytest.mark.parametrize(
    ("arguments", "gates", "words"),
    [
        ((f"v8/{BTC}", f"v8/{ETH}"), STRICT, f"v8/{ETH}: expected a bundle's folder, or one of v8/{BTC}/1"),
        ((f"v8/{BTC}", "--horizon", "3"), STRICT, "was taught 15 bars ahead"),
        ((), "acuracy: 0.5", "gates.yaml:1: acuracy: unknown key"),
    ],
)
def test_a_wrong_argument_is_refused_before_anything_is_judged(
    judge: Judge, store: Path, capsys: pytest.CaptureFixture[str], arguments: tuple, gates: str, words: str
):
    assert judge(*arguments, gates=gates) == 2
    assert words in refusal(capsys)
    assert versions(store) == ["1"]


def test_whoever_vouches_may_have_a_model_of_unknown_training_judged(judge: Judge, store: Path):
    write_model(store, "v8", version="2", hidden=4, spans=UNKNOWN, labels=None)
    assert judge(f"v8/{BTC}", "--assume-unseen", "--horizon", "15", "--band", "0.001") == 1
    new = load_bundle(store / "bundles" / "v8" / BTC / "3").manifest
    assert new.gates.report["labels"] == {"horizon_bars": 15, "neutral_band": 0.001}


def test_a_place_that_cannot_be_written_to_is_named(
    judge: Judge, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "file").write_text("")
    assert judge(f"v8/{BTC}", "--out", tmp_path / "file" / "bundles") == 2
    assert "file/bundles: cannot be written: Not a directory; choose another folder" in refusal(capsys)
    assert not (tmp_path / "reports").exists()
    assert main(["judge", f"v8/{BTC}", "--model-store", str(store), "--bars", "x", "--reports", __file__]) == 2
    assert "test_judge.py: cannot be written" in refusal(capsys)
    assert versions(store) == ["1"]


def test_a_reader_of_two_lines_is_no_failed_gate_and_takes_no_version_away(store: Path, bars: Path, tmp_path: Path):
    (tmp_path / "gates.yaml").write_text(LENIENT)
    words = ["judge", f"v8/{BTC}", "--model-store", store, "--bars", bars, "--gates", tmp_path / "gates.yaml"]
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "signalserve.commands.main", *map(str, words), "--reports", str(tmp_path / "r")]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")
    assert versions(store) == ["1", "2"]


def test_a_committed_model_is_judged_on_the_real_bars(real_bars: dict[str, Candles], tmp_path: Path):
    data = Path(__file__).resolve().parents[3].parent / "shared" / "data"
    arguments = [
        f"v6_fixed/{BTC}",
        "--bars",
        data,
        "--model-store",
        COMMITTED,
        "--reports",
        tmp_path,
        "--dry-run",
        "--json",
    ]
    assert main(["judge", *map(str, arguments)]) == 1
    [written] = tmp_path.glob("*.json")
    report = json.loads(written.read_text())
    found = {(figure["gate"], figure["on"]): figure for figure in report["figures"]["figures"]}
    assert found["features", "training"]["passed"] and found["finite", "recent"]["passed"]
    assert found["accuracy", "same_windows"]["value"] < 0.5  # little better than chance, and said so
    assert report["figures"]["sets"]["same_windows"]["windows"] == 1000
