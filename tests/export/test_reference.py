"""The command from bars to bundles that load, on generated candles; what it refuses; what it tells."""

import argparse
import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from export import reference_models, reference_report
from export.commands import reference
from export.labels import direction_labels, neutral_band
from export.scores import by_class, class_shares
from export.split import split_in_time, usable
from signalserve.bundle import Bundle, load_bundle, newest_bundles
from signalserve.candles import FIELDS, Candles, iso
from signalserve.demo import demo_candles
from signalserve.drift.kept import read_kept
from signalserve.drift.reference import Reference
from signalserve.engine import TorchEngine, calibrated_model
from signalserve.errors import BundleError, DataError
from signalserve.features import COLUMNS, MIN_CANDLES, WINDOW, compute_features
from signalserve.golden import golden_mismatch, golden_window

SYMBOL = "SOL-USD"


def write_bars(folder: Path, n: int) -> Path:
    candles = demo_candles(SYMBOL, n, end_ms=1_750_000_000_000)
    path = folder / f"{SYMBOL}.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(FIELDS)
        rows.writerows(zip(*(getattr(candles, name).tolist() for name in FIELDS), strict=True))
    return path


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    reference.add_parser(parser.add_subparsers())
    args = parser.parse_args(["reference", "--quick", *words])
    return int(args.run(args))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model store that the command has filled from generated candles."""
    folder = tmp_path_factory.mktemp("reference")
    write_bars(folder, 2600)
    assert run("--bars", str(folder), "--out", str(folder / "store" / "bundles")) == 0
    return folder / "store"


@pytest.fixture(scope="module")
def bundles(store: Path) -> dict[str, Bundle]:
    return {path.parts[-3]: load_bundle(path) for path in newest_bundles(store / "bundles")}


def test_both_generations_are_written_as_version_one(bundles: dict[str, Bundle]) -> None:
    assert [bundle.name for bundle in bundles.values()] == [f"v6_fixed/{SYMBOL}/1", f"v8/{SYMBOL}/1"]


@pytest.mark.parametrize("generation", ["v6_fixed", "v8"])
def test_the_engine_gives_the_golden_answer(bundles: dict[str, Bundle], generation: str) -> None:
    bundle = bundles[generation]
    window = golden_window(bundle.manifest.scaler, WINDOW)[None]
    output = TorchEngine(bundle, "cpu").predict(window)
    assert golden_mismatch(bundle.manifest, output.raw_logits[0], output.probabilities[0]) is None


@pytest.mark.parametrize("generation", ["v6_fixed", "v8"])
def test_float32_keeps_the_promised_digits(bundles: dict[str, Bundle], generation: str) -> None:
    bundle = bundles[generation]
    windows = np.stack([golden_window(bundle.manifest.scaler, WINDOW) * (1 + 0.01 * i) for i in range(5)])
    served = TorchEngine(bundle, "cpu").predict(windows.astype(np.float32))
    with torch.inference_mode():
        model = calibrated_model(bundle)
        model.network.double()
        _, exact = model(torch.from_numpy(windows.astype(np.float32)))
    assert np.abs(served.probabilities - exact.numpy()).max() < bundle.manifest.numeric_bound


@pytest.mark.parametrize("generation", ["v6_fixed", "v8"])
def test_the_report_is_about_the_test_part_and_beside_its_baselines(
    bundles: dict[str, Bundle], generation: str
) -> None:
    manifest = bundles[generation].manifest
    report = manifest.report
    # a span is every bar that its windows and labels touch
    assert report["n"] == manifest.spans.test.bars - (WINDOW - 1) - manifest.labels.horizon_bars
    assert bundles[generation].reference["n"] == report["n"]
    assert bundles[generation].reference["span"] == manifest.spans.test.model_dump()
    assert {"majority_accuracy", "base_rate_nll", "base_rate_brier", "base_rates", "calibration_error_null"} <= set(
        report
    )
    assert sum(report["base_rates"].values()) == pytest.approx(1)
    assert report["temperature_fit"]["nll_after"] <= report["temperature_fit"]["nll_before"]
    assert manifest.gates is None


@pytest.mark.parametrize("generation", ["v6_fixed", "v8"])
def test_the_predictions_of_the_test_part_are_kept_and_drift_is_held_against_them(
    bundles: dict[str, Bundle], generation: str
) -> None:
    bundle = bundles[generation]
    kept, drift = read_kept(bundle), Reference.from_json(bundle.reference["drift"])
    assert kept is not None
    assert iso(kept.as_of_ms[-1] + (bundle.manifest.labels.horizon_bars - 1) * 60_000) == bundle.manifest.spans.test.end
    confidence = kept.stream(bundle.manifest.calibration).confidence
    assert drift.n == len(confidence) == bundle.manifest.report["n"]
    assert drift.mean_confidence == pytest.approx(bundle.manifest.report["mean_confidence"], abs=1e-6)


def test_spans_follow_each_other_and_share_no_bar(bundles: dict[str, Bundle]) -> None:
    spans = bundles["v8"].manifest.spans
    assert spans.train.end < spans.calibration.start < spans.calibration.end < spans.test.start


def test_only_the_mended_model_tells_what_it_was(bundles: dict[str, Bundle]) -> None:
    assert "before_fix" not in bundles["v8"].manifest.report
    before = bundles["v6_fixed"].manifest.report["before_fix"]
    assert before["unscaled"]["n"] == bundles["v6_fixed"].manifest.report["n"]


def test_v8_tells_both_heads_and_has_the_better_one(bundles: dict[str, Bundle]) -> None:
    manifest = bundles["v8"].manifest
    training = manifest.provenance["training"]
    nll = {head: training["heads"][head]["validation_nll"] for head in ("attention", "last_step")}
    assert training["head"] == min(nll, key=lambda head: nll[head])
    assert manifest.architecture["attention"] == (training["head"] == "attention")


def test_the_scaler_is_the_training_parts(bundles: dict[str, Bundle]) -> None:
    manifest = bundles["v6_fixed"].manifest
    assert manifest.scaler == bundles["v8"].manifest.scaler
    features = compute_features(demo_candles(SYMBOL, 2600, end_ms=1_750_000_000_000))
    first = MIN_CANDLES - WINDOW
    rows = features[first : first + manifest.spans.train.bars]
    scaled = (rows - manifest.scaler.mean) / manifest.scaler.scale
    assert np.abs(scaled.mean(axis=0)).max() < 1e-6
    assert np.abs(scaled.std(axis=0) - 1).max() < 1e-6
    assert manifest.columns == list(COLUMNS)


def test_provenance_names_its_data_by_hash_and_does_not_guess_the_instrument(bundles: dict[str, Bundle]) -> None:
    provenance = bundles["v8"].manifest.provenance
    assert len(provenance["data"]["sha256"]) == 64
    assert "does not say from where" in provenance["data"]["instrument"]
    assert "--quick" in provenance["command"]
    assert "Binance USDT-M perpetual BTCUSDT" in reference_models.instrument_of(
        "binance_perp_BTCUSDT_1m_x.parquet", "BTC-USD"
    )


def test_the_readme_has_a_row_for_each_bundle(store: Path, bundles: dict[str, Bundle]) -> None:
    text = (store / "README.md").read_text()
    for bundle in bundles.values():
        assert f"| {SYMBOL} | {bundle.manifest.generation} 1 |" in text
        assert f"{bundle.manifest.report['nll']:.4f}" in text


def test_a_readme_of_somebody_elses_is_left_alone(tmp_path: Path, bundles: dict[str, Bundle]) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("# Mine\n")
    assert not reference_report.write_readme(readme, [bundles["v8"].manifest])
    assert readme.read_text() == "# Mine\n"


def test_a_version_is_never_overwritten_and_the_next_one_is_free(store: Path) -> None:
    out = store / "bundles"
    assert reference.choose_version(out, SYMBOL, None) == "2"
    assert reference.choose_version(out, "BTC-USD", None) == "1"
    with pytest.raises(BundleError, match="a version is never overwritten: leave --version out"):
        run("--bars", str(store.parent), "--out", str(out), "--version", "1")


def test_reference_statistics_are_strict_json(store: Path) -> None:
    def refuse(word: str) -> None:
        raise AssertionError(word)

    for path in (store / "bundles").rglob("*.json"):
        json.loads(path.read_text(), parse_constant=refuse)


def test_a_symbol_without_a_file_is_refused_with_those_there_are(store: Path) -> None:
    with pytest.raises(DataError, match=r"expected some of SOL-USD .*got DOGE-USD"):
        run("--bars", str(store.parent), "--out", str(store / "bundles"), "--symbols", "DOGE-USD")


def test_too_few_bars_are_refused_by_file(tmp_path: Path) -> None:
    write_bars(tmp_path, 1500)
    with pytest.raises(DataError, match=r"SOL-USD\.csv: too few bars"):
        run("--bars", str(tmp_path), "--out", str(tmp_path / "bundles"))


COMMITTED = Path(__file__).resolve().parents[2] / "model_store" / "bundles"


@pytest.mark.parametrize("path", newest_bundles(COMMITTED), ids=lambda path: "-".join(path.parts[-3:]))
def test_a_committed_bundle_loads_answers_and_tells_of_real_bars(path: Path) -> None:
    bundle = load_bundle(path)
    output = TorchEngine(bundle, "cpu").predict(golden_window(bundle.manifest.scaler, WINDOW)[None])
    assert golden_mismatch(bundle.manifest, output.raw_logits[0], output.probabilities[0]) is None
    assert "Binance USDT-M perpetual" in bundle.manifest.provenance["data"]["instrument"]
    assert bundle.manifest.report["temperature_fit"]["at_bound"] is None
    assert "--quick" not in bundle.manifest.provenance["command"]


def test_the_committed_bundles_stay_small() -> None:
    assert sum(path.stat().st_size for path in COMMITTED.rglob("*") if path.is_file()) < 12e6


def test_the_committed_readme_is_what_the_manifests_say() -> None:
    manifests = reference_report.newest_manifests(COMMITTED)
    assert (COMMITTED.parent / "README.md").read_text() == reference_report.readme_text(manifests)


def test_what_a_committed_manifest_says_of_its_labels_follows_from_the_real_bars(real_bars: dict[str, Candles]) -> None:
    manifest = next(m for m in reference_report.newest_manifests(COMMITTED) if m.symbol == "BTC-USD")
    candles = real_bars["BTC-USD"]
    split = split_in_time(usable(len(candles), MIN_CANDLES - WINDOW, WINDOW, manifest.labels.horizon_bars))
    band = neutral_band(candles.close, manifest.labels.horizon_bars, split.train.bars)
    assert band == manifest.labels.neutral_band
    labels = direction_labels(candles.close, manifest.labels.horizon_bars, band)
    assert class_shares(labels[split.train.ends])[1] == pytest.approx(1 / 3, abs=0.001)
    assert by_class(class_shares(labels[split.test.ends])) == manifest.report["base_rates"]
    assert iso(candles.timestamp_ms[split.test.bars.start]) == manifest.spans.test.start
