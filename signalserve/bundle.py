"""A model on disk: `<root>/<generation>/<symbol>/<version>/` with a manifest, the weights and a reference.

    manifest.json         everything needed to run and to judge the model, and the sha256 of every other file
    weights.safetensors   the network's tensors
    reference.json        what its predictions looked like on data it was not trained on
    stream.safetensors    those predictions themselves, where they were kept

Nothing here is a pickle and nothing read here can execute. A version is written once and never changed.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from signalserve.errors import BundleError

MANIFEST = "manifest.json"
WEIGHTS = "weights.safetensors"
REFERENCE = "reference.json"
STREAM = "stream.safetensors"

ARCHIVES_INDEX = "archives.json"
"""In the model store: what its archives were built from, {"made_from": hash, "bundles": {name: sha256}}."""

Array = npt.NDArray[Any]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Labels(Strict):
    """What the model was taught to say: the direction of the close, this many bars ahead."""

    horizon_bars: int = Field(gt=0)
    neutral_band: float = Field(ge=0, description="a move within ±this share of the close is NEUTRAL")


class ScalerValues(Strict):
    mean: list[Finite]
    scale: list[Positive]


class CalibrationValues(Strict):
    clamp: Positive
    temperature: Positive
    method: str = Field(description="how the temperature was chosen, e.g. 'nll' or 'by hand'")


class Span(Strict):
    """A stretch of bars by their opening times, UTC, both ends included."""

    start: str
    end: str
    bars: int | None = Field(default=None, description="null where only the times are known")


class Spans(Strict):
    """Which bars taught the weights, which the temperature, and which judged the result; null where nobody knows.

    scaler: which bars the scaler was fitted on, where these are others than `train`.
    """

    train: Span | None
    calibration: Span | None
    test: Span | None
    scaler: Span | None = None

    @property
    def scaler_fit(self) -> Span | None:
        return self.scaler or self.train


class Golden(Strict):
    """The float64 answer to the golden window (`golden.py`): a load that gives another one is refused."""

    raw_logits: list[Finite]
    probabilities: list[Finite]


class Gates(Strict):
    """What `signalserve judge` found; `failed` names the gates not passed, of which one is enough to be refused."""

    passed: list[str]
    failed: list[str]
    report: dict[str, Any]


class Manifest(Strict):
    """`manifest.json`, whole."""

    schema_version: Literal[1] = 1
    generation: str = Field(pattern=r"^[a-z0-9_]+$")
    symbol: str = Field(pattern=r"^[A-Z0-9]+-[A-Z0-9]+$")
    version: str = Field(pattern=r"^[1-9][0-9]*$")
    architecture: dict[str, Any]
    classes: tuple[Literal["DOWN"], Literal["NEUTRAL"], Literal["UP"]] = ("DOWN", "NEUTRAL", "UP")
    columns: list[str] = Field(min_length=1, description="the features, in the order of the network's inputs")
    window: int = Field(gt=0, description="bars a prediction looks back on")
    interval_ms: int = Field(gt=0)
    labels: Labels | None = Field(description="null where nobody knows what an imported network was taught")
    scaler: ScalerValues
    calibration: CalibrationValues
    spans: Spans
    provenance: dict[str, Any]
    report: dict[str, Any] = Field(description="quality on the test span, beside base rates")
    gates: Gates | None = Field(default=None, description="null until the bundle has been judged")
    numeric_bound: Positive = Field(default=1e-5, description="largest difference of a probability from float64")
    golden: Golden
    files: dict[str, str] = Field(description="sha256 of every other file")

    @property
    def accuracy_over_majority(self) -> float | None:
        """Accuracy on unseen bars less the share of their commonest class; None where it was not measured.

        The commonest class is known only afterwards: the strictest of the baselines that know nothing of a window.
        """
        try:
            return float(self.report["accuracy"] - max(self.report["base_rates"].values()))
        except (KeyError, TypeError):
            return None

    @property
    def knows_neutral(self) -> bool:
        """False for a network of one output, the log-odds of UP against DOWN."""
        return self.architecture.get("outputs") != 1

    @model_validator(mode="after")
    def _sizes_agree(self) -> "Manifest":
        inputs = self.architecture.get("inputs")
        sizes = (inputs, len(self.scaler.mean), len(self.scaler.scale), len(set(self.columns)))
        if any(size != len(self.columns) for size in sizes):
            raise ValueError(
                f"expected {len(self.columns)} distinct columns to match the architecture's inputs and the scaler, "
                f"got inputs {inputs}, means {sizes[1]}, scales {sizes[2]}, distinct columns {sizes[3]}"
            )
        return self


@dataclass(frozen=True)
class Bundle:
    """A verified bundle. weights: tensor name -> array; sha256: of the manifest, and so of everything in the folder."""

    path: Path
    manifest: Manifest
    weights: Mapping[str, Array]
    reference: Mapping[str, Any]
    sha256: str

    @property
    def stream(self) -> dict[str, Array] | None:
        """The tensors of STREAM, read anew; None where none was kept. `drift.kept` knows what they are.

        Raises BundleError for a file that can't be read.
        """
        if STREAM not in self.manifest.files:
            return None
        try:
            return safetensors.numpy.load(_read(self.path / STREAM))
        except safetensors.SafetensorError as error:
            raise BundleError(f"{self.path / STREAM}: {error}; restore the folder or remove the version") from None

    @property
    def name(self) -> str:
        return f"{self.manifest.generation}/{self.manifest.symbol}/{self.manifest.version}"

    @property
    def failed_gates(self) -> tuple[str, ...]:
        return tuple(self.manifest.gates.failed) if self.manifest.gates else ()

    @property
    def passed_gates(self) -> bool:
        """False also where it was never judged: a new calibration must not carry a failed model past its gates."""
        return self.manifest.gates is not None and not self.manifest.gates.failed


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_bundle(path: Path) -> Bundle:
    """Read and verify one bundle folder. Raises BundleError that names the file and what to do."""
    manifest_bytes = _read(path / MANIFEST)
    try:
        manifest = Manifest.model_validate_json(manifest_bytes)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the manifest"
        raise BundleError(
            f"{path / MANIFEST}: {place}: {first['msg']}; restore the file or remove the version"
        ) from None
    _verify(path, manifest)
    try:
        weights = safetensors.numpy.load(_read(path / WEIGHTS))
        reference = json.loads(_read(path / REFERENCE))
    except (safetensors.SafetensorError, ValueError) as error:
        raise BundleError(f"{path}: not readable: {error}; restore the folder or remove the version") from None
    return Bundle(path, manifest, weights, reference, hashlib.sha256(manifest_bytes).hexdigest())


def find_bundles(root: Path) -> Iterator[Path]:
    """The bundle folders under root, by generation, symbol and version (oldest first)."""
    folders = (path.parent for path in root.glob(f"*/*/[!.]*/{MANIFEST}"))  # a dot: still being written
    return iter(sorted(folders, key=lambda path: (path.parts[-3], path.parts[-2], version_key(path.name))))


def newest_bundles(root: Path, pins: Mapping[str, Mapping[Any, str]] | None = None) -> list[Path]:
    """One folder for each generation and symbol: the pinned version (symbol -> generation -> version), else the newest.

    Raises BundleError if there is no bundle at all, or none of a pinned version.
    """
    chosen: dict[tuple[str, str], Path] = {}
    for path in find_bundles(root):
        generation, symbol, version = path.parts[-3:]
        pinned = (pins or {}).get(symbol, {}).get(generation)
        if pinned in (None, version):
            chosen[generation, symbol] = path
    for symbol, by_generation in (pins or {}).items():
        for generation, version in by_generation.items():
            if (generation, symbol) not in chosen:
                raise BundleError(f"bundles: {symbol} pins {generation} version {version}, which is not under {root}")
    if not chosen:
        raise BundleError(f"{root}: expected bundles at <generation>/<symbol>/<version>/{MANIFEST}, found none")
    return list(chosen.values())


def load_bundles(store: Path) -> list[Bundle]:
    """The bundles that the archives in this model store hold, verified. Raises BundleError."""
    return [load_bundle(store / "bundles" / name) for name in archived_bundles(store)]


def archived_bundles(store: Path) -> dict[str, str]:
    """<generation>/<symbol>/<version> of what the archives hold -> the manifest's sha256. Raises BundleError."""
    try:
        return dict(json.loads((store / ARCHIVES_INDEX).read_text())["bundles"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{store / ARCHIVES_INDEX}: {error}; run make archives") from None


def load_manifests(store: Path) -> list[Manifest]:
    """Their manifests alone. Raises BundleError."""
    return [bundle.manifest for bundle in load_bundles(store)]


def version_key(version: str) -> tuple[int, str]:
    return (int(version), "") if version.isdecimal() else (0, version)


def write_bundle(
    root: Path,
    manifest: Mapping[str, Any],
    weights: Mapping[str, Array],
    reference: object,
    stream: Mapping[str, Array] | None = None,
) -> Path:
    """Write a new version and return its folder; nothing half-written is ever visible.

    manifest: the fields of Manifest except `files`.  stream: the tensors of STREAM, None to keep none.
    Raises BundleError if that version exists already, or the folder cannot be written.
    """
    folder: Path = root / manifest["generation"] / manifest["symbol"] / manifest["version"]
    if folder.exists():
        raise BundleError(f"{folder} exists already; a version is never overwritten: choose a new one")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".writing-", dir=folder.parent))
    except OSError as error:
        raise BundleError(f"{folder}: cannot be written: {error.strerror}; choose another folder") from None
    try:
        staging.chmod(0o755)
        (staging / WEIGHTS).write_bytes(
            safetensors.numpy.save({k: np.ascontiguousarray(v) for k, v in weights.items()})
        )
        (staging / REFERENCE).write_text(json.dumps(reference, indent=1, allow_nan=False) + "\n")
        if stream is not None:
            (staging / STREAM).write_bytes(safetensors.numpy.save(dict(stream)))
        files = {path.name: sha256_of(path) for path in sorted(staging.iterdir())}
        whole = Manifest.model_validate({**manifest, "files": files})
        (staging / MANIFEST).write_text(whole.model_dump_json(indent=1) + "\n")
        staging.rename(folder)
    except BaseException as error:
        shutil.rmtree(staging, ignore_errors=True)
        if isinstance(error, OSError):
            raise BundleError(f"{folder}: cannot be written: {error.strerror}; choose another folder") from None
        raise
    return folder


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror or error}; restore the file or remove the version") from None


def _verify(path: Path, manifest: Manifest) -> None:
    if path.parts[-3:] != (manifest.generation, manifest.symbol, manifest.version):
        raise BundleError(
            f"{path}: the manifest says {manifest.generation}/{manifest.symbol}/{manifest.version}; a bundle's folder "
            "carries its manifest's generation, symbol and version"
        )
    missing = {WEIGHTS, REFERENCE} - set(manifest.files)
    if missing:
        raise BundleError(f"{path / MANIFEST}: files: expected the sha256 of {sorted(missing)}, got none")
    for name, expected in manifest.files.items():
        if Path(name).name != name:
            raise BundleError(f"{path / MANIFEST}: files: expected plain file names, got {name!r}")
        got = hashlib.sha256(_read(path / name)).hexdigest()
        if got != expected:
            raise BundleError(
                f"{path / name}: sha256 {got[:12]}… differs from the manifest's {expected[:12]}…; "
                "the file was changed or damaged: restore it, or write a new version"
            )
