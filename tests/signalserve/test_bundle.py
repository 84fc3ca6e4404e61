"""A model on disk: written once and whole, refused by the name of what is wrong with it."""

import hashlib
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stores import BTC, ETH, write_model, write_store

from signalserve.bundle import find_bundles, load_bundle, load_bundles, load_manifests, newest_bundles, write_bundle
from signalserve.errors import BundleError

SMALL = {"columns": ("rsi_14", "returns"), "hidden": 2, "layers": 1}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_model(tmp_path, "v8", BTC, **SMALL)


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def as_arguments(folder: Path) -> dict[str, Any]:
    """A bundle on disk as the manifest that write_bundle takes."""
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["files"]
    return manifest


def test_what_was_written_is_what_is_read(tmp_path: Path, folder: Path):
    bundle = load_bundle(folder)
    copy = load_bundle(write_bundle(tmp_path / "copy", as_arguments(folder), bundle.weights, {"bins": [0.5]}))
    assert copy.manifest.golden == bundle.manifest.golden
    assert copy.reference == {"bins": [0.5]}
    assert copy.weights.keys() == bundle.weights.keys()
    assert all(np.array_equal(copy.weights[name], array) for name, array in bundle.weights.items())


def test_a_bundle_is_known_by_its_place_and_its_manifests_hash(folder: Path):
    bundle = load_bundle(folder)
    assert bundle.name == "v8/BTC-USD/1"
    assert bundle.sha256 == hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()


STREAM = {"as_of_ms": np.arange(3), "raw_logits": np.eye(3, dtype=np.float32)}


@pytest.fixture
def with_stream(tmp_path: Path, folder: Path) -> Path:
    bundle = load_bundle(folder)
    return write_bundle(tmp_path / "copy", as_arguments(folder), bundle.weights, {}, STREAM)


def test_a_stream_is_read_as_it_was_written(with_stream: Path):
    bundle = load_bundle(with_stream)
    assert set(bundle.manifest.files) == {"weights.safetensors", "reference.json", "stream.safetensors"}
    assert {name: tensor.tolist() for name, tensor in bundle.stream.items()} == {
        name: tensor.tolist() for name, tensor in STREAM.items()
    }


def test_a_bundle_that_keeps_no_stream_has_none(folder: Path):
    assert load_bundle(folder).stream is None
    assert not (folder / "stream.safetensors").exists()


def test_a_stream_that_was_changed_is_refused_at_load(with_stream: Path):
    (with_stream / "stream.safetensors").write_bytes(b"changed")
    with pytest.raises(BundleError, match=r"stream\.safetensors: sha256 .* differs from the manifest's"):
        load_bundle(with_stream)


def test_a_stream_that_is_no_tensors_is_refused_by_name_when_it_is_read(with_stream: Path):
    (with_stream / "stream.safetensors").write_bytes(b"no tensors")
    sha256 = hashlib.sha256(b"no tensors").hexdigest()
    edit_manifest(with_stream, lambda m: m["files"].update({"stream.safetensors": sha256}))
    bundle = load_bundle(with_stream)  # who only answers needs none
    with pytest.raises(BundleError, match=r"stream\.safetensors: .*restore the folder or remove the version"):
        _ = bundle.stream
    (with_stream / "stream.safetensors").unlink()
    with pytest.raises(BundleError, match=r"stream\.safetensors: No such file"):
        _ = bundle.stream


def test_weights_that_are_views_are_written_as_they_read(tmp_path: Path, folder: Path):
    transposed = np.arange(6, dtype=np.float32).reshape(2, 3).T
    again = load_bundle(write_bundle(tmp_path / "copy", as_arguments(folder), {"w": transposed}, {}))
    assert np.array_equal(again.weights["w"], transposed)


def test_a_version_is_never_overwritten(tmp_path: Path, folder: Path):
    before = (folder / "manifest.json").read_bytes()
    with pytest.raises(BundleError, match=r"v8/BTC-USD/1 exists already; .* choose a new one"):
        write_bundle(tmp_path / "bundles", as_arguments(folder), {"w": np.zeros(1)}, {})
    assert (folder / "manifest.json").read_bytes() == before


