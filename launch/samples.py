"""Sample requests on disk, one for each way to ask, and the curl that sends each."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from signalserve.bundle import Manifest
from signalserve.demo import demo_candles
from signalserve.features import COLUMNS, MIN_CANDLES, compute_features
from signalserve.golden import golden_window


@dataclass(frozen=True)
class Sample:
    """One way to ask. path: the body as a file.  headers: what curl must send with it."""

    title: str
    path: Path
    endpoint: str
    headers: Mapping[str, str]

    def curl(self, url: str) -> str:
        headers = " ".join(f"-H '{name}: {value}'" for name, value in self.headers.items())
        return f"curl -s {headers} --data-binary @{self.path} {url}/predictions/{self.endpoint}"


def write_samples(folder: Path, manifest: Manifest) -> list[Sample]:
    """Requests for the manifest's symbol: generated candles that end now, and the features they give.

    A model that reads other columns than candles give gets its golden window instead, and no candles.
    """
    folder.mkdir(parents=True, exist_ok=True)
    symbol, window = manifest.symbol, manifest.window
    samples = []
    if set(manifest.columns) <= set(COLUMNS):
        candles = demo_candles(symbol, MIN_CANDLES)
        series = (candles.open, candles.high, candles.low, candles.close, candles.volume)
        rows = [[int(t), *map(float, bar)] for t, *bar in zip(candles.timestamp_ms, *series, strict=True)]
        samples.append(
            _json(folder, "candles", {"symbol": symbol, "candles": rows}, "candles: the service computes the features")
        )
        order = [COLUMNS.index(column) for column in manifest.columns]
        values = np.ascontiguousarray(compute_features(candles)[-window:, order], dtype=np.float32)
    else:
        values = golden_window(manifest.scaler, window)
    named = {column: values[:, i].tolist() for i, column in enumerate(manifest.columns)}
    samples.append(
        _json(folder, "features", {"symbol": symbol, "features": named}, "features by name: the safest form")
    )
    samples.append(
        _json(
            folder,
            "rows",
            {"symbol": symbol, "features": values.tolist()},
            "features by position: in the model's own order",
        )
    )
    np.save(folder / "window.npy", values)
    headers = {"Content-Type": "application/x-npy", "X-Symbol": symbol}
    samples.append(Sample("npy: the fast path", folder / "window.npy", "ensemble", headers))
    return samples


def _json(folder: Path, name: str, request: object, title: str) -> Sample:
    path = folder / f"{name}.json"
    path.write_text(json.dumps(request))
    return Sample(title, path, "ensemble", {"Content-Type": "application/json"})
