"""Every checkpoint of the field becomes a bundle that answers as its owners' own network does, and says what it is."""

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.preprocessing import StandardScaler

import export.checkpoints.importing
from export.checkpoints.importing import Imported, import_checkpoint, import_folder, write_imported
from export.checkpoints.pairing import scalers_beside
from export.checkpoints.torch_files import read_file
from signalserve.bundle import Bundle, Labels, Span, load_bundle
from signalserve.engine import create_engine
from signalserve.errors import CheckpointError
from signalserve.features import COLUMNS
from signalserve.golden import golden_mismatch, golden_window
from tests.export.checkpoints.originals import NAMES_72, ORIGINALS, Original, edited, fitted_scaler, v8_lstm

torch.set_num_threads(1)

GENERATIONS = {
    "v6_original": ("v6", "BTC-USD"),
    "v6_wrapper": ("v6_fixed", "ETH-USD"),
    "v6_deployed": ("v6_fixed", "SOL-USD"),
    "v6_lstm": ("v6_lstm", "BTC-USD"),
    "v5_lstm": ("v5_lstm", "ETH-USD"),
    "bare_lstm": ("lstm", "SOL-USD"),
    "bidirectional_lstm": ("bilstm", "BTC-USD"),
    "bidirectional_lstm_wrapped": ("bilstm", "BTC-USD"),
    "v7_enhanced": ("v7", "BTC-USD"),
    "v8_feed_forward": ("v8", "ETH-USD"),
    "v8_lstm": ("v8", "SOL-USD"),
}


@dataclass(frozen=True)
class Case:
    """An original, what was imported of it, and the bundle that was written and read back."""

    original: Original
    imported: Imported
    bundle: Bundle


@pytest.fixture(scope="module", params=ORIGINALS)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp(request.param)
    original = ORIGINALS[request.param](folder)
    imported = import_checkpoint(original.file)
    return Case(original, imported, load_bundle(write_imported(imported, folder / "bundles", command="signalserve")))


@pytest.mark.parametrize(("engine", "bound"), [("torch", 1e-6), ("onnxruntime", 1e-5)])
def test_a_bundle_answers_as_the_original_does(case: Case, engine: str, bound: float) -> None:
    windows = case.original.windows()
    expected = case.original.answer(windows).astype(np.float64)  # (8, outputs)
    output = create_engine(case.bundle, engine=engine, device="cpu").predict(windows)
    got = output.raw_logits if expected.shape[1] == 3 else output.raw_logits[:, 1:] - output.raw_logits[:, :1]
    assert np.abs(expected).max() > 0.05
    assert np.abs(got - expected).max() <= bound * np.abs(expected).max()
    assert np.abs(output.probabilities - probabilities(case.original, expected)).max() <= 1e-5


def probabilities(original: Original, logits: np.ndarray) -> np.ndarray:
    """What the owners' code makes of its logits, in float64; ±15 binds none of these."""
    clamped = logits if original.clamp is None else np.clip(logits, -original.clamp, original.clamp)
    tempered = np.clip(clamped, -15, 15) / original.temperature
    if logits.shape[1] == 1:
        up = 1 / (1 + np.exp(-tempered))
        return np.hstack([1 - up, np.zeros_like(up), up])
    exps = np.exp(tempered)
    return exps / exps.sum(axis=1, keepdims=True)


def test_generation_symbol_and_calibration_are_the_originals(case: Case, request: pytest.FixtureRequest) -> None:
    name = request.node.callspec.params["case"]
    manifest = case.bundle.manifest
    assert (manifest.generation, manifest.symbol) == GENERATIONS[name]
    assert manifest.calibration.temperature == pytest.approx(case.original.temperature)
    assert manifest.calibration.clamp == 15
    assert len(manifest.columns) == case.original.inputs
    if case.original.columns:
        assert tuple(manifest.columns) == case.original.columns


def test_the_bundle_in_memory_is_the_one_that_is_written(case: Case) -> None:
    in_memory = case.imported.as_bundle(command="signalserve")
    assert in_memory.manifest == case.bundle.manifest.model_copy(update={"files": {}})
    assert in_memory.sha256 == case.imported.sha256
    assert all(np.array_equal(in_memory.weights[name], array) for name, array in case.bundle.weights.items())


