"""Both engines on a CUDA GPU, against the float64 reference. Run with `pytest -m gpu` where there is one."""

from pathlib import Path

import numpy as np
import pytest
import torch
from reference_model import ReferenceModel
from stores import write_model

from signalserve.bundle import load_bundle
from signalserve.engine import create_engine, onnx_bytes
from signalserve.golden import golden_window

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here"),
]


@pytest.mark.parametrize("engine", ["torch", "onnxruntime"])
@pytest.mark.parametrize("batch", [1, 7, 64])
def test_the_gpu_agrees_with_float64(tmp_path: Path, engine: str, batch: int) -> None:
    folder = write_model(tmp_path, hidden=128, attention=True)
    bundle = load_bundle(folder)
    windows = np.repeat(golden_window(bundle.manifest.scaler, 60)[None], batch, axis=0)
    windows *= np.random.default_rng(0).uniform(0.99, 1.01, size=(batch, 1, 1)).astype(np.float32)
    running = create_engine(bundle, engine=engine, device="cuda:0")
    assert running.device == "cuda:0"
    expected = ReferenceModel(folder).answer(windows)[1]
    assert np.abs(running.predict(windows).probabilities - expected).max() <= 1e-5


def test_auto_takes_the_gpu(tmp_path: Path) -> None:
    bundle = load_bundle(write_model(tmp_path))
    exported = tmp_path / "model.onnx"
    exported.write_bytes(onnx_bytes(bundle))
    assert create_engine(bundle, engine="auto", device="auto", onnx=exported).device == "cuda:0"
