"""`signalserve fix`: what it fits to which bars, against float64 of its own; before and after; what it refuses."""

import csv
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from stores import BTC, ETH, candles

from export.checkpoints.importing import Imported, import_checkpoint
from export.fixing import Mended, mend, split_for, write
from export.fixing_report import fix_report
from export.gates import GateSettings
from export.judging import training_features
from export.quality import probabilities_of
from export.report.model import Report, read_report
from export.series import Series, Source, read_series
from signalserve.bundle import Span, load_bundle
from signalserve.candles import FIELDS, Candles, iso, to_rows
from signalserve.commands.main import main
from signalserve.drift import limits
from signalserve.drift.kept import read_kept
from signalserve.drift.reference import Reference
from signalserve.engine import TorchEngine
from signalserve.errors import DataError
from signalserve.features import COLUMNS, compute_features
from signalserve.pipeline import Calibration
from tests.conftest import REAL_BARS
from tests.export.checkpoints.originals import FeedForward, Lstm, answer_of, spread, unscaled

torch.set_num_threads(1)

BARS = 5600  # of which the middle part holds just over 1,000 labels one bar ahead
NEXT_BAR = ("--horizon", "1")


def network() -> torch.nn.Module:
    return spread(lambda: FeedForward((72, 16, 8, 3)), seed=3)


def save(path: Path, state: dict[str, Any], **keys: Any) -> Path:
    torch.save({"model_state_dict": state, "temperature": 8.0, "logit_clip": 15.0, **keys}, path)
    return path


def write_bars(folder: Path, bars: Candles, symbol: str = BTC) -> Path:
    folder.mkdir(exist_ok=True)
    with (folder / f"{symbol}.csv").open("w", newline="") as file:
        csv.writer(file).writerows([FIELDS, *to_rows(bars)])
    return folder


def run(*words: object) -> int:
    return main(["fix", *map(str, words)])


@dataclass(frozen=True)
class Case:
    """A V6 without its scaler, bars for it, and what mending made of both."""

    folder: Path
    bars: Path
    imported: Imported
    series: Series
    mended: Mended


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp("fix")
    bars = write_bars(folder / "bars", candles(BTC, BARS))
    imported = import_checkpoint(save(folder / "lstm_BTC-USD_v6.pt", network().state_dict()))
    series = read_series(Source(bars, "bars"), BTC, imported.columns, 60_000)
    return Case(folder, bars, imported, series, mend(imported, series, split_for(imported, series, 1), 1, None))


# ---- against numbers computed another way


@dataclass(frozen=True)
class Parts:
    """The three parts by hand: 50, 25 and 25 % of the windows, 61 unused ones between them."""

    ends: np.ndarray
    train: np.ndarray
    calibration: np.ndarray
    test: np.ndarray


def parts(n: int = BARS, first: int = 1000 + 59, horizon: int = 1) -> Parts:
    ends = np.arange(first, n - horizon)
    embargo = 60 + horizon
    train, rest = np.split(ends, [round(len(ends) * 0.5)])
    rest = rest[embargo:]
    calibration, test = np.split(rest, [round(len(rest) * 0.5)])
    return Parts(ends, train, calibration, test[embargo:])


def softmax(logits: np.ndarray) -> np.ndarray:
    exps = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exps / exps.sum(axis=1, keepdims=True)


def labels_at(close: np.ndarray, ends: np.ndarray, band: float, horizon: int = 1) -> np.ndarray:
    change = close[ends + horizon] / close[ends] - 1
    return np.where(change > band, 2, np.where(change < -band, 0, 1))


def logits_at(rows: np.ndarray, ends: np.ndarray, scale: Any) -> np.ndarray:
    """The owners' own network on the last rows of the windows, clamped."""
    last = rows.astype(np.float32)[ends][:, None, :]
    return np.clip(answer_of(network(), scale)(last).astype(np.float64), -15, 15)


def scaler_by_hand(rows: np.ndarray) -> Any:
    """The training part begins with its first window's first bar and ends with its last label's."""
    train = parts().train
    fitted_on = rows[train[0] - 59 : train[-1] + 2]
    return lambda x: (x - fitted_on.mean(axis=0)) / fitted_on.std(axis=0)


