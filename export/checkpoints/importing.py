"""A checkpoint as its owners saved it -> a bundle, with what was found in it and what had to be assumed.

    file -> tree of plain values -> tensors recognised, scaler chosen, calibration read -> Imported -> Bundle

Nothing in the file is executed (`torch_files.py`), and nothing in it is believed beyond its tensors: an accuracy that
it claims stays its owners' claim.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy.typing as npt
import torch
from pydantic import ValidationError

import signalserve
from export.checkpoints.claims import claims_in
from export.checkpoints.contents import (
    clamp_in,
    columns_in,
    contradictions,
    generation_in,
    symbol_in,
    temperature_in,
    tensors_of,
)
from export.checkpoints.files import named
from export.checkpoints.formats import Recognised, recognise
from export.checkpoints.pairing import choose_scaler
from export.checkpoints.pickle_values import printable
from export.checkpoints.scalers import is_scaler
from export.checkpoints.torch_files import read_file
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
from signalserve.candles import INTERVAL_MS
from signalserve.engine import TorchEngine, calibrated_model
from signalserve.errors import BundleError, CheckpointError, OperatorError
from signalserve.features import WINDOW
from signalserve.golden import golden_answer, golden_mismatch, golden_window
from signalserve.network import architecture_of
from signalserve.settings import GENERATIONS

Array = npt.NDArray[Any]

SUFFIXES: Final = (".pt", ".pth", ".ckpt", ".pkl", ".pickle")
"""What a folder is searched for; what the files are is told by their content."""

GENERATION: Final = re.compile(r"[a-z0-9_]{1,40}")
"""As it may be given: it becomes a folder's name."""

BYTES_PER_WEIGHT: Final = 2
"""The fewest that a file takes for a weight: 16-bit floats."""


@dataclass(frozen=True)
class Imported:
    """A checkpoint, understood.

    kind: in words.  architecture, weights, columns, scaler, calibration, window, interval_ms: as a manifest keeps
    them.  has_scaler: whether one was found; without one features stay as they are.  found: what the file says,
    name -> words.  assumed: what it does not say or says twice, each a sentence.  claims: other figures in the file, as
    their owners wrote them.  labels: what the network was taught; trained: the bars it learned from; None where nobody
    said.  All words are printable, the file's own too.
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
    has_scaler: bool
    calibration: CalibrationValues
    found: Mapping[str, str]
    assumed: tuple[str, ...]
    claims: Mapping[str, Any]
    labels: Labels | None = None
    trained: Span | None = None
    window: int = WINDOW
    interval_ms: int = INTERVAL_MS

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
        with _about(self.path):
            try:
                golden = golden_answer(calibrated_model(bundle).double(), self.scaler, self.window)
            except ValidationError:
                raise CheckpointError(
                    "expected finite logits for a window within 1.5 standard deviations, got NaN or infinity: its "
                    "weights or its scaler overflow; take an earlier checkpoint"
                ) from None
        return replace(bundle, manifest=draft.model_copy(update={"golden": golden}))

    def provenance(self, command: str | None = None) -> dict[str, Any]:
        """Where it comes from, what it said and what was assumed; strict JSON."""
        return {
            "checkpoint": {"file": printable(self.path.name), "sha256": self.sha256, "kind": self.kind},
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
    _check_generation(generation)
    tree = read_file(path)
    return _understood(path, tree, scaler=scaler, symbol=symbol, generation=generation, labels=labels, trained=trained)


def files_in(folder: Path) -> list[Path]:
    """The files of a folder that may hold a checkpoint, by name; subfolders are not searched.

    Raises CheckpointError where there is none.
    """
    try:
        there = sorted(folder.iterdir())
    except OSError as error:
        raise CheckpointError(f"{named(folder)}: cannot be read: {error.strerror}") from None
    files = [file for file in there if file.is_file() and file.suffix.lower() in SUFFIXES]
    if not files:
        raise _no_checkpoints(folder, there)
    return files


def import_folder(
    folder: Path,
    *,
    generation: str | None = None,
    labels: Labels | None = None,
    trained: Span | None = None,
    progress: Callable[[int], object] = lambda _: None,
) -> tuple[list[Imported], list[OperatorError]]:
    """Each checkpoint of a folder, by name, and why others cannot be imported.

    Files that hold a scaler or a processor are passed over, for the checkpoints beside them to be paired with.
    progress: told of each of `files_in(folder)`.  Otherwise as import_checkpoint; raises CheckpointError where there
    is no checkpoint.
    """
    _check_generation(generation)
    imported: list[Imported] = []
    faults: list[OperatorError] = []
    files = files_in(folder)
    for file in files:
        try:
            tree = read_file(file)
            if not is_scaler(tree):
                imported.append(_understood(file, tree, generation=generation, labels=labels, trained=trained))
        except OperatorError as error:
            faults.append(error)
        progress(1)
    if not imported and not faults:
        raise _no_checkpoints(folder, files)
    return imported, faults


def _check_generation(given: str | None) -> None:
    if given is not None and not GENERATION.fullmatch(given):
        raise CheckpointError(f"--generation: expected at most 40 small letters, digits and _, got {printable(given)}")


def _no_checkpoints(folder: Path, there: list[Path]) -> CheckpointError:
    names = ", ".join(printable(file.name) for file in there[:10]) or "nothing"
    return CheckpointError(f"{named(folder)}: expected checkpoints ending in {', '.join(SUFFIXES)}, got {names}")


def _understood(
    path: Path,
    tree: Any,
    *,
    scaler: Path | None = None,
    symbol: str | None = None,
    generation: str | None,
    labels: Labels | None,
    trained: Span | None,
) -> Imported:
    """What a file's content is, as import_checkpoint."""
    notes: list[str] = []
    with _about(path):
        tensors = tensors_of(tree, notes)
        _check_size(tensors, path.stat().st_size)
        config = tree.get("config")
        network = recognise(tensors, config if isinstance(config, dict) else None)
        notes += contradictions(tree, tensors, network)
        chosen_symbol = symbol_in(path, tree, symbol, notes)
        own_generation = generation_in(network, tree)
        chosen_generation = own_generation if generation is None else generation
        found_scaler = choose_scaler(
            path,
            tree,
            network.config.inputs,
            given=scaler,
            symbol=chosen_symbol,
            generations=dict.fromkeys((chosen_generation, own_generation)),
            notes=notes,
        )
        columns, columns_in_words = columns_in(tree, network, found_scaler, notes)
        temperature, temperature_in_words = temperature_in(tree, network, notes)
        clamp, clamp_in_words = clamp_in(tree, notes)
        sha256 = sha256_of(path)
    inputs = network.config.inputs
    return Imported(
        path=path,
        sha256=sha256,
        kind=network.kind,
        generation=chosen_generation,
        symbol=chosen_symbol,
        architecture=architecture_of(network.config),
        weights=network.weights,
        columns=columns,
        scaler=found_scaler.values if found_scaler else ScalerValues(mean=[0.0] * inputs, scale=[1.0] * inputs),
        has_scaler=found_scaler is not None,
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
        claims=claims_in(tree, tensors),
        labels=labels,
        trained=trained,
    )


