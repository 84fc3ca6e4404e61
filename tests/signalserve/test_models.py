"""What a process refuses to serve, and by which words; what it makes of models that read different columns."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stores import BTC, ETH, as_archive, scaler_of, whole, write_model, write_settings, write_store

from export.versions import revise
from signalserve.bundle import CalibrationValues, load_bundle
from signalserve.errors import BundleError, ConfigError
from signalserve.features import COLUMNS
from signalserve.models import check_gates, check_settings, gate_words, load_models, symbol_words
from signalserve.service import Service
from signalserve.settings import Settings, parse_settings

BOTH = ("v6_fixed", "v8")
FAILED = {"passed": ["finite"], "failed": ["accuracy", "spread"], "report": {}}


def load(root: Path, generations: tuple = BOTH, settings: Settings | None = None, engine: str = "torch"):
    return load_models(root, generations, settings or Settings(), engine=engine, device="cpu")


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def test_every_symbol_has_its_generations(tmp_path: Path):
    write_model(write_store(tmp_path, (BTC,)), "v6_fixed", ETH)
    models, schemas = load(tmp_path)
    assert {symbol: set(by) for symbol, by in models.items()} == {BTC: {"v6_fixed", "v8"}, ETH: {"v6_fixed"}}
    assert schemas[BTC].columns == COLUMNS
    assert (schemas[BTC].positional, schemas[BTC].window, schemas[BTC].interval_ms) == (True, 60, 60_000)


def test_an_endpoint_takes_its_own_generation_only(tmp_path: Path):
    models, _ = load(write_store(tmp_path), ("v8",))
    assert set(models[BTC]) == {"v8"}


def test_the_window_that_stands_in_for_a_wrong_one_is_the_mean(tmp_path: Path):
    models, _ = load(write_store(tmp_path))
    neutral = models[BTC]["v8"].neutral
    assert neutral.shape == (60, 72)
    assert np.array_equal(neutral[0], np.array(scaler_of(BTC)[0], dtype=np.float32))


@pytest.mark.parametrize("name", ["weights.safetensors", "reference.json"])
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, name: str):
    path = write_store(tmp_path) / "bundles" / "v8" / BTC / "1" / name
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(BundleError, match=rf"v8/BTC-USD/1/{name}: sha256 .* differs"):
        load(tmp_path)


@pytest.mark.parametrize("engine", ["torch", "onnxruntime"])
@pytest.mark.parametrize(
    "tamper",
    [
        lambda m: m["calibration"].update(temperature=1.0),
        lambda m: m["calibration"].update(clamp=0.01),
        lambda m: m["golden"]["raw_logits"].reverse(),
        lambda m: m["golden"].update(probabilities=[0.2, 0.3, 0.5]),
    ],
)
def test_a_manifest_that_was_tampered_with_gives_another_golden_answer(tmp_path: Path, tamper: Callable, engine: str):
    edit_manifest(write_model(tmp_path, "v8", temperature=8.0), tamper)
    with pytest.raises(BundleError, match=rf"v8/BTC-USD/1 on {engine}, cpu: golden window: expected .*, got \["):
        load(tmp_path, ("v8",), engine=engine)


def overflowing(weights: dict[str, Any]) -> None:
    """Every hidden unit is 1, and logits are 2e39: finite in float64, infinite in float32."""
    weights["lstm.bias_ih_l1"].fill_(10)
    weights["head.weight"].fill_(3e38)


@pytest.mark.parametrize("engine", ["torch", "onnxruntime"])
def test_a_model_that_gives_infinity_on_its_golden_window_is_refused_by_name(tmp_path: Path, engine: str):
    write_model(tmp_path, "v8", edit=overflowing)
    with pytest.raises(BundleError, match="v8/BTC-USD/1"):
        load(tmp_path, ("v8",), engine=engine)


def test_no_bundle_of_the_endpoints_generation_says_so(tmp_path: Path):
    with pytest.raises(BundleError, match="expected bundles of v8, found none"):
        load(write_store(tmp_path, generations=("v6_fixed",)), ("v8",))


# ---- pins


def test_a_pinned_version_is_served_instead_of_the_newest(tmp_path: Path):
    for version in ("1", "2"):
        write_model(tmp_path, "v8", version=version)
    pinned, _ = load(tmp_path, ("v8",), Settings(bundles={BTC: {"v8": "1"}}))
    newest, _ = load(tmp_path, ("v8",))
    assert pinned[BTC]["v8"].bundle.manifest.version == "1"
    assert newest[BTC]["v8"].bundle.manifest.version == "2"


def test_a_pinned_version_that_is_missing_is_named(tmp_path: Path):
    with pytest.raises(BundleError, match="BTC-USD pins v8 version 7"):
        load(write_store(tmp_path), settings=Settings(bundles={BTC: {"v8": "7"}}))


def test_a_pin_of_another_generation_does_not_concern_an_archive_without_it(tmp_path: Path):
    # the archive of /predictions/v6_fixed holds v6_fixed bundles only
    models, _ = load(
        write_store(tmp_path, generations=("v6_fixed",)), ("v6_fixed",), Settings(bundles={BTC: {"v8": "1"}})
    )
    assert set(models[BTC]) == {"v6_fixed"}


# ---- gates


@pytest.mark.parametrize("endpoint", ["ensemble", "v8"])
def test_failed_gates_are_refused_by_their_names_on_every_endpoint(tmp_path: Path, endpoint: Any):
    write_model(write_store(tmp_path, generations=("v6_fixed",)), "v8", gates=FAILED)
    words = (
        r"v8/BTC-USD/1 failed its gates \(accuracy, spread\) and must not go live; pin a version that passed "
        r".*allow_failed_gates: true"
    )
    path = write_settings(tmp_path / "serving.yaml")
    with pytest.raises(ConfigError, match=words):
        Service.load(tmp_path, endpoint, settings_path=path, engine="torch", device="cpu")


def test_an_endpoint_without_the_failed_model_loads(tmp_path: Path):
    write_model(write_store(tmp_path, generations=("v6_fixed",)), "v8", gates=FAILED)
    path = write_settings(tmp_path / "serving.yaml")
    service = Service.load(tmp_path, "v6_fixed", settings_path=path, engine="torch", device="cpu")
    assert set(service.models[BTC]) == {"v6_fixed"}


def test_a_bundle_that_nobody_judged_is_served(tmp_path: Path):
    check_gates([load_bundle(write_model(tmp_path, "v8"))], Settings())


def test_failed_gates_may_be_allowed(tmp_path: Path):
    check_gates([load_bundle(write_model(tmp_path, "v8", gates=FAILED))], Settings(allow_failed_gates=True))


def test_who_serves_a_model_is_told_what_its_gates_say(tmp_path: Path):
    gates = {"1": None, "2": FAILED, "3": {**FAILED, "failed": []}}
    manifests = [load_bundle(write_model(tmp_path, "v8", version=v, gates=g)).manifest for v, g in gates.items()]
    assert [gate_words(manifest) for manifest in manifests] == [
        "v8/BTC-USD/1 was never judged (signalserve judge v8/BTC-USD/1 --bars DIR)",
        "v8/BTC-USD/2 failed accuracy, spread",
        None,
    ]


def test_a_bundle_that_was_never_judged_has_not_passed(tmp_path: Path):
    bundle = load_bundle(write_model(tmp_path, "v8", gates=None))
    with pytest.raises(ConfigError, match=r"was never judged \(signalserve judge v8/BTC-USD/1\) and must not go live"):
        check_gates([bundle], Settings())
    check_gates([bundle], Settings(allow_failed_gates=True))


def test_a_new_calibration_does_not_carry_a_failed_model_past_its_gates(tmp_path: Path):
    failed = load_bundle(write_model(tmp_path, "v8", gates=FAILED))
    colder = CalibrationValues(clamp=15.0, temperature=0.5, method="nll")
    again = load_bundle(revise(failed, tmp_path / "bundles", command="calibrate", calibration=colder))
    with pytest.raises(ConfigError, match="must not go live"):
        check_gates([again], Settings())


def test_who_serves_models_of_one_symbol_is_told_where_they_do_not_go_together(tmp_path: Path):
    alike = [load_bundle(write_model(tmp_path, generation)).manifest for generation in ("v6_fixed", "v8")]
    assert symbol_words(alike) == []
    other = load_bundle(write_model(tmp_path, "v8", ETH, columns=("rsi_14", "sentiment"), labels=None)).manifest
    assert symbol_words([alike[0], other]) == [
        "BTC-USD: its models read different columns: the ensemble takes all 73 by name only",
        "BTC-USD: candles are refused, since they do not give sentiment",
        "BTC-USD: its models were taught different labels, and a pool of them answers no question",
    ]


# ---- settings that ask for what is not there


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("defaults: {mode: v8}", "v8"),
        ("defaults: {mode: ensemble}", "v8"),
        ("defaults: {mode: v6_fixed}\nsymbols: {BTC-USD: {mode: v8}}", "v8"),
        ("defaults: {mode: ab}\nexperiment: {name: n, split: {v6_fixed: 0.5, v8: 0.5}, control: v8, salt: s}", "v8"),
        ("defaults: {mode: ab}\nexperiment: {name: n, split: {ensemble: 1}, control: ensemble, salt: s}", "v8"),
        ("defaults: {mode: v6_fixed}", None),
        ("defaults: {mode: ensemble, weights: {v6_fixed: 1, v8: 0}}", None),
        ("defaults: {mode: ab}\nexperiment: {name: n, split: {v6_fixed: 1, v8: 0}, control: v6_fixed, salt: s}", None),
    ],
)
def test_settings_may_ask_only_for_models_that_are_there(text: str, missing: str | None):
    settings = parse_settings(whole(text), "f")
    if missing is None:
        check_settings(settings, {BTC: ["v6_fixed"]})
    else:
        with pytest.raises(
            ConfigError, match=f"BTC-USD: mode or weights ask for {missing}, of which there is no bundle"
        ):
            check_settings(settings, {BTC: ["v6_fixed"]})


def test_a_service_whose_settings_ask_for_a_missing_model_does_not_load(tmp_path: Path):
    write_store(tmp_path, generations=("v6_fixed",))
    settings_path = write_settings(tmp_path / "serving.yaml", "defaults: {mode: v8}")
    with pytest.raises(ConfigError, match="BTC-USD: mode or weights ask for v8"):
        Service.load(tmp_path, "ensemble", settings_path=settings_path, engine="torch", device="cpu")


# ---- models of one symbol that read different columns


def test_a_schema_holds_what_any_of_its_models_reads(tmp_path: Path):
    write_model(tmp_path, "v6_fixed", columns=("ema_10", "rsi_14"))
    write_model(tmp_path, "v8", columns=("returns", "ema_10"))
    models, schemas = load(tmp_path)
    assert schemas[BTC].columns == ("ema_10", "rsi_14", "returns")
    assert not schemas[BTC].positional
    assert list(np.arange(3)[models[BTC]["v6_fixed"].order]) == [0, 1]
    assert list(np.arange(3)[models[BTC]["v8"].order]) == [2, 0]


def test_models_of_one_symbol_that_read_different_bars_are_refused(tmp_path: Path):
    write_model(tmp_path, "v6_fixed", interval_ms=60_000)
    write_model(tmp_path, "v8", interval_ms=900_000)
    with pytest.raises(BundleError, match="models of one symbol must read the same bars"):
        load(tmp_path)


# ---- exported files in an archive


def exported(root: Path) -> Path:
    """An archive's content around the bundle v8/BTC-USD/1; returns its exported file."""
    write_model(root, "v8")
    return as_archive(root) / "onnx" / "v8" / BTC / "1.onnx"


def test_an_archives_exported_file_is_what_runs(tmp_path: Path):
    exported(tmp_path)
    models, _ = load(tmp_path, ("v8",), engine="auto")
    assert models[BTC]["v8"].engine.name == "onnxruntime"


def test_another_manifest_than_the_packed_one_is_refused(tmp_path: Path):
    exported(tmp_path)
    manifest = tmp_path / "bundles" / "v8" / BTC / "1" / "manifest.json"
    content = json.loads(manifest.read_text())
    content["columns"].reverse()  # the golden window, made from the manifest's own columns, cannot tell
    manifest.write_text(json.dumps(content))
    with pytest.raises(BundleError, match="its manifest is not the one that was packed"):
        load(tmp_path, ("v8",), engine="auto")


def test_an_exported_file_that_is_not_the_packed_one_is_refused_by_name(tmp_path: Path):
    exported(tmp_path).write_bytes(b"something else")
    with pytest.raises(BundleError, match=r"v8/BTC-USD/1\.onnx: missing, or not the file that was packed"):
        load(tmp_path, ("v8",), engine="auto")