def test_the_scaler_is_fitted_on_the_first_part_alone(case: Case) -> None:
    rows, train = case.series.rows, parts().train
    fitted_on = rows[train[0] - 59 : train[-1] + 2]
    scaler = case.mended.bundle.manifest.scaler
    assert np.allclose(scaler.mean, fitted_on.mean(axis=0), rtol=1e-9)
    assert np.allclose(scaler.scale, fitted_on.std(axis=0), rtol=1e-9)


def test_the_band_calls_a_third_of_the_first_part_neutral(case: Case) -> None:
    assert case.series.close is not None
    labels = labels_at(case.series.close, parts().train, case.mended.taught.neutral_band)
    assert (labels == 1).mean() == pytest.approx(1 / 3, abs=0.02)
    assert case.mended.band_from_bars


def test_the_temperature_is_the_likeliest_of_the_middle_part(case: Case) -> None:
    rows, ends = case.series.rows, parts().calibration
    logits = logits_at(rows, ends, scaler_by_hand(rows))
    labels = labels_at(candles(BTC, BARS).close, ends, case.mended.taught.neutral_band)
    temperatures = np.geomspace(0.05, 1000, 4000)
    nll = [-np.log(softmax(logits / t)[np.arange(len(labels)), labels]).mean() for t in temperatures]
    assert case.mended.fitted.temperature == pytest.approx(temperatures[int(np.argmin(nll))], rel=0.004)
    assert case.mended.fitted.fit.n == len(ends)


@pytest.mark.parametrize("state", ["before", "after"])
def test_both_rows_of_the_table_are_what_the_owners_network_says(case: Case, state: str) -> None:
    rows, ends = case.series.rows, parts().test
    scale = unscaled if state == "before" else scaler_by_hand(rows)
    logits = logits_at(rows, ends, scale)
    forecasts = softmax(logits / (8.0 if state == "before" else case.mended.fitted.temperature))
    labels = labels_at(candles(BTC, BARS).close, ends, case.mended.taught.neutral_band)
    told = getattr(case.mended, state)
    assert told.figures["n"] == len(ends)
    assert told.figures["mean_confidence"] == pytest.approx(forecasts.max(axis=1).mean(), abs=1e-5)
    assert told.figures["confident_shares"]["0.9"] == pytest.approx((forecasts.max(axis=1) > 0.9).mean(), abs=1e-3)
    assert told.figures["accuracy"] == pytest.approx((forecasts.argmax(axis=1) == labels).mean(), abs=1e-3)
    losses = -np.log(np.maximum(forecasts[np.arange(len(labels)), labels], 1e-15))
    assert told.figures["nll"] == pytest.approx(losses.mean(), abs=1e-4)
    assert told.ties == pytest.approx(((logits == 15).sum(axis=1) > 1).mean(), abs=1e-3)
    shares = np.bincount(forecasts.argmax(axis=1), minlength=3) / len(ends)
    assert list(told.figures["predicted_shares"].values()) == pytest.approx(shares.tolist(), abs=1e-3)


def test_unscaled_features_are_what_made_it_so_sure(case: Case) -> None:
    before, after = case.mended.before.figures, case.mended.after.figures
    assert before["raw_logits"]["max"] > 1e4 > 1e2 > after["raw_logits"]["max"]
    assert before["raw_logits"]["share_beyond_clamp"] == 1
    assert before["nll"] > after["nll"]


def test_nothing_of_the_last_part_touches_a_fit(case: Case, tmp_path: Path) -> None:
    bars = candles(BTC, BARS)
    first = int(parts().test[0]) - 59
    for name in ("open", "high", "low", "close", "volume"):
        getattr(bars, name)[first:] *= 1.01
    series = read_series(Source(write_bars(tmp_path / "bars", bars), "bars"), BTC, COLUMNS, 60_000)
    other = mend(case.imported, series, split_for(case.imported, series, 1), 1, None)
    assert other.bundle.manifest.scaler == case.mended.bundle.manifest.scaler
    assert other.fitted.temperature == case.mended.fitted.temperature
    assert other.taught == case.mended.taught
    assert other.after.figures["nll"] != case.mended.after.figures["nll"]


