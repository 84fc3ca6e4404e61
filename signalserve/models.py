"""The models that one process serves: verified, on their engines, and proved on their golden windows."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from signalserve.bundle import Bundle, Manifest, load_bundle, newest_bundles, sha256_of
from signalserve.engine import Engine, create_engine
from signalserve.errors import BundleError, ConfigError
from signalserve.features import COLUMNS
from signalserve.golden import golden_mismatch, golden_window
from signalserve.off_scale import ScaleCheck
from signalserve.request import SymbolSchema
from signalserve.settings import GENERATIONS, Generation, Settings
from signalserve.words import listed

ARCHIVE_INDEX = "archive.json"
"""In an archive: sha256 of what was packed, {"bundles": {"v8/BTC-USD/1": its manifest's}, "onnx": {…: its file's}}."""

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


Models = Mapping[str, Mapping[Generation, Model]]


def load_models(
    root: Path, generations: Sequence[Generation], settings: Settings, *, engine: str, device: str
) -> tuple[Models, dict[str, SymbolSchema]]:
    """Every symbol's models of these generations and what their windows must hold.

    root: an archive's folder (bundles/, onnx/, archive.json) or a model store (bundles/).
    Raises BundleError for a bundle that is missing, damaged or answers its golden window wrongly, and ConfigError where
    `settings` asks for a model that is not there.
    """
    index = _read_index(root)
    bundles: dict[str, dict[Generation, Bundle]] = {}
    pins = {
        symbol: {generation: version for generation, version in by_generation.items() if generation in generations}
        for symbol, by_generation in (
            {} if index.manifests else settings.bundles
        ).items()  # an archive was packed by them
    }
    for path in newest_bundles(root / "bundles", pins):
        if path.parts[-3] in generations:
            bundle = load_bundle(path)
            index.verify(bundle)
            bundles.setdefault(bundle.manifest.symbol, {})[path.parts[-3]] = bundle  # type: ignore[index]
    if not bundles:
        raise BundleError(f"{root}: expected bundles of {' or '.join(generations)}, found none")
    schemas = {symbol: schema_of(list(by.values())) for symbol, by in bundles.items()}
    models = {
        symbol: {
            generation: _ready(bundle, schemas[symbol], engine, device, index.exported.get(bundle.name))
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
    """Raises ConfigError for a symbol that is not served, or one whose mode or weights name a generation it lacks."""
    known = sorted(available_by_symbol)
    for symbol in (*settings.symbols, *settings.bundles):
        if symbol not in available_by_symbol:
            raise ConfigError(f"serving.yaml: expected symbols among {', '.join(known)}, got {symbol}")
    for symbol, available in available_by_symbol.items():
        own = settings.of(symbol)
        needed: set[str] = set()
        arms: list[str] = [own.mode]
        if own.mode == "ab" and settings.experiment is not None:
            arms = [arm for arm, share in settings.experiment.split.items() if share > 0]
        for arm in arms:
            needed |= set(_answering(own.weights)) if arm == "ensemble" else {arm}
        missing = sorted(needed - set(available))
        if missing:
            raise ConfigError(
                f"serving.yaml: {symbol}: mode or weights ask for {missing[0]}, of which there is no bundle; "
                f"import one, or choose among {', '.join(sorted(available))}"
            )


def check_pins(settings: Settings, models: Models) -> None:
    """Raises ConfigError for a pinned version that is not the one in force: that takes new archives and a restart."""
    for symbol, pinned in settings.bundles.items():
        for generation, version in pinned.items():
            model = models.get(symbol, {}).get(generation)
            if model is not None and model.bundle.manifest.version != version:
                raise ConfigError(
                    f"serving.yaml: bundles: {symbol} pins {generation} version {version}, and version "
                    f"{model.bundle.manifest.version} is packed; run signalserve pack and restart"
                )


def check_gates(bundles: Iterable[Bundle], settings: Settings) -> None:
    """Raises ConfigError where one did not pass its gates and the settings do not allow it all the same."""
    for bundle in bundles:
        if not bundle.passed_gates and not settings.allow_failed_gates:
            failed = ", ".join(bundle.failed_gates)
            why = f"failed its gates ({failed})" if failed else f"was never judged (signalserve judge {bundle.name})"
            raise ConfigError(
                f"{bundle.name} {why} and must not go live; pin a version that passed (bundles: in serving.yaml), or "
                "set allow_failed_gates: true there to serve it all the same, with a warning in every response"
            )


def gate_words(manifest: Manifest) -> str | None:
    """What whoever serves a model must know of its gates; None where it passed them."""
    name = f"{manifest.generation}/{manifest.symbol}/{manifest.version}"
    if manifest.gates is None:
        return f"{name} was never judged (signalserve judge {name} --bars DIR)"
    if manifest.gates.failed:
        return f"{name} failed {', '.join(manifest.gates.failed)}"
    return None


def symbol_words(manifests: Sequence[Manifest]) -> list[str]:
    """What whoever serves these models of one symbol must know of them together."""
    symbol, words = manifests[0].symbol, []
    columns = {column for manifest in manifests for column in manifest.columns}
    if len({tuple(manifest.columns) for manifest in manifests}) > 1:
        words.append(f"{symbol}: its models read different columns: the ensemble takes all {len(columns)} by name only")
    if not columns <= set(COLUMNS):
        foreign = sorted(columns - set(COLUMNS))
        words.append(f"{symbol}: candles are refused, since they do not give {listed(foreign)}")
    if len({manifest.labels for manifest in manifests}) > 1:
        words.append(f"{symbol}: its models were taught different labels, and a pool of them answers no question")
    return words


def _answering(weights: Mapping[Generation, float]) -> list[Generation]:
    return [generation for generation in GENERATIONS if weights.get(generation, 0.0) > 0]


@dataclass(frozen=True)
class _Index:
    """What was packed into an archive, by bundle name: each manifest's sha256, and each exported file, verified."""

    manifests: Mapping[str, str]
    exported: Mapping[str, Path]

    def verify(self, bundle: Bundle) -> None:
        """Raises BundleError for another manifest than the one that was packed.

        The golden window cannot tell: it is made from the manifest's own scaler and columns.
        """
        if self.manifests and self.manifests.get(bundle.name) != bundle.sha256:
            raise BundleError(f"{bundle.path}: its manifest is not the one that was packed; run signalserve pack")


