"""Guardrails are silent on every window of a real market: an alarm that cries wolf is switched off."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from stores import npy_bytes

from signalserve.candles import Candles
from signalserve.demo import demo_candles
from signalserve.features import WARM_UP, compute_features
from signalserve.request import MAX_INSTANCES_NPY
from signalserve.service import RawRequest, Service

ROOT = Path(__file__).resolve().parents[2]
SYMBOLS = ("BTC-USD", "ETH-USD", "SOL-USD")


@pytest.fixture(scope="module")
def service() -> Service:
    """The committed models, both of each symbol in every answer."""
    store, settings = ROOT / "model_store", ROOT / "serving.yaml"
    return Service.load(store, "ensemble", settings_path=settings, engine="onnxruntime", device="cpu")


def all_windows(candles: Candles) -> Iterator[np.ndarray]:
    """Every window in the order of time, as many at once as a request may hold."""
    features = compute_features(candles)[WARM_UP:].astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(features, 60, axis=0).transpose(0, 2, 1)
    for start in range(0, len(windows), MAX_INSTANCES_NPY):
        yield np.ascontiguousarray(windows[start : start + MAX_INSTANCES_NPY])


def warnings_over(service: Service, symbol: str, candles: Candles) -> tuple[int, Counter[str]]:
    """How many windows were answered, and how often each warning came; a refused request fails the test."""
    windows, found = 0, Counter[str]()
    headers = {"content-type": "application/x-npy", "x-symbol": symbol}
    for batch in all_windows(candles):
        [reply] = service.answer([RawRequest(npy_bytes(batch), headers)])
        assert reply.status == 200, reply.body
        for prediction in json.loads(reply.body)["predictions"]:
            windows += 1
            found.update(prediction["warnings"])
    return windows, found


def windows_of(candles: Candles) -> int:
    return len(candles) - WARM_UP - 59


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_no_generated_window_says_anything_against_a_model(service: Service, symbol: str):
    candles = demo_candles(symbol, 2500, seed=1)
    windows, found = warnings_over(service, symbol, candles)
    assert windows == windows_of(candles)
    assert set(found) <= {"failed_gates"}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("symbol", SYMBOLS)
def test_no_real_window_says_anything_against_a_model(service: Service, real_bars: dict[str, Candles], symbol: str):
    windows, found = warnings_over(service, symbol, real_bars[symbol])
    assert windows == windows_of(real_bars[symbol]) > 40_000
    assert set(found) <= {"failed_gates"}
