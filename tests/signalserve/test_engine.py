"""Torch and ONNX Runtime against a float64 reference that shares no code with the package."""

from pathlib import Path

import numpy as np
import pytest
import torch
from reference_model import ReferenceModel
from stores import BTC, raw_window, write_model

from signalserve.bundle import Bundle, load_bundle
from signalserve.engine import Engine, OnnxEngine, Output, TorchEngine, create_engine, onnx_bytes
from signalserve.errors import BundleError, EngineError, ModelOutputNotFinite

ENGINES = ["torch", "onnxruntime"]
WINDOWS = np.stack([raw_window(seed=seed) for seed in range(9)])
no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")


@pytest.fixture(scope="module", params=["v6_fixed", "v8"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Temperature, clamp and gain are such that about half of the logits are clamped and no answer is flat."""
    root = tmp_path_factory.mktemp("store")
    return load_bundle(write_model(root, request.param, BTC, hidden=16, gain=200.0, clamp=5.0, temperature=3.0))


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest, bundle: Bundle) -> Engine:
    return create_engine(bundle, engine=request.param, device="cpu")


def cuts(values: np.ndarray, clamp: float = 5.0) -> int:
    return int(np.count_nonzero(np.abs(values) > clamp))


def test_an_engine_agrees_with_the_float64_reference(engine: Engine, bundle: Bundle):
    output = engine.predict(WINDOWS)
    raw_logits, probabilities = ReferenceModel(bundle.path).answer(WINDOWS)
    assert 3 < cuts(raw_logits) < 25  # the clamp is part of what is compared
    assert np.abs(output.probabilities - probabilities).max() < 1e-5
    assert output.raw_logits == pytest.approx(raw_logits, rel=1e-4, abs=1e-4)
    assert output.raw_logits.dtype == output.probabilities.dtype == np.float64


@pytest.mark.parametrize("engine_name", ENGINES)
def test_prices_near_100_000_keep_their_digits(tmp_path: Path, engine_name: str):
    scale = np.full(3, 0.05)
    columns = ("ema_10", "ema_20", "ema_50")
    folder = write_model(tmp_path, columns=columns, mean=[104_321.0] * 3, scale=scale, gain=50.0)
    windows = (104_321 + scale * np.random.default_rng(1).normal(size=(4, 60, 3))).astype(np.float32)
    output = create_engine(load_bundle(folder), engine=engine_name, device="cpu").predict(windows)
    assert np.abs(output.probabilities - ReferenceModel(folder).answer(windows)[1]).max() < 1e-5


def test_probabilities_sum_to_1(engine: Engine):
    assert engine.predict(WINDOWS).probabilities.sum(axis=1) == pytest.approx(np.ones(9), abs=1e-6)


def test_a_row_answers_the_same_alone_and_in_a_batch(engine: Engine):
    together = engine.predict(WINDOWS).probabilities
    alone = np.concatenate([engine.predict(window[None]).probabilities for window in WINDOWS])
    assert np.abs(together - alone).max() < 1e-6


def test_in_a_batch_of_one_size_a_neighbour_changes_no_bit(engine: Engine):
    other = WINDOWS.copy()
    other[0] = raw_window(seed=99)
    before, after = engine.predict(WINDOWS).probabilities, engine.predict(other).probabilities
    assert np.array_equal(before[1:], after[1:])
    assert not np.array_equal(before[0], after[0])


def test_a_read_only_window_is_taken(engine: Engine):
    frozen = WINDOWS[:1].copy()
    frozen.flags.writeable = False
    assert np.array_equal(engine.predict(frozen).probabilities, engine.predict(WINDOWS[:1]).probabilities)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_window_that_is_not_finite_never_reaches_a_model(engine: Engine, value: float):
    # ONNX Runtime's LSTM would make plausible numbers of a NaN
    windows = WINDOWS.copy()
    windows[3, 59, 0] = value
    with pytest.raises(ValueError, match="engine: expected finite windows, got NaN or infinity"):
        engine.predict_rows(windows)


class Overflowing(Engine):
    """A model whose second row is no answer."""

    name, device = "fake", "cpu"

    def _run(self, windows: np.ndarray) -> Output:
        raw_logits = np.zeros((len(windows), 3))
        raw_logits[1, 2] = np.inf
        return Output(raw_logits, np.full((len(windows), 3), 1 / 3))


def test_a_model_that_gives_infinity_is_refused():
    with pytest.raises(ModelOutputNotFinite, match="expected finite logits, got NaN or infinity from the network"):
        Overflowing().predict(WINDOWS[:3])


def test_by_rows_only_the_row_without_an_answer_is_marked():
    assert Overflowing().predict_rows(WINDOWS[:3]).finite.tolist() == [True, False, True]


@pytest.mark.parametrize("engine_name", ENGINES)
def test_a_network_that_overflows_float32_is_caught(tmp_path: Path, engine_name: str):
    bundle = load_bundle(write_model(tmp_path, attention=False, hidden=32, edit=steep))
    engine = create_engine(bundle, engine=engine_name, device="cpu")
    assert 0 < np.count_nonzero(engine.predict_rows(WINDOWS).finite) < 9
    with pytest.raises(ModelOutputNotFinite):
        engine.predict(WINDOWS)


def steep(weights: dict[str, torch.Tensor]) -> None:
    """Logits around 1e38: finite in float64, and in float32 beyond the end for some windows."""
    weights["lstm.weight_ih_l0"].mul_(5)
    weights["lstm.weight_ih_l1"].mul_(5)
    weights["head.weight"].fill_(3e38)


def test_auto_takes_onnx_runtime_where_an_exported_file_is_at_hand(tmp_path: Path, bundle: Bundle):
    exported = tmp_path / "model.onnx"
    exported.write_bytes(onnx_bytes(bundle))
    chosen = create_engine(bundle, engine="auto", device="cpu", onnx=exported)
    assert isinstance(chosen, OnnxEngine)
    assert chosen.predict(WINDOWS).probabilities == pytest.approx(
        create_engine(bundle, engine="torch", device="cpu").predict(WINDOWS).probabilities, abs=1e-5
    )
    assert isinstance(create_engine(bundle, engine="auto", device="cpu"), TorchEngine)


def test_torch_runs_on_one_thread_without_tf32(bundle: Bundle):
    torch.set_num_threads(2)
    create_engine(bundle, engine="torch", device="cpu")
    assert torch.get_num_threads() == 1
    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cudnn.allow_tf32


def test_an_engine_says_what_it_really_took(engine: Engine):
    assert (engine.name, engine.device) in {("torch", "cpu"), ("onnxruntime", "cpu")}


def test_an_unknown_engine_is_refused_in_words(bundle: Bundle):
    with pytest.raises(EngineError, match="engine: expected auto, torch or onnxruntime, got 'tensorrt'"):
        create_engine(bundle, engine="tensorrt", device="cpu")  # type: ignore[arg-type]


@no_gpu
def test_torch_on_a_gpu_that_is_not_there_says_what_to_do(bundle: Bundle):
    with pytest.raises(
        EngineError, match="cuda:0: torch sees no GPU here; install the gpu extra, or choose --device cpu"
    ):
        create_engine(bundle, engine="torch", device="cuda:0")


@no_gpu
@pytest.mark.filterwarnings("ignore:Specified provider")
def test_onnx_runtime_does_not_fall_back_to_the_cpu_in_silence(bundle: Bundle):
    with pytest.raises(EngineError, match="took CPUExecutionProvider instead of CUDAExecutionProvider"):
        create_engine(bundle, engine="onnxruntime", device="cuda:0")


def test_weights_of_another_architecture_are_refused_in_words(tmp_path: Path, bundle: Bundle):
    other = load_bundle(write_model(tmp_path, "v8", BTC, hidden=4))
    mixed = Bundle(bundle.path, bundle.manifest, other.weights, {}, "")
    with pytest.raises(BundleError, match=r"the weights do not fit the manifest's architecture: .*size mismatch"):
        create_engine(mixed, engine="torch", device="cpu")
