"""Single files: they answer as a float64 reference does, pool as the service pools, and say what they are."""

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import reference_model
import torch
from reference_model import ReferenceModel, softmax
from stores import BTC, ETH, raw_window, write_model, write_store

from export.onnx_files import OnnxFile, ensemble_bundles, ensemble_file, model_file, pool_probabilities
from signalserve.bundle import Bundle, load_bundle
from signalserve.engine import calibrated_model
from signalserve.ensemble import pool
from signalserve.errors import BundleError
from signalserve.features import COLUMNS
from signalserve.network import (
    AttentionLstmConfig,
    Config,
    FeedForwardConfig,
    LstmConfig,
    architecture_of,
    build_network,
)
from signalserve.settings import Pool, Settings

TINY: dict[str, Any] = {"hidden": 4, "layers": 1}
FEWER = COLUMNS[40:10:-1]
"""30 columns in another order than the other model's 72."""

WEIGHTS = np.array([0.3, 0.7])
WINDOWS = np.stack([raw_window(BTC, seed) for seed in range(20)])


def bundles_of(root: Path, **options: Any) -> list[Bundle]:
    """A v6_fixed of all columns and a v8 of FEWER."""
    first = write_model(root, "v6_fixed", **{**TINY, **options})
    return [load_bundle(first), load_bundle(write_model(root, "v8", columns=FEWER, **{**TINY, **options}))]


def two_class(bundle: Bundle) -> Bundle:
    """The network whose one output is the first of this one's."""
    manifest = bundle.manifest.model_copy(update={"architecture": {**bundle.manifest.architecture, "outputs": 1}})
    head = {name: bundle.weights[name][:1] for name in ("head.weight", "head.bias")}
    return dataclasses.replace(bundle, manifest=manifest, weights={**bundle.weights, **head})


def answer(file: OnnxFile, windows: np.ndarray, weights: np.ndarray | None = None) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(file.content, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    inputs = {"windows": windows} | ({} if weights is None else {"weights": weights})
    return dict(zip(names, session.run(names, inputs), strict=True))


def metadata(file: OnnxFile) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load_from_string(file.content).metadata_props}


# ---- one model


@pytest.mark.parametrize("generation", ["v6_fixed", "v8"])
def test_a_models_file_answers_as_the_float64_reference(tmp_path: Path, generation: str):
    folder = write_model(tmp_path, generation, clamp=0.4)
    got = answer(model_file(load_bundle(folder)), WINDOWS)
    raw_logits, probabilities = ReferenceModel(folder).answer(WINDOWS)
    assert np.abs(raw_logits).max() > 0.4
    np.testing.assert_allclose(got["raw_logits"], raw_logits, atol=1e-4)
    np.testing.assert_allclose(got["probabilities"], probabilities, atol=1e-5)


def test_a_network_of_one_output_gives_down_and_up_and_no_neutral(tmp_path: Path):
    folder = write_model(tmp_path, **TINY)
    got = answer(model_file(two_class(load_bundle(folder))), WINDOWS)
    up = ReferenceModel(folder).answer(WINDOWS)[0][:, 0]  # log-odds
    np.testing.assert_allclose(got["raw_logits"], np.stack([np.zeros(20), up], axis=1), atol=1e-5)
    down_up = softmax(np.stack([np.zeros(20), np.clip(up, -15, 15) / 2.0], axis=1))
    np.testing.assert_allclose(got["probabilities"][:, [0, 2]], down_up, atol=1e-6)
    assert not got["probabilities"][:, 1].any()