def _check_size(tensors: Mapping[str, Array], file_bytes: int) -> None:
    """Tensors may be views of one storage: a small file would become a large network."""
    weights = sum(array.size for array in tensors.values() if array.dtype.kind == "f")
    if BYTES_PER_WEIGHT * weights > file_bytes:
        raise CheckpointError(
            f"expected at least {BYTES_PER_WEIGHT} bytes for a weight, got {weights:,} of them out of {file_bytes:,} "
            "bytes: its tensors overlap; save a copy of each, tensor.clone()"
        )


def write_imported(imported: Imported, root: Path, *, command: str) -> Path:
    """Write it under root as a new version of its generation and symbol; returns the folder.

    Raises CheckpointError for a network that float32 cannot answer for, which the service would refuse at load, and
    BundleError where the folder cannot be written.
    """
    version = next_version(root, imported.generation, imported.symbol)
    bundle = imported.as_bundle(version, command)
    window = golden_window(imported.scaler, imported.window)[None]
    output = TorchEngine(bundle, "cpu").predict_rows(window)
    mismatch = golden_mismatch(bundle.manifest, output.raw_logits[0], output.probabilities[0])
    if mismatch:
        raise CheckpointError(
            f"{named(imported.path)}: float32 answers otherwise than float64 ({mismatch}): its logits are too large; "
            "signalserve fix gives it a scaler"
        )
    fields = {name: getattr(bundle.manifest, name) for name in Manifest.model_fields if name != "files"}
    return write_bundle(root, fields, bundle.weights, {})


@contextmanager
def _about(path: Path) -> Iterator[None]:
    """Begins the words with the file that they are about, for what its content makes fail anywhere."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{named(path)}: {error}") from None
    except (ValueError, TypeError, OverflowError, BundleError, OSError) as error:
        words = printable(" ".join(str(error).split()))
        raise CheckpointError(f"{named(path)}: its content is not as expected: {words}") from None


def _where_served(generation: str) -> str:
    if generation in GENERATIONS:
        return f"served at /predictions/{generation}"
    return f"not served: endpoints exist for {' and '.join(GENERATIONS)}; import it with --generation to serve it"


def _sizes(network: Recognised) -> str:
    config = architecture_of(network.config)
    inputs, outputs = config["inputs"], config["outputs"]
    if network.config.kind == "feed_forward":
        return " → ".join(str(width) for width in (inputs, *config["hidden"], outputs))
    layers = f"{inputs} inputs, {config['layers']} layers of {config['hidden']}"
    return f"{layers}, {outputs} output{'s' if outputs > 1 else ''}"
