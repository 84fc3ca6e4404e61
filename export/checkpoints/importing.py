"""A checkpoint as its owners saved it -> a bundle, with what was found in it and what had to be assumed.

    file -> tree of plain values -> tensors recognised, scaler chosen, calibration read -> Imported -> Bundle

Nothing in the file is executed (`torch_files.py`), and nothing in it is believed beyond its tensors: an accuracy that
it claims stays its owners' claim.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from pydantic import ValidationError

import signalserve
from export.checkpoints.formats import Recognised, recognise
from export.checkpoints.scalers import (
    UNSCALED,
    FoundScaler,
    columns_of,
    is_scaler,
    read_scaler,
    scaler_in,
    scalers_beside,
)
from export.checkpoints.torch_files import read_file
from export.feature_files import unnamed
from export.versions import next_version
from signalserve.bundle import (
    Bundle,
    CalibrationValues,
    Golden,
    Labels,
    Manifest,
    ScalerValues,
    Span,
    Spans,
    sha256_of,
    write_bundle,
)
from signalserve.candle_files import symbol_of_name
from signalserve.candles import INTERVAL_MS
from signalserve.engine import TorchEngine, calibrated_model
from signalserve.errors import CheckpointError
from signalserve.features import COLUMNS, WINDOW
from signalserve.golden import golden_answer, golden_mismatch, golden_window
from signalserve.network import architecture_of
from signalserve.settings import GENERATIONS

Array = npt.NDArray[Any]

SUFFIXES: Final = (".pt", ".pth", ".ckpt", ".pkl", ".pickle")
"""What a folder is searched for; what the files are is told by their content."""

STATE_DICTS: Final = ("model_state_dict", "state_dict", "base_model_state_dict")
"""Keys that hold a network's tensors, the one that was served first."""

USUAL_CLAMP: Final = 15.0
"""The owners' own limit."""

READ: Final = frozenset(
    {
        *(*STATE_DICTS, "optimizer_state_dict", "scheduler_state_dict"),
        *("scaler_params", "normalization_params", "processor", "scaler", "feature_columns"),
        *("temperature", "logit_clip", "symbol"),
    }
)
"""Keys whose values are read for what they are, or serve training alone; the others are their owners' claims."""


@dataclass(frozen=True)
class Imported:
    """A checkpoint, understood.

    kind: in words.  architecture, weights, columns, scaler, calibration, window, interval_ms: as a manifest keeps
    them.  found: what the file says, name -> words.  assumed: what it does not say or says twice, each a sentence.
    claims: other figures in the file, as their owners wrote them.  labels: what the network was taught; trained: the
    bars it learned from; None where nobody said.
    """

    path: Path
    sha256: str
    kind: str
    generation: str
    symbol: str
    architecture: Mapping[str, Any]
    weights: Mapping[str, Array]
    columns: tuple[str, ...]
    scaler: ScalerValues
    calibration: CalibrationValues
    found: Mapping[str, str]
    assumed: tuple[str, ...]
    claims: Mapping[str, Any]
    labels: Labels | None = None
    trained: Span | None = None
    window: int = WINDOW
    interval_ms: int = INTERVAL_MS

    @property
    def has_scaler(self) -> bool:
        return UNSCALED not in self.assumed

    def as_bundle(self, version: str = "1", command: str | None = None) -> Bundle:
        """The bundle that this becomes, in memory; nothing is written.

        Its path and sha256 are the checkpoint's.  Raises CheckpointError where the network answers its golden window
        with NaN or infinity.
        """
        draft = Manifest(
            generation=self.generation,
            symbol=self.symbol,
            version=version,
            architecture=dict(self.architecture),
            columns=list(self.columns),
            window=self.window,
            interval_ms=self.interval_ms,
            labels=self.labels,
            scaler=self.scaler,
            calibration=self.calibration,
            spans=Spans(train=self.trained, calibration=None, test=None),
            provenance=self.provenance(command),
            report={},
            golden=Golden(raw_logits=[], probabilities=[]),  # until the model stands that answers
            files={},
        )
        bundle = Bundle(self.path, draft, self.weights, {}, self.sha256)
        try:
            golden = golden_answer(calibrated_model(bundle).double(), self.scaler, self.window)
        except ValidationError:
            raise CheckpointError(
                f"{self.path}: expected finite logits for a window within 1.5 standard deviations, got NaN or "
                "infinity: its weights overflow; take an earlier checkpoint"
            ) from None
        return replace(bundle, manifest=draft.model_copy(update={"golden": golden}))

    def provenance(self, command: str | None = None) -> dict[str, Any]:
        """Where it comes from, what it said and what was assumed; strict JSON."""
        return {
            "checkpoint": {"file": self.path.name, "sha256": self.sha256, "kind": self.kind},
            "found": dict(self.found),
            "assumed": list(self.assumed),
            "owners_claims": dict(self.claims),
            "command": command,
            "versions": {"signalserve": signalserve.__version__, "torch": str(torch.__version__)},
        }