@pytest.mark.parametrize(
    "config",
    [
        LstmConfig(72, hidden=4, layers=3, bidirectional=True, head_hidden=6, outputs=1),
        FeedForwardConfig(72, hidden=(8, 6), norm="batch"),
        FeedForwardConfig(72, hidden=(8, 6), norm="layer"),
        AttentionLstmConfig(72, hidden=8, layers=1, heads=2, head_hidden=(6, 4)),
    ],
    ids=lambda config: f"{config.kind} {getattr(config, 'norm', '')}",
)
def test_every_architecture_that_can_be_imported_is_exported_for_any_batch(tmp_path: Path, config: Config):
    torch.manual_seed(0)
    network = build_network(architecture_of(config))
    bundle = load_bundle(write_model(tmp_path, **TINY))
    manifest = bundle.manifest.model_copy(update={"architecture": architecture_of(config)})
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    file = model_file(dataclasses.replace(bundle, manifest=manifest, weights=weights))
    double = calibrated_model(file.bundles[0]).double()
    for batch in (1, 3, 20):
        got = answer(file, WINDOWS[:batch])
        with torch.inference_mode():
            raw_logits, probabilities = double(torch.from_numpy(WINDOWS[:batch]))
        np.testing.assert_allclose(got["raw_logits"], raw_logits, atol=1e-5)
        np.testing.assert_allclose(got["probabilities"], probabilities, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 3, 20])
def test_any_number_of_windows_is_a_batch(tmp_path: Path, batch: int):
    file = ensemble_file(bundles_of(tmp_path), Pool(), {})
    whole, part = answer(file, WINDOWS, WEIGHTS), answer(file, WINDOWS[:batch], WEIGHTS)
    for name, values in part.items():
        np.testing.assert_allclose(values, whole[name][:batch], atol=1e-6)


def test_a_file_says_which_model_it_is_and_what_it_reads(tmp_path: Path):
    bundle = load_bundle(write_model(tmp_path, **TINY))
    said = metadata(model_file(bundle))
    names = ("generation", "symbol", "version", "manifest_sha256", "window", "interval_ms", "clamp", "temperature")
    assert [said[name] for name in names] == ["v8", BTC, "1", bundle.sha256, "60", "60000", "15.0", "2.0"]
    assert json.loads(said["columns"]) == list(COLUMNS)
    assert json.loads(said["classes"]) == ["DOWN", "NEUTRAL", "UP"]


def test_a_file_documents_every_input_and_output_and_names_no_path(tmp_path: Path):
    for file in (model_file(load_bundle(write_model(tmp_path / "one", **TINY))), *two_pools(tmp_path)):
        model = onnx.load_from_string(file.content)
        assert all(value.doc_string for value in (*model.graph.input, *model.graph.output))
        assert str(tmp_path).encode() not in file.content
        assert b".py" not in file.content


def two_pools(root: Path) -> list[OnnxFile]:
    bundles = bundles_of(root)
    return [ensemble_file(bundles, Pool(method=method, temperature=1.5), {}) for method in ("linear", "log")]


# ---- a symbol's ensemble


@pytest.mark.parametrize("method", ["linear", "log"])
@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_the_pool_in_torch_is_the_services(method: str, temperature: float):
    random = np.random.default_rng(0)
    parts = softmax(random.normal(scale=20, size=(3, 500, 3)))
    parts[:, ::2, 1] = 0  # as a network of one output has it
    parts /= parts.sum(axis=-1, keepdims=True)
    weights = random.dirichlet(np.ones(3))
    got = pool_probabilities(torch.from_numpy(parts), torch.from_numpy(weights), method, temperature).numpy()
    assert np.abs(got - pool(parts, weights, method, temperature)).max() < 1e-9


@pytest.mark.parametrize("method", ["linear", "log"])
def test_the_ensembles_file_pools_its_models_as_the_service_does(tmp_path: Path, method: str):
    first, second = bundles_of(tmp_path)
    file = ensemble_file([first, two_class(second)], Pool(method=method, temperature=1.7), {})
    got = answer(file, WINDOWS, WEIGHTS)
    parts = np.stack([got["probabilities_v6_fixed"], got["probabilities_v8"]])
    assert not parts[1, :, 1].any()
    assert np.abs(got["probabilities"] - pool(parts, WEIGHTS, method, 1.7)).max() < 1e-9


def test_each_model_reads_its_own_columns_of_the_shared_window(tmp_path: Path):
    bundles = bundles_of(tmp_path)
    file = ensemble_file(bundles, Pool(), {})
    got = answer(file, WINDOWS, WEIGHTS)
    parts = []
    for bundle in bundles:
        model = ReferenceModel(bundle.path)
        order = [file.schema.columns.index(column) for column in model.columns]
        raw_logits, probabilities = model.answer(WINDOWS[:, :, order])
        np.testing.assert_allclose(got[f"raw_logits_{bundle.manifest.generation}"], raw_logits, atol=1e-5)
        parts.append(probabilities)
    expected = reference_model.pool(np.stack(parts), WEIGHTS, "linear", 1.0)
    np.testing.assert_allclose(got["probabilities"], expected, atol=1e-5)