def test_both_engines_give_the_golden_answer(case: Case) -> None:
    window = golden_window(case.bundle.manifest.scaler, 60)[None]
    for engine in ("torch", "onnxruntime"):
        output = create_engine(case.bundle, engine=engine, device="cpu").predict(window)
        assert golden_mismatch(case.bundle.manifest, output.raw_logits[0], output.probabilities[0]) is None


def test_the_provenance_tells_the_file_and_what_was_found_and_assumed(case: Case) -> None:
    provenance = case.bundle.manifest.provenance
    assert provenance["checkpoint"]["file"] == case.original.file.name
    assert provenance["checkpoint"]["sha256"] == case.imported.sha256
    assert provenance["found"]["network"] == case.imported.kind
    assert provenance["assumed"] == list(case.imported.assumed)
    assert provenance["command"] == "signalserve"
    assert case.bundle.manifest.labels is None
    assert case.bundle.manifest.spans.train is None
    assert case.bundle.reference == {}


def test_the_v8_lstm_at_its_owners_size_answers_as_the_original_does(tmp_path: Path) -> None:
    original = v8_lstm(tmp_path, hidden=512)
    bundle = import_checkpoint(original.file).as_bundle()
    assert bundle.manifest.architecture["hidden"] == 512
    windows = original.windows(2)
    expected = original.answer(windows).astype(np.float64)
    got = create_engine(bundle, engine="torch", device="cpu").predict(windows).raw_logits
    assert np.abs(got - expected).max() <= 1e-6 * np.abs(expected).max()


# ---- one original, changed


@pytest.fixture
def v6(tmp_path: Path) -> Original:
    return ORIGINALS["v6_original"](tmp_path)


@pytest.fixture
def v7(tmp_path: Path) -> Original:
    return ORIGINALS["v7_enhanced"](tmp_path)


@pytest.fixture
def deployed(tmp_path: Path) -> Original:
    return ORIGINALS["v6_deployed"](tmp_path)


def drop(*keys: str) -> Callable[[dict[str, Any]], None]:
    def edit(content: dict[str, Any]) -> None:
        for key in keys:
            del content[key]

    return edit