def import_checkpoint(
    path: Path,
    *,
    scaler: Path | None = None,
    symbol: str | None = None,
    generation: str | None = None,
    labels: Labels | None = None,
    trained: Span | None = None,
) -> Imported:
    """Read one checkpoint of any known form.

    scaler: a file with the scaler it was trained with, instead of its own or the one that lies beside it.  symbol,
    generation: instead of what the file says or is.  labels, trained: kept as they are given.
    Raises CheckpointError, with what to do, for a file that is none, or lacks something that nobody can assume.
    """
    tree = read_file(path)
    with _about(path):
        tensors = _tensors_of(tree)
        network = recognise(tensors, _dict(tree.get("config")))
        notes = _contradictions(tree, tensors, network)
        chosen_symbol = _symbol(path, tree, symbol, notes)
        chosen_generation = _generation(network, tree, generation)
        found_scaler = _scaler(path, tree, network, scaler, chosen_symbol, chosen_generation, notes)
        columns, columns_in_words = _columns(tree, network, found_scaler, notes)
        temperature, temperature_in_words = _temperature(tree, network, notes)
        clamp, clamp_in_words = _clamp(tree, notes)
    inputs = network.config.inputs
    return Imported(
        path=path,
        sha256=sha256_of(path),
        kind=network.kind,
        generation=chosen_generation,
        symbol=chosen_symbol,
        architecture=architecture_of(network.config),
        weights=network.weights,
        columns=columns,
        scaler=found_scaler.values if found_scaler else ScalerValues(mean=[0.0] * inputs, scale=[1.0] * inputs),
        calibration=CalibrationValues(
            clamp=clamp,
            temperature=temperature,
            method="assumed" if temperature_in_words == "none" else "as the checkpoint says",
        ),
        found={
            "network": network.kind,
            "sizes": _sizes(network),
            "weights": f"{sum(weight.size for weight in network.weights.values()):,} numbers",
            "symbol": chosen_symbol,
            "generation": f"{chosen_generation}, {_where_served(chosen_generation)}",
            "columns": columns_in_words,
            "scaler": found_scaler.source if found_scaler else "none",
            "temperature": temperature_in_words,
            "clamp": clamp_in_words,
        },
        assumed=(*notes, *network.assumed, f"it reads windows of {WINDOW} bars of {INTERVAL_MS // 1000} s"),
        claims=_claims(tree),
        labels=labels,
        trained=trained,
    )


def find_checkpoints(folder: Path) -> list[Path]:
    """The files of a folder that may hold a checkpoint, by name, without those that hold a scaler or a processor.

    A file that cannot be read is among them: importing it says why.  Raises CheckpointError where there is none.
    """
    candidates = [file for file in sorted(folder.iterdir()) if file.is_file() and file.suffix.lower() in SUFFIXES]
    found = [file for file in candidates if not _holds_scaler(file)]
    if not found:
        names = ", ".join(file.name for file in sorted(folder.iterdir())[:10]) or "nothing"
        raise CheckpointError(f"{folder}: expected checkpoints ending in {', '.join(SUFFIXES)}, got {names}")
    return found


def import_all(
    paths: Sequence[Path], import_one: Callable[[Path], Imported], progress: Callable[[int], object] = lambda _: None
) -> tuple[list[Imported], list[CheckpointError]]:
    """Each file that can be imported, in their order, and why the others cannot. progress: told of each file."""
    imported, faults = [], []
    for path in paths:
        try:
            imported.append(import_one(path))
        except CheckpointError as error:
            faults.append(error)
        progress(1)
    return imported, faults


def write_imported(imported: Imported, root: Path, *, command: str) -> Path:
    """Write it under root as a new version of its generation and symbol; returns the folder.

    Raises CheckpointError for a network that float32 cannot answer for, which the service would refuse at load.
    """
    version = next_version(root, imported.generation, imported.symbol)
    bundle = imported.as_bundle(version, command)
    window = golden_window(imported.scaler, imported.window)[None]
    output = TorchEngine(bundle, "cpu").predict_rows(window)
    mismatch = golden_mismatch(bundle.manifest, output.raw_logits[0], output.probabilities[0])
    if mismatch:
        raise CheckpointError(
            f"{imported.path}: float32 answers otherwise than float64 ({mismatch}): its logits are too large; "
            "signalserve fix gives it a scaler"
        )
    fields = {name: getattr(bundle.manifest, name) for name in Manifest.model_fields if name != "files"}
    return write_bundle(root, fields, bundle.weights, {})


def _holds_scaler(path: Path) -> bool:
    try:
        return is_scaler(read_file(path))
    except CheckpointError:
        return False