@pytest.mark.parametrize("wrong", [{"columns": ["one"]}, {"interval_ms": 0}])
def test_nothing_half_written_is_left_when_the_manifest_is_wrong(tmp_path: Path, folder: Path, wrong: dict[str, Any]):
    with pytest.raises(ValueError, match=r"columns|interval_ms"):
        write_bundle(tmp_path / "copy", as_arguments(folder) | wrong, {"w": np.zeros(1)}, {})
    assert [path for path in (tmp_path / "copy").rglob("*") if path.is_file() or path.name.startswith(".")] == []


def test_a_reference_with_nan_is_not_written(tmp_path: Path, folder: Path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_bundle(tmp_path / "copy", as_arguments(folder), {"w": np.zeros(1)}, {"limit": float("nan")})
    assert list(find_bundles(tmp_path / "copy")) == []


@pytest.mark.parametrize("name", ["weights.safetensors", "reference.json"])
def test_a_changed_file_is_refused_by_name(folder: Path, name: str):
    content = bytearray((folder / name).read_bytes())
    content[-1] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(BundleError, match=rf"{name}: sha256 .* differs from the manifest's .*restore it"):
        load_bundle(folder)


@pytest.mark.parametrize("name", ["manifest.json", "weights.safetensors", "reference.json"])
def test_a_missing_file_is_refused_by_name(folder: Path, name: str):
    (folder / name).unlink()
    with pytest.raises(BundleError, match=rf"{name}: No such file or directory; restore the file"):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m.update(schema_version=2), "schema_version"),
        (lambda m: m.update(classes=["UP", "NEUTRAL", "DOWN"]), "classes"),
        (lambda m: m.update(surprise=1), "surprise: Extra inputs are not permitted"),
        (lambda m: m.pop("golden"), "golden: Field required"),
        (lambda m: m["scaler"]["scale"].__setitem__(0, 0), "scaler.scale.0: Input should be greater than 0"),
        (lambda m: m["calibration"].update(temperature=-1), "calibration.temperature"),
        (lambda m: m["scaler"]["mean"].pop(), "expected 2 distinct columns .* got inputs 2, means 1, scales 2"),
        (lambda m: m.update(columns=["returns", "returns"]), "distinct columns 1"),
        (lambda m: m["architecture"].update(inputs=72), "got inputs 72"),
        (lambda m: m["files"].pop("weights.safetensors"), r"expected the sha256 of \['weights.safetensors'\]"),
        (lambda m: m["files"].update({"../escape": "0"}), r"expected plain file names, got '../escape'"),
        (lambda m: m.update(version="2"), r"the manifest says v8/BTC-USD/2"),
        (lambda m: m.update(symbol="ETH-USD"), r"the manifest says v8/ETH-USD/1"),
        (lambda m: m.update(generation="../v8"), "generation"),
    ],
)
def test_a_manifest_that_is_wrong_is_refused_by_its_place(folder: Path, change: Callable, words: str):
    edit_manifest(folder, change)
    with pytest.raises(BundleError, match=words):
        load_bundle(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema_version": NaN}'])
def test_a_manifest_that_is_not_json_is_refused_by_name(folder: Path, text: str):
    (folder / "manifest.json").write_text(text)
    with pytest.raises(BundleError, match=r"manifest\.json: .*restore the file or remove the version"):
        load_bundle(folder)


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["weights.safetensors", "reference.json"])
def test_a_pickle_under_another_name_is_refused_and_never_executed(tmp_path: Path, folder: Path, name: str):
    payload = pickle.dumps(Trap(tmp_path / "executed"))
    (folder / name).write_bytes(payload)
    edit_manifest(folder, lambda m: m["files"].update({name: hashlib.sha256(payload).hexdigest()}))
    with pytest.raises(BundleError, match="not readable"):
        load_bundle(folder)
    assert not (tmp_path / "executed").exists()


