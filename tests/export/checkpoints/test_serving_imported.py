"""The service answers for imported networks of other inputs and outputs than the reference models'."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from stores import BTC, as_archive, by_name, candles_body, npy_bytes, write_settings

import signalserve.service
from export.checkpoints.importing import import_checkpoint, write_imported
from signalserve.metrics import Metrics
from signalserve.service import RawRequest, Service
from tests.export.checkpoints.originals import ORIGINALS, Original

JSON = {"content-type": "application/json"}
COLUMNS = [f"feature_{i}" for i in range(31)]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Original:
    """The V6 LSTM: 31 inputs without names, no scaler, one output."""
    return ORIGINALS["v6_lstm"](tmp_path_factory.mktemp("v6_lstm"))


@pytest.fixture(scope="module")
def store(original: Original, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("store")
    write_imported(import_checkpoint(original.file, generation="v6_fixed"), root / "bundles", command="")
    return as_archive(root)


@pytest.fixture(params=["torch", "onnxruntime"])
def service(request: Any, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Service:
    monkeypatch.setattr(signalserve.service, "Metrics", partial(Metrics, registry=CollectorRegistry()))
    settings = write_settings(tmp_path / "serving.yaml", {"allow_failed_gates": True})  # nobody has judged it
    return Service.load(store, "v6_fixed", settings_path=settings, engine=request.param, device="cpu")


def ask(service: Service, features: object) -> tuple[int, dict[str, Any]]:
    body = json.dumps({"symbol": BTC, "features": features}).encode()
    (reply,) = service.answer([RawRequest(body, JSON)])
    return reply.status, json.loads(reply.body)


def up_of(original: Original, window: np.ndarray) -> float:
    """The original's own probability of UP: the sigmoid at its end, in float64."""
    return float(1 / (1 + np.exp(-original.answer(window[None]).astype(np.float64)[0, 0])))


def forms(window: np.ndarray) -> Sequence[object]:
    return (by_name(window, COLUMNS), by_name(window[:, ::-1], COLUMNS[::-1]), window.tolist())


def test_named_and_positional_features_get_the_originals_probability(service: Service, original: Original) -> None:
    window = original.windows(1)[0]
    for features in forms(window):
        status, answer = ask(service, features)
        assert status == 200
        assert answer["probabilities"]["UP"] == pytest.approx(up_of(original, window), abs=1e-5)
        assert answer["direction"] == ("UP" if up_of(original, window) > 0.5 else "DOWN")


def test_what_it_does_not_know_is_null_and_never_predicted(service: Service, original: Original) -> None:
    _, answer = ask(service, original.windows(1)[0].tolist())
    (model,) = answer["models"]
    down, neutral, up = model["raw_logits"]
    assert (down, neutral) == (0, None)
    assert up == pytest.approx(float(original.answer(original.windows(1))[0, 0]), abs=1e-5)
    assert answer["probabilities"]["NEUTRAL"] == 0
    assert sum(answer["probabilities"].values()) == pytest.approx(1)


def test_npy_bytes_are_read_too(service: Service, original: Original) -> None:
    window = original.windows(1)[0]
    headers = {"content-type": "application/x-npy", "x-symbol": BTC}
    (reply,) = service.answer([RawRequest(npy_bytes(window), headers)])
    assert json.loads(reply.body)["probabilities"]["UP"] == pytest.approx(up_of(original, window), abs=1e-5)


def test_candles_and_72_columns_are_refused_by_what_the_model_reads(service: Service) -> None:
    status, answer = ask(service, np.zeros((60, 72)).tolist())
    assert status == 422
    assert "60 x 31" in answer["error"]["expected"]
    (reply,) = service.answer([RawRequest(json.dumps(candles_body()).encode(), JSON)])
    assert reply.status == 422
    assert "feature_0" in str(json.loads(reply.body)["error"])
