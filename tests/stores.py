"""Tiny model stores, requests that fit them, and settings, for every test that needs a whole bundle."""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from signalserve.bundle import CalibrationValues, ScalerValues, find_bundles, load_bundle, sha256_of, write_bundle
from signalserve.candles import Candles, to_rows
from signalserve.demo import demo_candles
from signalserve.drift.kept import KeptStream
from signalserve.drift.limits import simulate_limits
from signalserve.drift.reference import make_reference
from signalserve.engine import onnx_bytes
from signalserve.features import COLUMNS, MIN_CANDLES, WARM_UP, compute_features
from signalserve.golden import golden_answer
from signalserve.network import LstmConfig, architecture_of, build_network
from signalserve.off_scale import off_scale_shares
from signalserve.pipeline import CalibratedModel, Calibration, Scaler

torch.set_num_threads(1)  # as in the service: networks this small only wait for one another on several

BTC, ETH, SOL = "BTC-USD", "ETH-USD", "SOL-USD"
LAST_BAR_MS = 1_764_000_000_000  # 2025-11-24T16:00:00Z, the opening of the last generated bar
AS_OF = "2025-11-24T16:01:00Z"  # when it closed


def write_store(
    root: Path,
    symbols: Sequence[str] = (BTC,),
    generations: Sequence[str] = ("v6_fixed", "v8"),
    **options: Any,
) -> Path:
    """A model store with one version of each generation and symbol under root/bundles; options as in write_model."""
    for symbol in symbols:
        for generation in generations:
            write_model(root, generation, symbol, **options)
    return root


def write_model(
    root: Path,
    generation: str = "v8",
    symbol: str = BTC,
    *,
    version: str = "1",
    hidden: int = 8,
    layers: int = 2,
    attention: bool | None = None,  # by default as in the reference models: v8 has it
    columns: Sequence[str] = COLUMNS,
    mean: Sequence[float] | None = None,  # by default of the generated candles' features
    scale: Sequence[float] | None = None,
    temperature: float = 2.0,
    clamp: float = 15.0,
    interval_ms: int = 60_000,
    gain: float = 10.0,  # of the head: fresh weights alone give logits near 0
    seed: int | None = None,
    edit: Callable[[dict[str, torch.Tensor]], object] = lambda weights: None,
    referenced: bool = False,
    **fields: Any,  # further fields of the manifest, such as report or gates
) -> Path:
    """One bundle under root/bundles; returns its folder.

    edit: may change the weights in place before they are kept.  referenced: with a reference stream, of generated
    candles, and drift limits of few simulated days; columns as they come.
    """
    config = LstmConfig(len(columns), hidden, layers, generation == "v8" if attention is None else attention)
    torch.manual_seed(sum(map(ord, generation + symbol + version)) if seed is None else seed)
    network = build_network(architecture_of(config))
    with torch.no_grad():
        network.head.weight.mul_(gain)
        edit(network.state_dict())
    default_mean, default_scale = scaler_of(symbol, tuple(columns))
    scaler = ScalerValues(
        mean=list(default_mean if mean is None else mean), scale=list(default_scale if scale is None else scale)
    )
    weights = {name: tensor.numpy().copy() for name, tensor in network.state_dict().items()}
    model = CalibratedModel(
        network, Scaler(np.array(scaler.mean), np.array(scaler.scale)), Calibration(clamp, temperature)
    ).double()
    span = {"start": "2025-05-04T15:33:00Z", "end": "2025-05-05T15:33:00Z", "bars": 1441}
    manifest = {
        "generation": generation,
        "symbol": symbol,
        "version": version,
        "architecture": architecture_of(config),
        "columns": list(columns),
        "window": 60,
        "interval_ms": interval_ms,
        "labels": {"horizon_bars": 15, "neutral_band": 1e-3},
        "scaler": scaler,
        "calibration": {"clamp": clamp, "temperature": temperature, "method": "by hand"},
        "spans": {"train": span, "calibration": span, "test": span},
        "provenance": {},
        "report": {},
        "golden": golden_answer(model, scaler, 60),
        "gates": {"passed": ["accuracy"], "failed": [], "report": {}},
        **fields,
    }
    if not referenced:
        return write_bundle(root / "bundles", manifest, weights, {})
    kept = kept_stream(model, symbol, scaler)
    values = CalibrationValues(**manifest["calibration"])
    return write_bundle(root / "bundles", manifest, weights, {"drift": drift_of(kept, values)}, kept.tensors())


REFERENCE_BARS = 3000
SIMULATED_DAYS = 40
"""Enough for limits that are numbers; for limits that hold it takes thousands."""