@contextmanager
def _about(path: Path) -> Iterator[None]:
    """Begins the words of a CheckpointError with the file that it is about."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None


# ---- what a tree holds


def _tensors_of(tree: Any) -> dict[str, Array]:
    """The state dict: under one of its usual keys, else the tree itself. Raises CheckpointError where there is none."""
    if is_scaler(tree):
        raise CheckpointError("expected a network, got a scaler; pass it as --scaler beside its checkpoint")
    if not isinstance(tree, dict):
        raise CheckpointError(
            f"expected a dict with model_state_dict, or a state dict, got {type(tree).__name__}; save the network "
            "again with torch.save(model.state_dict(), path)"
        )
    for key in STATE_DICTS:
        if tensors := _arrays(tree.get(key)):
            return tensors
    if tensors := _arrays(tree):
        return tensors
    held = ", ".join(str(key) for key in list(tree)[:8]) or "nothing"
    raise CheckpointError(
        f"expected weights, got a file without any: it holds {held}; its figures cannot be checked and nothing can be "
        "served: save the network again with its model_state_dict"
    )


def _arrays(value: Any) -> dict[str, Array]:
    """The value where it is a dict of tensors and nothing else; empty otherwise."""
    if not isinstance(value, dict) or not all(isinstance(array, np.ndarray) for array in value.values()):
        return {}
    return {str(name): array for name, array in value.items()}


def _dict(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _contradictions(tree: Mapping[str, Any], tensors: Mapping[str, Array], network: Recognised) -> list[str]:
    """Where the file speaks against its own tensors, each a sentence."""
    notes = []
    claimed = tree.get("input_size")
    if isinstance(claimed, int) and claimed != network.config.inputs:
        notes.append(f"input_size says {claimed} and the tensors read {network.config.inputs}: the tensors are right")
    plain = _arrays(tree.get("base_model_state_dict"))
    if any(not np.array_equal(array, tensors.get(f"base_model.{name}", array)) for name, array in plain.items()):
        notes.append("base_model_state_dict holds other weights than model_state_dict, which is taken")
    return notes


def _symbol(path: Path, tree: Mapping[str, Any], given: str | None, notes: list[str]) -> str:
    if given is not None:
        if normal := _normal_symbol(given):
            return normal
        raise CheckpointError(f"--symbol: expected a symbol such as BTC-USD, got {given!r}")
    in_file, in_name = _normal_symbol(tree.get("symbol")), symbol_of_name(path.stem)
    if in_file and in_name and in_file != in_name:
        notes.append(f"the file says {in_file} and its name {in_name}: {in_file} is taken")
    symbol = in_file or in_name
    if symbol is None:
        raise CheckpointError(
            "expected a symbol in the file or its name, such as lstm_BTC-USD.pt, got none; pass --symbol"
        )
    return symbol


def _normal_symbol(value: Any) -> str | None:
    if not isinstance(value, str):
        return None
    upper = value.strip().upper()
    return symbol_of_name(upper) or (upper if re.fullmatch(r"[A-Z0-9]+-[A-Z0-9]+", upper) else None)


def _generation(network: Recognised, tree: Mapping[str, Any], given: str | None) -> str:
    if given is not None:
        if not re.fullmatch(r"[a-z0-9_]+", given):
            raise CheckpointError(f"--generation: expected small letters, digits and _, got {given!r}")
        return given
    # the same tensors as V6, with what the fix added to them
    is_mended = network.temperature is not None or "temperature" in tree or "logit_clip" in tree
    return "v6_fixed" if network.generation == "v6" and is_mended else network.generation


def _where_served(generation: str) -> str:
    if generation in GENERATIONS:
        return f"served at /predictions/{generation}"
    return f"not served: endpoints exist for {' and '.join(GENERATIONS)}; import it with --generation to serve it"


def _scaler(
    path: Path,
    tree: Mapping[str, Any],
    network: Recognised,
    given: Path | None,
    symbol: str,
    generation: str,
    notes: list[str],
) -> FoundScaler | None:
    """The one named, else the file's own, else the first beside it; what differs from it is noted."""
    candidates = [read_scaler(given)] if given is not None else []
    try:
        own = scaler_in(tree, path.name)
    except CheckpointError as error:
        if given is None:
            raise
        notes.append(f"the file's own scaler cannot be used: {error}")
        own = None
    candidates += [own] if own is not None else []
    if given is None:
        candidates += [read_scaler(file) for file in scalers_beside(path, symbol, generation)]
    if not candidates:
        notes.append(UNSCALED)
        return None
    chosen = candidates[0]
    if len(chosen.mean) != network.config.inputs:
        raise CheckpointError(
            f"{chosen.source}: expected a scaler of the network's {network.config.inputs} columns, got one of "
            f"{len(chosen.mean)}; pass the one it was trained with by --scaler"
        )
    notes.extend(
        f"{other.source} holds another scaler than {chosen.source}, which is taken"
        for other in candidates[1:]
        if not other.same_as(chosen)
    )
    return chosen