def put(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda content: content.update(values)


def save_scaler(path: Path, inputs: int = 72, seed: int = 9) -> Path:
    path.write_bytes(pickle.dumps(fitted_scaler(inputs, seed)))
    return path


def said(imported: Imported, words: str) -> bool:
    return any(words in sentence for sentence in imported.assumed)


def test_a_files_name_says_nothing_of_its_network(v6: Original) -> None:
    renamed = v6.file.rename(v6.file.with_name("lstm_BTC-USD_v8_attention.pkl"))
    assert import_checkpoint(renamed).generation == "v6"


def test_owners_figures_are_kept_as_their_claims(v6: Original, v7: Original) -> None:
    claims = import_checkpoint(v6.file).claims
    assert claims == {"input_size": 72, "accuracy": 0.6912, "training_date": "2025-06-01T12:00:00"}
    assert import_checkpoint(v7.file).claims["prediction_distribution"] == [0.3, 0.4, 0.3]


def test_claims_that_json_does_not_know_are_told_in_words(v6: Original) -> None:
    edited(v6, put(loss=float("nan"), curve=list(range(100)), history={"lr": [0.1, 0.2]}))
    claims = import_checkpoint(v6.file).claims
    assert (claims["loss"], claims["curve"], claims["history"]) == ("nan", "list of 100", {"lr": [0.1, 0.2]})


def test_a_scaler_that_is_named_goes_before_the_files_own_and_both_are_said(v6: Original, tmp_path: Path) -> None:
    named = save_scaler(tmp_path / "mine.pkl")
    imported = import_checkpoint(v6.file, scaler=named)
    assert imported.scaler.mean == fitted_scaler(72, 9).mean_.tolist()
    assert imported.found["scaler"] == "mine.pkl"
    assert said(imported, "normalization_params holds another scaler than mine.pkl, which is taken")


def test_a_scaler_that_is_named_stands_in_for_one_that_is_broken(v6: Original, tmp_path: Path) -> None:
    edited(v6, put(normalization_params=[1, 2]))
    imported = import_checkpoint(v6.file, scaler=save_scaler(tmp_path / "mine.pkl"))
    assert imported.found["scaler"] == "mine.pkl"
    assert said(imported, "the file's own scaler cannot be used: ")


def test_the_files_own_scaler_goes_before_one_beside_it(v6: Original, tmp_path: Path) -> None:
    save_scaler(tmp_path / f"{v6.file.stem}_scaler.pkl")
    imported = import_checkpoint(v6.file)
    assert imported.scaler.mean == fitted_scaler(72).mean_.tolist()
    assert said(imported, "_scaler.pkl holds another scaler than lstm_BTC-USD_v6.pt's normalization_params")


def test_the_same_scaler_twice_is_no_contradiction(v6: Original, tmp_path: Path) -> None:
    save_scaler(tmp_path / f"{v6.file.stem}_scaler.pkl", seed=1)
    assert not said(import_checkpoint(v6.file), "another scaler")


def test_no_scaler_is_said_loudly_and_leaves_features_as_they_are(v6: Original) -> None:
    edited(v6, drop("normalization_params"))
    imported = import_checkpoint(v6.file)
    assert imported.assumed[0].startswith("NO SCALER was found: features go in unscaled")
    assert "signalserve fix" in imported.assumed[0]
    assert (set(imported.scaler.mean), set(imported.scaler.scale)) == ({0.0}, {1.0})
    assert not imported.has_scaler


def test_a_deviation_of_zero_scales_by_one(v6: Original) -> None:
    std = np.full(72, 2.0)
    std[5] = 0
    edited(v6, put(normalization_params={"mean": np.zeros(72), "std": std}))
    assert import_checkpoint(v6.file).scaler.scale[4:7] == [2, 1, 2]


@pytest.mark.parametrize(
    ("scaler", "expected"),
    [
        (StandardScaler(with_mean=False), lambda rows: (np.zeros(72), rows.std(axis=0))),
        (StandardScaler(with_std=False), lambda rows: (rows.mean(axis=0), np.ones(72))),
    ],
)
def test_a_step_that_a_scaler_leaves_out_stays_out(v6: Original, tmp_path: Path, scaler: Any, expected: Any) -> None:
    rows = np.random.default_rng(0).normal(3, 2, size=(50, 72))
    path = tmp_path / "mine.pkl"
    path.write_bytes(pickle.dumps(scaler.fit(rows)))
    imported = import_checkpoint(v6.file, scaler=path)
    assert np.allclose([imported.scaler.mean, imported.scaler.scale], expected(rows))


def test_a_scaler_may_name_its_columns(deployed: Original, tmp_path: Path) -> None:
    scaler = fitted_scaler(72)
    scaler.feature_names_in_ = np.array(NAMES_72, dtype=object)
    path = tmp_path / "mine.pkl"
    path.write_bytes(pickle.dumps(scaler))
    assert import_checkpoint(deployed.file, scaler=path).columns == NAMES_72


def test_means_may_be_kept_by_column_in_any_order(v6: Original) -> None:
    scaler = fitted_scaler(72)
    table = pd.DataFrame({"mean": scaler.mean_, "std": scaler.scale_}, index=NAMES_72)
    edited(v6, put(normalization_params=table.iloc[::-1].to_dict()))
    imported = import_checkpoint(v6.file)
    assert (imported.scaler.mean, imported.scaler.scale) == (scaler.mean_.tolist(), scaler.scale_.tolist())
    edited(v6, drop("feature_columns"))
    assert import_checkpoint(v6.file).columns == NAMES_72[::-1]


def test_means_that_kept_their_dimensions_are_one_row(v6: Original) -> None:
    scaler = fitted_scaler(72)
    edited(v6, put(normalization_params={"mean": scaler.mean_[None], "std": scaler.scale_[None].tolist()}))
    assert import_checkpoint(v6.file).scaler.mean == scaler.mean_.tolist()


def test_scalers_are_paired_by_stem_then_by_generation_then_by_symbol(tmp_path: Path) -> None:
    names = ["scaler_BTC_v6.pkl", "lstm_a_scaler.pkl", "scaler_BTCUSDT.pkl", "scaler_ETH-USD_v6.pkl"]
    for name in [*names, "scaler_BTC_v8.pkl", "processor_BTC-USD_v8.pkl", "notes_BTC.pkl", "scaler_BTC_v6.txt"]:
        (tmp_path / name).touch()
    paired = scalers_beside(tmp_path / "lstm_a.pt", "BTC-USD", ["v6"])
    assert [path.name for path in paired] == ["lstm_a_scaler.pkl", "scaler_BTC_v6.pkl", "scaler_BTCUSDT.pkl"]


def lstm_of_31(folder: Path, name: str = "lstm_BTC-USD.pt") -> Path:
    file = ORIGINALS["v6_lstm"](folder).file
    return file.rename(file.with_name(name))


def test_a_scaler_named_for_the_networks_own_generation_is_found_under_another_one(tmp_path: Path) -> None:
    file = lstm_of_31(tmp_path)
    save_scaler(tmp_path / "scaler_BTC-USD_v6_lstm.pkl", 31)
    assert import_checkpoint(file, generation="v6_fixed").found["scaler"] == "scaler_BTC-USD_v6_lstm.pkl"


def test_a_scaler_that_was_not_paired_is_named_with_what_to_do(tmp_path: Path) -> None:
    file = lstm_of_31(tmp_path)
    for name in ("scaler_BTC-USD_v6_fixed.pkl", "scaler_ETH-USD_v6_lstm.pkl", "scaler.pkl"):
        save_scaler(tmp_path / name, 31)
    imported = import_checkpoint(file)
    assert not imported.has_scaler and imported.assumed[0].startswith("NO SCALER")
    words = "scaler_BTC-USD_v6_fixed.pkl lies beside it and was not taken: it is not called scaler_BTC-USD.pkl or"
    assert said(imported, words) and said(imported, "scaler.pkl lies beside it")
    assert not said(imported, "scaler_ETH-USD")


def test_a_scaler_beside_it_of_another_width_is_another_networks(tmp_path: Path) -> None:
    file = lstm_of_31(tmp_path)
    save_scaler(tmp_path / "scaler_BTC-USD.pkl", 72)
    imported = import_checkpoint(file)
    assert not imported.has_scaler
    assert said(
        imported, "scaler_BTC-USD.pkl lies beside it and was not taken: it scales 72 columns, the network reads 31"
    )
    save_scaler(tmp_path / "scaler_BTC-USD_v6_lstm.pkl", 31)
    assert import_checkpoint(file).found["scaler"] == "scaler_BTC-USD_v6_lstm.pkl"


def test_a_broken_scaler_beside_it_matters_only_where_there_is_no_other(v6: Original, tmp_path: Path) -> None:
    (tmp_path / "scaler_BTC-USD.pkl").write_bytes(b"nonsense")
    assert said(import_checkpoint(v6.file), "scaler_BTC-USD.pkl lies beside it and was not taken: expected a file of")
    edited(v6, drop("normalization_params"))
    with pytest.raises(CheckpointError, match=r"scaler_BTC-USD\.pkl: expected a file of torch\.save or pickle\.dump"):
        import_checkpoint(v6.file)


def test_without_names_72_columns_are_the_usual_ones_and_others_are_numbered(
    deployed: Original, tmp_path: Path
) -> None:
    imported = import_checkpoint(deployed.file)
    assert imported.columns == COLUMNS
    assert said(imported, "the 72 columns are V6's, in the model's order")
    bare = import_checkpoint(ORIGINALS["bare_lstm"](tmp_path).file)
    assert bare.columns == tuple(f"feature_{i}" for i in range(17))
    assert said(bare, "feature_0 … feature_16, by position")


@pytest.mark.parametrize(("keys", "kept"), [({"temperature": 8.0}, 1.7), ({}, 1.7)])
def test_the_networks_own_temperature_goes_before_the_files(v7: Original, keys: dict[str, Any], kept: float) -> None:
    edited(v7, put(**keys))
    imported = import_checkpoint(v7.file)
    assert imported.calibration.temperature == pytest.approx(kept)
    assert said(imported, "temperature is 1.7 and the file says 8: 1.7 is taken") == bool(keys)


def test_temperature_and_clamp_are_assumed_where_nothing_says_them(v6: Original) -> None:
    imported = import_checkpoint(v6.file)
    assert (imported.calibration.temperature, imported.calibration.clamp) == (1, 15)
    assert said(imported, "no temperature was found") and said(imported, "no clamp was found")


def test_a_clamp_of_the_files_own_is_taken(deployed: Original) -> None:
    edited(deployed, put(logit_clip=10))
    assert import_checkpoint(deployed.file).calibration.clamp == 10


def test_what_contradicts_the_tensors_is_said(v6: Original, tmp_path: Path) -> None:
    edited(v6, put(input_size=31))
    assert said(import_checkpoint(v6.file), "input_size says 31 and the tensors read 72")
    wrapper = ORIGINALS["v6_wrapper"](tmp_path)
    edited(wrapper, lambda content: content["base_model_state_dict"].update({"fc1.bias": torch.zeros(256)}))
    assert said(import_checkpoint(wrapper.file), "base_model_state_dict holds other weights")


def test_the_symbol_is_told_by_option_then_file_then_name(deployed: Original) -> None:
    assert import_checkpoint(deployed.file, symbol="dogeusdt").symbol == "DOGE-USD"
    edited(deployed, put(symbol="ETHUSDT"))
    imported = import_checkpoint(deployed.file, scaler=deployed.file.with_name("scaler_SOL-USD_v6_fixed.pkl"))
    assert imported.symbol == "ETH-USD"
    assert said(imported, "the file says ETH-USD and its name SOL-USD: ETH-USD is taken")


def test_a_symbol_that_no_folder_can_have_is_not_taken(v6: Original) -> None:
    edited(v6, put(symbol="A" * 300 + "-USD"))
    imported = import_checkpoint(v6.file)
    assert imported.symbol == "BTC-USD"
    assert said(imported, "the file's symbol is none: AAA")


@pytest.mark.parametrize(
    ("key", "prefix"), [("model", ""), ("state_dict", "model."), ("model_state_dict", "_orig_mod.module.")]
)
def test_a_state_dict_may_stand_under_other_keys_and_behind_prefixes(v7: Original, key: str, prefix: str) -> None:
    expected = import_checkpoint(v7.file).weights
    edited(v7, lambda content: content.update({key: renamed(content.pop("model_state_dict"), prefix)}))
    found = import_checkpoint(v7.file).weights
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


def renamed(state: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {prefix + name: tensor for name, tensor in state.items()}


def test_what_stands_between_the_weights_is_left_out_and_said(v6: Original) -> None:
    state = torch.load(v6.file, weights_only=False)["model_state_dict"]
    file = v6.file.with_name("lstm_ETH-USD.pt")
    torch.save({**state, "epoch": 5, "losses": torch.ones(3)}, file)
    assert import_checkpoint(file).claims == {"epoch": 5, "losses": [1, 1, 1]}
    torch.save({"model_state_dict": {**state, "epoch": 5}}, file)
    assert said(import_checkpoint(file), "model_state_dict holds more than tensors, which is left out: epoch")


def test_only_generations_with_an_endpoint_are_called_served(v6: Original) -> None:
    assert "not served: endpoints exist for v6_fixed and v8" in import_checkpoint(v6.file).found["generation"]
    assert "served at /predictions/v8" in import_checkpoint(v6.file, generation="v8").found["generation"]


def test_what_it_was_taught_and_on_what_is_kept(v6: Original) -> None:
    span = Span(start="2025-05-04T00:00:00Z", end="2025-05-05T00:00:00Z")
    labels = Labels(horizon_bars=15, neutral_band=0.001)
    manifest = import_checkpoint(v6.file, labels=labels, trained=span).as_bundle().manifest
    assert (manifest.labels, manifest.spans.train) == (labels, span)


def test_a_version_is_never_overwritten(v6: Original, tmp_path: Path) -> None:
    imported = import_checkpoint(v6.file)
    folders = [write_imported(imported, tmp_path / "bundles", command="") for _ in range(2)]
    assert [folder.name for folder in folders] == ["1", "2"]
    assert load_bundle(folders[0]).manifest.golden == load_bundle(folders[1]).manifest.golden


# ---- what is refused

REFUSED: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no weights": (drop("model_state_dict"), "expected weights, got a file without any: it holds input_size, accuracy"),
    "empty weights": (put(model_state_dict={}), "expected weights"),
    "a word for columns": (put(feature_columns="rsi"), "feature_columns: expected the names of 72 columns, got 0"),
    "columns twice": (put(feature_columns=["rsi"] * 72), "feature_columns: expected distinct columns, got rsi more"),
    "no names": (put(feature_columns=[1] * 72), "feature_columns: expected names of printable text"),
    "too few names": (put(feature_columns=list("abc")), "feature_columns: expected the names of 72 columns, got 3"),
    "narrow scaler": (
        put(normalization_params={"mean": np.zeros(31), "std": np.ones(31)}),
        "normalization_params: expected a scaler of the network's 72 columns, got one of 31; .*--scaler",
    ),
    "uneven scaler": (
        put(normalization_params={"mean": np.zeros(72), "std": np.ones(71)}),
        "expected as many means as scales, got 72 and 71",
    ),
    "negative scale": (
        put(normalization_params={"mean": np.zeros(72), "std": -np.ones(72)}),
        "expected finite means and scales of at least 0",
    ),
    "scaler of words": (
        put(normalization_params={"mean": "a", "std": "b"}),
        "expected one mean and one scale a column",
    ),
    "no scaler at all": (put(normalization_params=[1, 2]), "expected a StandardScaler, or `mean` .* got list"),
    "temperature of zero": (put(temperature=0.0), "temperature: expected a number from 0.001 to 10,000, got 0"),
    "temperature in words": (put(temperature="hot"), "temperature: expected a number, got hot"),
    "clamp": (put(logit_clip=float("inf")), "logit_clip: expected a number from 0.001 to 1,000,000, got inf"),
    "means and deviations of other columns": (
        put(normalization_params={"mean": {"a": 1.0}, "std": {"b": 1.0}}),
        "expected a mean and a scale of the same columns",
    ),
    "means by other names": (
        put(normalization_params={"mean": dict.fromkeys(range(72), 0.0), "std": dict.fromkeys(range(72), 1.0)}),
        "expected means by the names in feature_columns, got others",
    ),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_nobody_can_assume_is_refused_by_file_and_in_words(v6: Original, fault: str) -> None:
    edit, words = REFUSED[fault]
    edited(v6, edit)
    with pytest.raises(CheckpointError, match=rf"lstm_BTC-USD_v6\.pt: .*{words}"):
        import_checkpoint(v6.file)


def test_a_symbol_that_nothing_tells_is_refused(v6: Original) -> None:
    nameless = v6.file.rename(v6.file.with_name("model_best.pt"))
    with pytest.raises(CheckpointError, match=r"expected a symbol in the file or its name.*pass --symbol"):
        import_checkpoint(nameless)
    with pytest.raises(CheckpointError, match="--symbol: expected a symbol such as BTC-USD"):
        import_checkpoint(nameless, symbol="???")


def test_a_generation_that_no_folder_can_have_is_refused(v6: Original) -> None:
    with pytest.raises(CheckpointError, match="--generation: expected at most 40 small letters, digits and _"):
        import_checkpoint(v6.file, generation="../x")


def test_files_that_hold_no_network_are_refused(tmp_path: Path) -> None:
    scaler = save_scaler(tmp_path / "scaler_BTC.pkl")
    with pytest.raises(CheckpointError, match="expected a network, got a scaler; pass it as --scaler"):
        import_checkpoint(scaler)
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="expected a dict with model_state_dict, or a state dict, got list"):
        import_checkpoint(tmp_path / "list.pt")


def test_a_scaler_file_without_a_scaler_is_refused(v6: Original, tmp_path: Path) -> None:
    (tmp_path / "empty.pkl").write_bytes(pickle.dumps({"accuracy": 0.7}))
    with pytest.raises(CheckpointError, match=r"empty\.pkl: expected a pickled StandardScaler, a V8 processor"):
        import_checkpoint(v6.file, scaler=tmp_path / "empty.pkl")
    (tmp_path / "unfitted.pkl").write_bytes(pickle.dumps(StandardScaler()))
    with pytest.raises(CheckpointError, match=r"unfitted\.pkl: expected a fitted StandardScaler"):
        import_checkpoint(v6.file, scaler=tmp_path / "unfitted.pkl")


def test_a_scaler_of_other_columns_is_refused(tmp_path: Path) -> None:
    original = ORIGINALS["v8_feed_forward"](tmp_path)
    edited(original, put(feature_columns=[*NAMES_72[:70], NAMES_72[71], NAMES_72[70]]))
    with pytest.raises(CheckpointError, match=r"feature_columns and those of .* differ from column 70 on"):
        import_checkpoint(original.file)


def test_a_network_that_overflows_is_refused(v6: Original) -> None:
    edited(v6, lambda content: [content["model_state_dict"][f"fc{i}.weight"].fill_(1e38) for i in range(1, 5)])
    edited(v6, lambda content: content["model_state_dict"]["fc4.weight"][1].neg_())
    imported = import_checkpoint(v6.file)
    with pytest.raises(CheckpointError, match=r"float32 answers otherwise than float64|its weights overflow"):
        write_imported(imported, v6.file.parent / "bundles", command="")
    assert not (v6.file.parent / "bundles").exists()


def test_whatever_a_files_content_makes_fail_is_told_by_its_name(v6: Original, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OverflowError("int too large to convert to float")

    monkeypatch.setattr(export.checkpoints.importing, "temperature_in", fail)
    with pytest.raises(CheckpointError, match=r"lstm_BTC-USD_v6\.pt: its content is not as expected: int too large"):
        import_checkpoint(v6.file)


# ---- a folder


def test_a_folder_gives_its_checkpoints_and_passes_over_the_scalers_among_them(tmp_path: Path) -> None:
    for name in ("v6_wrapper", "v8_feed_forward"):
        ORIGINALS[name](tmp_path)
    (tmp_path / "readme.txt").write_text("notes")
    done: list[int] = []
    imported, faults = import_folder(tmp_path, progress=done.append)
    assert [each.path.name for each in imported] == ["lstm_ETH-USD_v6_fixed.pt", "lstm_ETH-USD_v8.pt"]
    assert faults == [] and len(done) == 4


def test_each_checkpoint_of_a_folder_is_read_once(
    v6: Original, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    monkeypatch.setattr(export.checkpoints.importing, "read_file", lambda path: read.append(path) or read_file(path))
    import_folder(tmp_path)
    assert read == [v6.file]


def test_a_folder_without_checkpoints_is_refused_with_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    (tmp_path / "more").mkdir()
    with pytest.raises(CheckpointError, match=r"expected checkpoints ending in \.pt, .* got more, notes\.txt"):
        import_folder(tmp_path)
    save_scaler(tmp_path / "scaler_BTC.pkl")
    with pytest.raises(CheckpointError, match=r"expected checkpoints ending in \.pt, .* got scaler_BTC\.pkl"):
        import_folder(tmp_path)


def test_one_bad_file_leaves_its_neighbours_alone(v6: Original, tmp_path: Path) -> None:
    (tmp_path / "lstm_ETH-USD.pt").write_bytes(b"nonsense")
    imported, faults = import_folder(tmp_path)
    assert [each.path for each in imported] == [v6.file]
    assert len(faults) == 1 and "lstm_ETH-USD.pt" in str(faults[0])
