"""The models that one process serves: verified, on their engines, and proved on their golden windows."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from signalserve.bundle import Bundle, load_bundle, newest_bundles, sha256_of
from signalserve.engine import Engine, create_engine
from signalserve.errors import BundleError, ConfigError
from signalserve.golden import golden_mismatch, golden_window
from signalserve.invariants import InvariantWatch
from signalserve.off_scale import ScaleCheck
from signalserve.request import SymbolSchema
from signalserve.settings import GENERATIONS, Generation, Settings

ARCHIVE_INDEX = "archive.json"
"""In an archive: {"onnx": {"v8/BTC-USD/1": sha256, …}}, the exported files that lie beside its bundles."""

Values = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Model:
    """One bundle, ready to answer. neutral: (window, features), the scaler's means: what stands in for a wrong request.

    order: the positions of this model's columns in its symbol's schema.
    """

    bundle: Bundle
    engine: Engine
    scale_check: ScaleCheck
    neutral: Values
    order: npt.NDArray[np.intp] | slice
    watch: InvariantWatch = field(default_factory=InvariantWatch)


Models = Mapping[str, Mapping[Generation, Model]]


def load_models(
    root: Path, generations: Sequence[Generation], settings: Settings, *, engine: str, device: str
) -> tuple[Models, dict[str, SymbolSchema]]:
    """Every symbol's models of these generations and what their windows must hold.

    root: an archive's folder (bundles/, onnx/, archive.json) or a model store (bundles/).
    Raises BundleError for a bundle that is missing, damaged or answers its golden window wrongly, and ConfigError where
    `settings` asks for a model that is not there.
    """
    bundles: dict[str, dict[Generation, Bundle]] = {}
    for path in newest_bundles(root / "bundles", settings.bundles):
        if path.parts[-3] in generations:
            bundle = load_bundle(path)
            check_gates(bundle, settings)
            bundles.setdefault(bundle.manifest.symbol, {})[path.parts[-3]] = bundle  # type: ignore[index]
    if not bundles:
        raise BundleError(f"{root}: expected bundles of {' or '.join(generations)}, found none")
    exported = _exported(root)
    schemas = {symbol: schema_of(list(by.values())) for symbol, by in bundles.items()}
    models = {
        symbol: {
            generation: _ready(bundle, schemas[symbol], engine, device, exported.get(bundle.name))
            for generation, bundle in by_generation.items()
        }
        for symbol, by_generation in bundles.items()
    }
    return models, schemas


def schema_of(bundles: Sequence[Bundle]) -> SymbolSchema:
    """What a window must hold so that all these models of one symbol can read it. Raises BundleError if none can."""
    first = bundles[0].manifest
    for bundle in bundles[1:]:
        other = bundle.manifest
        if (other.window, other.interval_ms) != (first.window, first.interval_ms):
            raise BundleError(
                f"{bundles[0].name} reads {first.window} bars of {first.interval_ms} ms and {bundle.name} "
                f"{other.window} of {other.interval_ms} ms: models of one symbol must read the same bars"
            )
    columns = tuple(dict.fromkeys(column for bundle in bundles for column in bundle.manifest.columns))
    positional = all(tuple(bundle.manifest.columns) == columns for bundle in bundles)
    return SymbolSchema(columns, positional, first.window, first.interval_ms)


def check_settings(settings: Settings, available_by_symbol: Mapping[str, Iterable[str]]) -> None:
    """Raises ConfigError where a symbol's mode or weights name a generation it has no bundle of."""
    for symbol, available in available_by_symbol.items():
        own = settings.of(symbol)
        needed: set[str] = set()
        arms = [own.mode] if own.mode != "ab" or settings.experiment is None else list(settings.experiment.split)
        for arm in arms:
            needed |= set(_answering(own.weights)) if arm == "ensemble" else {arm}
        missing = sorted(needed - set(available))
        if missing:
            raise ConfigError(
                f"serving.yaml: {symbol} asks for {missing[0]}, and there is no bundle of it for {symbol}"
            )


def check_gates(bundle: Bundle, settings: Settings) -> None:
    """Raises BundleError for a bundle that did not pass its gates and is not allowed all the same."""
    if bundle.failed_gates and not settings.allow_failed_gates:
        raise BundleError(
            f"{bundle.name} failed its gates ({', '.join(bundle.failed_gates)}); "
            "set allow_failed_gates: true in serving.yaml to serve it all the same"
        )


def _answering(weights: Mapping[Generation, float]) -> list[Generation]:
    return [generation for generation in GENERATIONS if weights.get(generation, 0.0) > 0]


def _exported(root: Path) -> dict[str, Path]:
    """The archive's ONNX files by bundle name, each compared with the index's sha256."""
    index = root / ARCHIVE_INDEX
    if not index.exists():
        return {}
    files = {}
    for name, expected in json.loads(index.read_text())["onnx"].items():
        path = root / "onnx" / f"{name}.onnx"
        if not path.exists() or sha256_of(path) != expected:
            raise BundleError(f"{path}: missing, or not the file that was packed; run make archives")
        files[name] = path
    return files


def _ready(bundle: Bundle, schema: SymbolSchema, engine: str, device: str, onnx: Path | None) -> Model:
    manifest = bundle.manifest
    running = create_engine(bundle, engine=engine, device=device, onnx=onnx)
    output = running.predict(golden_window(manifest.scaler, manifest.window)[None])
    mismatch = golden_mismatch(manifest, output.raw_logits[0], output.probabilities[0])
    if mismatch:
        raise BundleError(f"{bundle.name} on {running.name}, {running.device}: {mismatch}")
    neutral = np.tile(np.asarray(manifest.scaler.mean, dtype=np.float32), (manifest.window, 1))
    same = tuple(manifest.columns) == schema.columns
    order = slice(None) if same else np.array([schema.columns.index(column) for column in manifest.columns])
    return Model(bundle, running, ScaleCheck(manifest.scaler), neutral, order)