def _read_index(root: Path) -> _Index:
    """The archive's index; an empty one for a model store, which is not packed."""
    path = root / ARCHIVE_INDEX
    if not path.exists():
        return _Index({}, {})
    content = json.loads(path.read_text())
    exported = {}
    for name, expected in content["onnx"].items():
        file = root / "onnx" / f"{name}.onnx"
        if not file.exists() or sha256_of(file) != expected:
            raise BundleError(f"{file}: missing, or not the file that was packed; run signalserve pack")
        exported[name] = file
    return _Index(content["bundles"], exported)


def prove(bundle: Bundle, engine: Engine) -> None:
    """Raises BundleError where the engine does not answer the bundle's golden window as its manifest says."""
    manifest = bundle.manifest
    output = engine.predict_rows(golden_window(manifest.scaler, manifest.window)[None])
    mismatch = golden_mismatch(manifest, output.raw_logits[0], output.probabilities[0])
    if mismatch:
        raise BundleError(
            f"{bundle.path} on {engine.name}, {engine.device}: {mismatch}; the manifest was changed by hand, or the "
            "weights do not belong to it: restore the folder or remove the version"
        )


def _ready(bundle: Bundle, schema: SymbolSchema, engine: str, device: str, onnx: Path | None) -> Model:
    manifest = bundle.manifest
    running = create_engine(bundle, engine=engine, device=device, onnx=onnx)
    prove(bundle, running)
    neutral = np.tile(np.asarray(manifest.scaler.mean, dtype=np.float32), (manifest.window, 1))
    same = tuple(manifest.columns) == schema.columns
    order = slice(None) if same else np.array([schema.columns.index(column) for column in manifest.columns])
    return Model(bundle, running, ScaleCheck(manifest.scaler), neutral, order)