def test_the_owners_trace_is_the_softmax_that_it_is(tmp_path: Path) -> None:
    trace = np.array([[3.92, -9.24, 8.33]])
    tempered = trace / 8
    assert np.allclose(tempered, [[0.49, -1.155, 1.04125]], atol=1e-12)
    by_hand = np.exp(tempered) / np.exp(tempered).sum()
    assert np.allclose(probabilities_of(trace, Calibration(15.0, 8.0)), by_hand, atol=1e-12)
    assert by_hand.max() == pytest.approx(0.59, abs=0.005)  # which its owners read as 69 %
    state = {name: torch.zeros_like(value) for name, value in network().state_dict().items()}
    state["fc3.bias"] = torch.tensor([3.92, -9.24, 8.33])
    bundle = import_checkpoint(save(tmp_path / "lstm_BTC.pt", state)).as_bundle()
    output = TorchEngine(bundle, "cpu").predict(np.zeros((1, 60, 72), np.float32))
    assert np.allclose(output.probabilities, by_hand, atol=1e-7)


# ---- the bundle


def test_the_bundle_is_a_v6_fixed_with_all_that_was_fitted(case: Case, tmp_path: Path) -> None:
    bundle = load_bundle(write(case.mended, tmp_path, "signalserve fix"))
    manifest = bundle.manifest
    assert bundle.name == f"v6_fixed/{BTC}/1"
    assert manifest.calibration.temperature == case.mended.fitted.temperature
    assert (manifest.calibration.clamp, manifest.calibration.method) == (15, "nll")
    assert manifest.labels and manifest.labels.horizon_bars == 1
    assert manifest.spans.train is None  # nobody said what the network learned from
    assert manifest.spans.calibration and manifest.spans.test
    assert manifest.spans.calibration.end < manifest.spans.test.start
    assert manifest.spans.scaler.end < manifest.spans.calibration.start
    assert "Nobody said which bars the network learned from" in manifest.provenance["note"]
    assert manifest.provenance["data"]["file"] == f"{BTC}.csv"
    assert manifest.report["before"]["ties_at_clamp"] == case.mended.before.ties
    assert manifest.report["n"] == bundle.reference["n"]


def test_what_is_mended_passes_the_gate_on_its_features(case: Case, tmp_path: Path) -> None:
    manifest = load_bundle(write(case.mended, tmp_path, "signalserve fix")).manifest
    scale, why_not = training_features(case.series, manifest, GateSettings())
    assert scale is not None, why_not
    assert scale.beyond == 0


def test_the_bundle_keeps_what_it_says_of_the_last_part_and_its_drift_limits(case: Case, tmp_path: Path) -> None:
    told: list[int] = []
    bundle = load_bundle(write(case.mended, tmp_path, "signalserve fix", told.append))
    kept = read_kept(bundle)
    assert kept is not None
    np.testing.assert_array_equal(kept.raw_logits, case.mended.test.raw_logits.astype(np.float32))
    assert kept.as_of_ms.tolist() == (case.series.times()[parts().test] + 60_000).tolist()
    assert Reference.from_json(bundle.reference["drift"]).n == len(parts().test)
    assert sum(told) == limits.SIMULATED_DAYS


def test_a_second_mend_is_a_second_version(case: Case, tmp_path: Path) -> None:
    folders = [write(case.mended, tmp_path, "") for _ in range(2)]
    assert [folder.name for folder in folders] == ["1", "2"]


def span_of(series: Series, first: int, last: int) -> Span:
    times = series.times()
    return Span(start=iso(times[first]), end=iso(times[last]))


@pytest.mark.parametrize(("part", "first", "last"), [("calibration", 0, 3500), ("test", 5000, 5100)])
def test_bars_that_the_network_learned_from_are_refused(case: Case, part: str, first: int, last: int) -> None:
    taught = replace(case.imported, trained=span_of(case.series, first, last))
    with pytest.raises(DataError, match=f"the {part} part .* overlaps the bars that the network learned from"):
        split_for(taught, case.series, 1)