def test_weight_1_on_one_model_is_that_model(tmp_path: Path):
    got = answer(ensemble_file(bundles_of(tmp_path), Pool(method="log"), {}), WINDOWS, np.array([0.0, 1.0]))
    np.testing.assert_allclose(got["probabilities"], got["probabilities_v8"], atol=1e-12)


def test_weights_that_do_not_sum_to_1_do_what_is_documented(tmp_path: Path):
    linear, log = two_pools(tmp_path)
    normal, doubled = (answer(linear, WINDOWS, weights)["probabilities"] for weights in (WEIGHTS, 2 * WEIGHTS))
    np.testing.assert_allclose(doubled, normal, atol=1e-12)
    sharper = ensemble_file(log.bundles, Pool(method="log", temperature=0.75), {})
    doubled, halved = answer(log, WINDOWS, 2 * WEIGHTS), answer(sharper, WINDOWS, WEIGHTS)
    np.testing.assert_allclose(doubled["probabilities"], halved["probabilities"], atol=1e-12)


def test_an_ensemble_says_its_models_its_pool_and_the_configured_weights(tmp_path: Path):
    bundles = bundles_of(tmp_path)
    weights = {"v6_fixed": 0.4, "v8": 0.6}
    said = metadata(ensemble_file(bundles, Pool(method="log", temperature=1.1), weights))
    assert (said["generation"], said["pool"], said["pool_temperature"]) == ("ensemble", "log", "1.1")
    assert json.loads(said["weights"]) == weights
    assert [model["manifest_sha256"] for model in json.loads(said["models"])] == [each.sha256 for each in bundles]


def test_models_of_different_windows_are_no_ensemble(tmp_path: Path):
    first = load_bundle(write_model(tmp_path, "v6_fixed", **TINY))
    second = load_bundle(write_model(tmp_path, "v8", interval_ms=300_000, **TINY))
    with pytest.raises(BundleError, match="models of one symbol must read the same bars"):
        ensemble_file([first, second], Pool(), {})


def test_an_ensemble_holds_the_served_generations_in_force(tmp_path: Path):
    store = write_store(tmp_path, (BTC, ETH), **TINY)
    write_model(store, "v7", **TINY)
    write_model(store, "v8", version="2", **TINY)
    pinned = Settings(bundles={BTC: {"v8": "1"}})
    for settings, version in ((Settings(), "2"), (pinned, "1")):
        names = [bundle.name for bundle in ensemble_bundles(store, BTC, settings)]
        assert names == [f"v6_fixed/{BTC}/1", f"v8/{BTC}/{version}"]
    with pytest.raises(BundleError, match=r"which are BTC-USD, ETH-USD; got DOGE-USD"):
        ensemble_bundles(store, "DOGE-USD", Settings())


# ---- reproducible

ELSEWHERE = """
import hashlib, sys
from pathlib import Path
from export.onnx_files import ensemble_file, model_file
from signalserve.bundle import load_bundle
from signalserve.settings import Pool
bundles = [load_bundle(Path(folder)) for folder in sys.argv[1:]]
for file in (model_file(bundles[0]), ensemble_file(bundles, Pool(), {"v8": 0.6, "v6_fixed": 0.4})):
    print(hashlib.sha256(file.content).hexdigest())
"""


def test_the_same_bundles_give_the_same_bytes_in_any_process(tmp_path: Path):
    bundles = bundles_of(tmp_path)
    command = [sys.executable, "-c", ELSEWHERE, *(str(bundle.path) for bundle in bundles)]
    environment = os.environ | {"PYTHONHASHSEED": "77"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    files = (model_file(bundles[0]), ensemble_file(bundles, Pool(), {"v8": 0.6, "v6_fixed": 0.4}))
    assert done.stdout.split() == [hashlib.sha256(file.content).hexdigest() for file in files]
