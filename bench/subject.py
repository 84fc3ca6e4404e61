"""What every server is asked: one symbol's window, in each form, of the same two models."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from programs import ROOT

from launch.samples import Sample, write_samples
from signalserve.bundle import Manifest, load_manifests
from signalserve.settings import GENERATIONS, Generation

WEIGHTS: Mapping[Generation, float] = {"v6_fixed": 0.4, "v8": 0.6}

_FORMS = {"window": "npy", "rows": "JSON", "features": "JSON by name", "candles": "candles"}
PLAIN = ("npy", "JSON")
"""The forms that a plain service takes too; JSON is rows of features by position."""


@dataclass(frozen=True)
class Form:
    """One way to ask for the same prediction."""

    name: str
    sample: Sample

    @property
    def is_plain(self) -> bool:
        return self.name in PLAIN


@dataclass(frozen=True)
class Subject:
    """archive: the ensemble's, extracted: bundles and their ONNX files.  manifests: one a generation, of one symbol."""

    archive: Path
    manifests: Mapping[Generation, Manifest]
    forms: Mapping[str, Form]

    @property
    def manifest(self) -> Manifest:
        return self.manifests[GENERATIONS[0]]

    def onnx(self, generation: Generation) -> Path:
        manifest = self.manifests[generation]
        return self.archive / "onnx" / generation / manifest.symbol / f"{manifest.version}.onnx"


def make_subject(model_store: Path, folder: Path, symbol: str) -> Subject:
    """From the archives in a model store, which must have been built."""
    with zipfile.ZipFile(model_store / "ensemble.mar") as archive:
        archive.extractall(folder / "archive")
    manifests = {manifest.generation: manifest for manifest in load_manifests(model_store) if manifest.symbol == symbol}
    if set(manifests) != set(GENERATIONS):
        raise SystemExit(f"{model_store}: expected {' and '.join(GENERATIONS)} of {symbol}, got {sorted(manifests)}")
    samples = write_samples(folder / "requests", manifests[GENERATIONS[0]])
    forms = {_FORMS[sample.path.stem]: Form(_FORMS[sample.path.stem], sample) for sample in samples}
    ordered = {name: forms[name] for name in _FORMS.values() if name in forms}
    return Subject(folder / "archive", {g: manifests[g] for g in GENERATIONS}, ordered)


def write_settings(path: Path, source: Path = ROOT / "serving.yaml") -> Path:
    """The operator's settings, with every symbol answered by the weighted pool of both models."""
    settings = yaml.safe_load(source.read_text())
    pool = {"method": "linear", "temperature": 1.0}
    settings |= {"defaults": {"mode": "ensemble", "weights": dict(WEIGHTS), "pool": pool}, "symbols": {}}
    path.write_text(yaml.safe_dump(settings))
    return path