def test_known_training_bars_are_kept_and_no_doubt_is_told(case: Case, tmp_path: Path) -> None:
    taught = replace(case.imported, trained=span_of(case.series, 0, 3000))
    mended = mend(taught, case.series, split_for(taught, case.series, 1), 1, 0.0003)
    assert load_bundle(write(mended, tmp_path, "")).manifest.spans.train == taught.trained
    assert not mended.band_from_bars and mended.taught.neutral_band == 0.0003
    assert "as its owner says, and not from the test part" in report_of(mended).verdict.reasons[-1]


# ---- the report


def report_of(*models: Mended) -> Report:
    return fix_report(models, written=["somewhere"] * len(models), created="2026-11-24T10:00:00Z")


def test_the_report_has_a_row_before_and_a_row_after(case: Case) -> None:
    report = report_of(case.mended)
    sure = report.sections[0].tables[0]
    assert [row[:2] for row in sure.rows] == [[BTC, "before"], [BTC, "after"]]
    assert sure.rows[1][3] == case.mended.after.figures["raw_logits"]["max"]
    assert len(report.sections[0].plots) == 1
    assert report.figures[BTC]["after"]["temperature"] == case.mended.fitted.temperature


def test_the_verdict_never_goes_further_than_the_gain(case: Case) -> None:
    verdict = report_of(case.mended).verdict
    assert verdict.level == ("fail" if case.mended.fitted.fit.at_bound else "warn")
    shown = case.mended.gains.show_knowledge
    assert ("is below that of always" in verdict.sentence) == shown
    assert ("no knowledge can be shown" in verdict.sentence) != shown


def test_two_checkpoints_of_one_symbol_are_told_apart_by_file(case: Case) -> None:
    other = replace(case.mended, imported=replace(case.imported, path=case.imported.path.with_name("again.pt")))
    assert report_of(case.mended, other).subject == f"{BTC} (lstm_BTC-USD_v6.pt) and {BTC} (again.pt)"


def always(case: Case, path: Path, *logits: float) -> Mended:
    """A network that answers every window with these logits, mended."""
    state = {name: torch.zeros_like(value) for name, value in network().state_dict().items()}
    imported = import_checkpoint(save(path, {**state, "fc3.bias": torch.tensor(logits)}))
    return mend(imported, case.series, split_for(imported, case.series, 1), 1, None)


def test_two_logits_beyond_the_clamp_are_a_tie(case: Case, tmp_path: Path) -> None:
    mended = always(case, tmp_path / "lstm_BTC.pt", 42278.0, -23226.0, 41976.0)
    assert mended.before.ties == mended.after.ties == 1
    assert f"{BTC} never says NEUTRAL and UP" in " ".join(report_of(mended).verdict.reasons)


def test_logits_that_know_nothing_are_told_so(case: Case, tmp_path: Path) -> None:
    assert case.series.close is not None
    labels = labels_at(case.series.close, parts().calibration, case.mended.taught.neutral_band)
    rarest = int(np.argmin(np.bincount(labels)))
    mended = always(case, tmp_path / "lstm_BTC.pt", *(9.0 if i == rarest else -9.0 for i in range(3)))
    assert mended.fitted.fit.at_bound == "upper"
    assert report_of(mended).verdict.level == "fail"
    assert "no temperature helps, its logits know nothing of the labels" in " ".join(report_of(mended).verdict.reasons)


# ---- the command