def test_the_newest_version_is_the_highest_number(tmp_path: Path):
    for version in ("9", "10", "2"):
        write_model(tmp_path, "v8", BTC, version=version, **SMALL)
    assert [path.name for path in find_bundles(tmp_path / "bundles")] == ["2", "9", "10"]
    assert [path.name for path in newest_bundles(tmp_path / "bundles")] == ["10"]


def test_a_version_that_is_still_being_written_is_none(tmp_path):
    folder = write_model(tmp_path, "v8", BTC, **SMALL)
    folder.rename(folder.with_name(".writing-1"))
    assert list(find_bundles(tmp_path / "bundles")) == []


def test_a_pin_wins_over_the_newest_for_its_symbol_only(tmp_path: Path):
    for symbol in (BTC, ETH):
        for version in ("1", "2"):
            write_model(tmp_path, "v8", symbol, version=version, **SMALL)
    chosen = newest_bundles(tmp_path / "bundles", {BTC: {"v8": "1"}})
    assert ["/".join(path.parts[-2:]) for path in chosen] == ["BTC-USD/1", "ETH-USD/2"]


def test_a_pin_of_a_version_that_is_not_there_says_which(tmp_path: Path):
    write_model(tmp_path, "v8", BTC, **SMALL)
    with pytest.raises(BundleError, match="BTC-USD pins v8 version 7, which is not under"):
        newest_bundles(tmp_path / "bundles", {BTC: {"v8": "7"}})


def test_no_bundle_at_all_says_where_they_belong(tmp_path: Path):
    with pytest.raises(BundleError, match=r"expected bundles at <generation>/<symbol>/<version>/manifest.json"):
        newest_bundles(tmp_path)


def test_bundles_are_those_that_the_archives_were_built_from(tmp_path: Path):
    write_store(tmp_path, (BTC, ETH), **SMALL)
    (tmp_path / "archives.json").write_text(json.dumps({"made_from": "", "bundles": {"v8/ETH-USD/1": ""}}))
    [bundle] = load_bundles(tmp_path)
    assert bundle.sha256 == load_bundle(tmp_path / "bundles" / "v8" / ETH / "1").sha256
    (bundle.path / "weights.safetensors").write_bytes(b"damaged")
    with pytest.raises(BundleError, match="sha256"):
        load_bundles(tmp_path)


def test_manifests_are_those_that_the_archives_were_built_from(tmp_path: Path):
    write_store(tmp_path, (BTC, ETH), **SMALL)
    (tmp_path / "archives.json").write_text(json.dumps({"made_from": "", "bundles": {"v8/ETH-USD/1": ""}}))
    assert [(m.generation, m.symbol) for m in load_manifests(tmp_path)] == [("v8", ETH)]


@pytest.mark.parametrize("index", [None, "{", "{}"])
def test_a_store_without_archives_says_what_to_run(tmp_path: Path, index: str | None):
    if index is not None:
        (tmp_path / "archives.json").write_text(index)
    with pytest.raises(BundleError, match=r"archives.json: .*run make archives"):
        load_manifests(tmp_path)


def test_skill_is_accuracy_less_that_of_the_commonest_class(tmp_path: Path):
    report = {"accuracy": 0.41, "base_rates": {"DOWN": 0.35, "NEUTRAL": 0.25, "UP": 0.40}}
    measured = load_bundle(write_model(tmp_path, "v8", BTC, report=report, **SMALL)).manifest
    unmeasured = load_bundle(write_model(tmp_path, "v8", ETH, **SMALL)).manifest
    assert measured.accuracy_over_majority == pytest.approx(0.01)
    assert unmeasured.accuracy_over_majority is None


def test_failed_gates_are_those_the_manifest_names(tmp_path: Path):
    gates = {"passed": ["finite"], "failed": ["accuracy"], "report": {}}
    assert load_bundle(write_model(tmp_path, "v8", BTC, gates=gates, **SMALL)).failed_gates == ("accuracy",)
    assert load_bundle(write_model(tmp_path, "v8", ETH, **SMALL)).failed_gates == ()