def kept_stream(model: CalibratedModel, symbol: str, scaler: ScalerValues) -> KeptStream:
    """What a model says of generated candles, a window a bar."""
    bars = candles(symbol, REFERENCE_BARS)
    rows, ends = compute_features(bars), np.arange(MIN_CANDLES - 1, REFERENCE_BARS)
    windows = np.lib.stride_tricks.sliding_window_view(rows, 60, axis=0).swapaxes(1, 2)[ends - 59]
    with torch.inference_mode():
        raw_logits = model(torch.from_numpy(windows.copy()))[0].numpy()
    return KeptStream(
        bars.timestamp_ms[ends] + 60_000, raw_logits.astype(np.float64), off_scale_shares(rows, ends, 60, scaler)
    )


_drifts: dict[tuple[bytes, str], dict[str, Any]] = {}


def drift_of(kept: KeptStream, calibration: CalibrationValues) -> dict[str, Any]:
    """Simulated once for the same predictions: it takes two seconds."""
    key = (kept.raw_logits.tobytes(), calibration.model_dump_json())
    if key not in _drifts:
        stream = kept.stream(calibration)
        limits = simulate_limits(stream, simulated_days=SIMULATED_DAYS)
        _drifts[key] = make_reference(stream, limits, clamp=calibration.clamp, columns=len(COLUMNS)).to_json()
    return _drifts[key]


def as_archive(root: Path) -> Path:
    """Adds to a store what packing adds: each bundle's ONNX file and the index of both."""
    index: dict[str, dict[str, str]] = {"bundles": {}, "onnx": {}}
    for folder in find_bundles(root / "bundles"):
        bundle = load_bundle(folder)
        path = root / "onnx" / f"{bundle.name}.onnx"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(onnx_bytes(bundle))
        index["bundles"][bundle.name], index["onnx"][bundle.name] = bundle.sha256, sha256_of(path)
    (root / "archive.json").write_text(json.dumps(index))
    return root


@functools.cache
def scaler_of(symbol: str, columns: tuple[str, ...] = COLUMNS) -> tuple[list[float], list[float]]:
    """Means and scales of the features of generated candles; of columns that candles do not give, 0 and 1."""
    features = compute_features(candles(symbol, 3000))[WARM_UP:]
    means, scales = dict(zip(COLUMNS, features.mean(0), strict=True)), dict(zip(COLUMNS, features.std(0), strict=True))
    return [float(means.get(name, 0.0)) for name in columns], [float(scales.get(name, 1.0)) for name in columns]


def candles(symbol: str = BTC, n: int = MIN_CANDLES) -> Candles:
    """Generated bars that always end at LAST_BAR_MS."""
    return demo_candles(symbol, n, end_ms=LAST_BAR_MS)


def raw_window(symbol: str = BTC, seed: int = 0, columns: tuple[str, ...] = COLUMNS) -> np.ndarray:
    """(60, features) float32 on the models' scale: one standard deviation of noise around the means."""
    mean, scale = scaler_of(symbol, columns)
    noise = np.random.default_rng(seed).normal(size=(60, len(columns)))
    return (np.array(mean) + noise * np.array(scale)).astype(np.float32)


def by_name(window: np.ndarray, columns: Sequence[str] = COLUMNS) -> dict[str, list[float]]:
    return {column: window[:, i].tolist() for i, column in enumerate(columns)}


def request_body(symbol: str = BTC, seed: int = 0, **fields: Any) -> dict[str, Any]:
    """A right request, features by name; fields are added, or take the place of what is there."""
    return {"symbol": symbol, "features": by_name(raw_window(symbol, seed)), **fields}


def candles_body(symbol: str = BTC, n: int = MIN_CANDLES, **fields: Any) -> dict[str, Any]:
    return {"symbol": symbol, "candles": to_rows(candles(symbol, n)), **fields}


def npy_bytes(array: np.ndarray, **options: Any) -> bytes:
    import io

    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


DEFAULTS = {
    "mode": "ensemble",
    "weights": {"v6_fixed": 0.5, "v8": 0.5},
    "pool": {"method": "linear", "temperature": 1.0},
}


def whole(content: Mapping[str, Any] | str | None = None) -> str:
    """A serving.yaml (JSON is YAML) with what it leaves out of `defaults` filled in; a text that is no YAML stays."""
    if isinstance(content, str):
        try:
            content = yaml.safe_load(content)
        except (yaml.YAMLError, ValueError):
            return str(content)
    content = dict(content or {})
    return json.dumps({**content, "defaults": {**DEFAULTS, **content.get("defaults", {})}}, default=str)


def write_settings(path: Path, content: Mapping[str, Any] | str | None = None) -> Path:
    path.write_text(whole(content))
    return path