def _columns(
    tree: Mapping[str, Any], network: Recognised, scaler: FoundScaler | None, notes: list[str]
) -> tuple[tuple[str, ...], str]:
    """Column names in the network's order, and where they come from."""
    inputs = network.config.inputs
    listed = tree.get("feature_columns")
    own = None if listed is None else columns_of(listed, "feature_columns")
    of_scaler = scaler.columns if scaler else None
    if own and of_scaler and own != of_scaler:
        place = next((i for i, pair in enumerate(zip(own, of_scaler, strict=False)) if pair[0] != pair[1]), len(own))
        raise CheckpointError(
            f"feature_columns and those of {scaler.source if scaler else ''} differ from column {place} on: the scaler "
            "belongs to another order or other columns; pass the right one by --scaler"
        )
    columns = own or of_scaler
    if columns is not None:
        if len(columns) != inputs:
            raise CheckpointError(f"feature_columns: expected the network's {inputs} names, got {len(columns)}")
        return columns, f"{inputs}, as the file names them" + (" (the usual 72)" if columns == COLUMNS else "")
    if inputs == len(COLUMNS):
        notes.append(f"the {inputs} columns are V6's, in the model's order")
        return COLUMNS, f"{inputs}, without names"
    notes.append(f"the columns have no names: they are called {unnamed(0)} … {unnamed(inputs - 1)}, by position")
    return tuple(unnamed(i) for i in range(inputs)), f"{inputs}, without names"


def _temperature(tree: Mapping[str, Any], network: Recognised, notes: list[str]) -> tuple[float, str]:
    """What the network itself divides by, else what the file says beside it, else 1."""
    key, tensor = _number(tree, "temperature"), network.temperature
    if tensor is not None and key is not None and not np.isclose(tensor, key, rtol=1e-6):
        notes.append(f"the network's own temperature is {tensor:g} and the file says {key:g}: {tensor:g} is taken")
    temperature = key if tensor is None else tensor
    if temperature is None:
        notes.append("no temperature was found: 1 is taken, which changes nothing")
        return 1.0, "none"
    return _positive(temperature, "temperature"), f"{temperature:g}" + (" (a tensor)" if tensor is not None else "")


def _clamp(tree: Mapping[str, Any], notes: list[str]) -> tuple[float, str]:
    clip = _number(tree, "logit_clip")
    if clip is None:
        notes.append(f"no clamp was found: ±{USUAL_CLAMP:g} is taken, the owners' own; it binds beyond that alone")
        return USUAL_CLAMP, "none"
    return _positive(clip, "logit_clip"), f"±{clip:g}"


def _number(tree: Mapping[str, Any], key: str) -> float | None:
    value = tree.get(key)
    if value is None:
        return None
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "fiu":
        raise CheckpointError(f"{key}: expected a number, got {value!r:.60}")
    return float(array.reshape(()))


def _positive(value: float, key: str) -> float:
    if not (np.isfinite(value) and value > 0):
        raise CheckpointError(f"{key}: expected a finite number above 0, got {value:g}")
    return value


def _sizes(network: Recognised) -> str:
    config = architecture_of(network.config)
    inputs, outputs = config["inputs"], config["outputs"]
    if network.config.kind == "feed_forward":
        return " → ".join(str(width) for width in (inputs, *config["hidden"], outputs))
    layers = f"{inputs} inputs, {config['layers']} layers of {config['hidden']}"
    return f"{layers}, {outputs} output{'s' if outputs > 1 else ''}"


# ---- what its owners say of it


def _claims(tree: Mapping[str, Any]) -> dict[str, Any]:
    """What else the file holds; nothing, where it is the state dict itself."""
    if _arrays(tree):
        return {}
    return {str(key): _plain(value) for key, value in tree.items() if key not in READ}


def _plain(value: Any, depth: int = 4) -> Any:
    """A value as strict JSON; what would not fit a page is told by its size."""
    if isinstance(value, bool | int | str) or value is None:
        return value if not isinstance(value, str) else value[:200]
    if isinstance(value, float):
        return value if np.isfinite(value) else str(value)
    if isinstance(value, np.ndarray) and value.size <= 16:
        return _plain(value.tolist(), depth)
    if isinstance(value, dict) and len(value) <= 32 and depth:
        return {str(key): _plain(inner, depth - 1) for key, inner in value.items()}
    if isinstance(value, list | tuple) and len(value) <= 32 and depth:
        return [_plain(inner, depth - 1) for inner in value]
    return f"{type(value).__name__} of {len(value)}" if hasattr(value, "__len__") else type(value).__name__