def test_a_folder_is_mended_and_reported_as_json(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = tmp_path / "files"
    files.mkdir()
    for name in ("lstm_BTC-USD_a.pt", "lstm_BTC-USD_[b].pt"):
        save(files / name, network().state_dict())
    places = ("--out", tmp_path / "out", "--reports", tmp_path / "reports")
    assert run(files, "--bars", case.bars, *NEXT_BAR, *places, "--json") == 0
    report = Report.model_validate_json(capsys.readouterr().out)
    assert [row[0] for row in report.sections[0].tables[0].rows][::2] == [
        f"{BTC} (lstm_BTC-USD_[b].pt)",
        f"{BTC} (lstm_BTC-USD_a.pt)",
    ]
    assert sorted(path.name for path in (tmp_path / "out" / "v6_fixed" / BTC).iterdir()) == ["1", "2"]
    (page,) = (tmp_path / "reports").glob("*.html")
    assert read_report(page.with_suffix(".json")) == report


def test_one_that_cannot_be_mended_is_listed_and_the_others_are_written(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = tmp_path / "files"
    files.mkdir()
    save(files / "lstm_BTC.pt", network().state_dict())
    save(files / "lstm_SOL.pt", network().state_dict())
    torch.save({"accuracy": 0.7}, files / "lstm_ETH.pt")
    places = ("--model-store", tmp_path, "--reports", tmp_path / "reports")
    assert run(files, "--bars", case.bars, *NEXT_BAR, *places) == 2
    shown = capsys.readouterr().out
    assert "1 mended, 2 not:" in shown
    assert "expected a file of bars of SOL-USD" in shown and "expected weights" in shown
    assert (tmp_path / "bundles" / "v6_fixed" / BTC / "1").is_dir()


def test_a_network_of_two_classes_is_mended_from_ready_features(tmp_path: Path) -> None:
    bars = candles(ETH, BARS + 1500)
    features = tmp_path / "features"
    features.mkdir()
    columns = {"timestamp": bars.timestamp_ms, "close": bars.close}
    settled = compute_features(bars)[:, :31]
    columns |= {f"f{i}": settled[:, i] for i in range(31)}
    pq.write_table(
        pa.table({name: values[300:] for name, values in columns.items()}), features / "ETH_features.parquet"
    )
    lstm = spread(lambda: Lstm(31, 4, 2, 1), seed=5)
    file = tmp_path / "lstm_ETH-USD_v6.pt"
    torch.save({"model_state_dict": lstm.state_dict(), "input_size": 31}, file)
    places = ("--model-store", tmp_path, "--reports", tmp_path / "reports")
    assert run(file, "--features", features, *NEXT_BAR, *places) == 0
    bundle = load_bundle(tmp_path / "bundles" / "v6_fixed" / ETH / "1")
    assert bundle.manifest.report["predicted_shares"]["NEUTRAL"] == 0
    assert bundle.manifest.report["base_rates"]["NEUTRAL"] == 0
    assert bundle.reference["class_shares"]["NEUTRAL"] == 0


REFUSED = {
    "too few labels": (["--horizon", "15"], r"effective labels to fit a temperature"),
    "no such bars": (["--bars", "nowhere"], "nowhere: expected a folder with files of candles"),
    "horizon": (["--horizon", "0"], "--horizon, --band: expected 1 bar or more"),
    "band": (["--band", "2"], "a share from 0 to 1, got 1, 2.0"),
    "learned": (
        [*NEXT_BAR, "--trained", "2025-11-20", "2025-11-24"],
        "overlaps the bars that the network learned from",
    ),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_bad_input_is_one_sentence_and_writes_nothing(
    case: Case, tmp_path: Path, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words, sentence = REFUSED[fault]
    words = words if "--bars" in words else ["--bars", str(case.bars), *words]
    words = words if "--horizon" in words else [*NEXT_BAR, *words]
    places = ("--model-store", tmp_path / "store", "--reports", tmp_path / "reports")
    assert run(case.imported.path, *words, *places) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1
    assert not (tmp_path / "store").exists() and not (tmp_path / "reports").exists()


def test_real_bars_mend_a_v6(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not REAL_BARS.is_dir():
        pytest.skip("the real bars are not here")
    file = save(tmp_path / "lstm_BTC-USD_v6.pt", network().state_dict())
    places = ("--model-store", tmp_path, "--reports", tmp_path / "reports")
    assert run(file, "--bars", REAL_BARS, *places, "--json") == 0
    (figures,) = json.loads(capsys.readouterr().out)["figures"].values()
    assert figures["labels"]["horizon_bars"] == 15
    assert figures["temperature_fit"]["effective_labels"] >= 1000
    assert figures["before"]["mean_confidence"] > figures["after"]["mean_confidence"]
