"""The bundles in a model store -> the archives that TorchServe serves, one for each endpoint.

An archive holds its handler, the bundles in force (all symbols) and each one's ONNX file. They are built
anew when anything they are made from has changed, which `model_store/archives.json` tells by hash. The same bundles
give the same bytes, wherever and whenever they are packed.
"""

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final

import signalserve
from signalserve.bundle import ARCHIVES_INDEX, MANIFEST, Bundle, load_bundle, newest_bundles, sha256_of
from signalserve.errors import BundleError
from signalserve.settings import GENERATIONS, Settings
from signalserve.watched import keep_text

HANDLERS = Path(__file__).resolve().parent.parent / "handlers"
ENDPOINTS = {"v6_fixed": ("v6_fixed",), "v8": ("v8",), "ensemble": GENERATIONS}

EARLIEST: Final = (1980, 1, 1, 0, 0, 0)
"""The first time that a zip file can hold: a date that means none."""

Progress = Callable[[int], object]
"""Told how many bundles have just been exported."""


def _unheard(_: int) -> None:
    """The progress that nobody asked for."""


def load_in_force(store: Path, settings: Settings) -> list[Bundle]:
    """The bundles that the archives are to hold, verified. Raises BundleError.

    Generations without an endpoint, such as an imported v7, may lie in the same store; they are not even read.
    """
    folders = newest_bundles(store / "bundles", settings.bundles)
    bundles = [load_bundle(folder) for folder in folders if folder.parts[-3] in GENERATIONS]
    _require_every_endpoint(bundles, store)
    return bundles


def build_from(store: Path, bundles: Sequence[Bundle], *, force: bool = False, progress: Progress = _unheard) -> bool:
    """Build the archives unless they are made from exactly these bundles; returns whether they were built.

    Raises BundleError for one that does not answer its golden window, and where the store cannot be written.
    """
    made_from = fingerprint(bundles)
    if not force and _is_current(store, made_from):
        return False
    if not os.access(store, os.W_OK):
        raise BundleError(
            f"{store}: its archives are missing, or were made from other bundles or versions than are here, and the "
            "folder is read-only; build them where it is not (signalserve pack, or the image again)"
        )
    with (store / ".building").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two starts at once: the second waits, and finds everything built
        if force or not _is_current(store, made_from):
            _build(store, bundles, made_from, progress)
    return True


def _build(store: Path, bundles: Sequence[Bundle], made_from: str, progress: Progress) -> None:
    with tempfile.TemporaryDirectory(prefix="archives-") as folder:
        scratch = Path(folder)
        exported = _export_all(bundles, scratch / "exported", progress)
        for endpoint, generations in ENDPOINTS.items():
            chosen = [bundle for bundle in bundles if bundle.manifest.generation in generations]
            _pack(endpoint, _stage(chosen, exported, scratch / endpoint), scratch / "packed")
        # without an index nothing counts as up to date, should this break off between two archives
        (store / ARCHIVES_INDEX).unlink(missing_ok=True)
        for endpoint in ENDPOINTS:
            # the scratch folder may be on another disk: copy beside the old archive, then take its place as a whole
            new = Path(shutil.move(scratch / "packed" / f"{endpoint}.mar", store / f".{endpoint}.mar.new"))
            new.replace(store / f"{endpoint}.mar")
    index = {
        "made_from": made_from,
        "bundles": {bundle.name: bundle.sha256 for bundle in bundles},
        "archives": {endpoint: sha256_of(store / f"{endpoint}.mar") for endpoint in ENDPOINTS},
    }
    keep_text(store / ARCHIVES_INDEX, json.dumps(index, indent=1) + "\n")


def fingerprint(bundles: Sequence[Bundle]) -> str:
    """A hash of everything that the archives are made from."""
    digest = hashlib.sha256()
    parts = [
        *(f"{bundle.name} {bundle.sha256}" for bundle in bundles),
        *(f"{source.name} {sha256_of(source)}" for source in _sources()),
        *(f"{package} {version(package)}" for package in ("signalserve", "torch", "torch-model-archiver")),
    ]
    for part in parts:
        digest.update(part.encode() + b"\n")
    return digest.hexdigest()


def _sources() -> list[Path]:
    """The code that an archive holds, and that wrote what it holds."""
    exporting = [Path(signalserve.__file__).with_name(name) for name in ("pipeline.py", "network.py", "engine.py")]
    return [Path(__file__), *exporting, *(HANDLERS / f"{endpoint}.py" for endpoint in ENDPOINTS)]


def _require_every_endpoint(bundles: Sequence[Bundle], store: Path) -> None:
    for endpoint, generations in ENDPOINTS.items():
        if not any(bundle.manifest.generation in generations for bundle in bundles):
            raise BundleError(f"{store}: expected bundles for every endpoint, found none of {endpoint}")


def _is_current(store: Path, made_from: str) -> bool:
    """Whether the archives are those that the index names, and were made from what is there now."""
    try:
        index = json.loads((store / ARCHIVES_INDEX).read_text())
        hashes = {endpoint: sha256_of(store / f"{endpoint}.mar") for endpoint in ENDPOINTS}
    except (OSError, ValueError):
        return False
    return isinstance(index, dict) and index.get("made_from") == made_from and index.get("archives") == hashes


def _export_all(bundles: Sequence[Bundle], folder: Path, progress: Progress) -> dict[str, Path]:
    """Each bundle's ONNX file by its name, proved on its golden window."""
    from signalserve.engine import OnnxEngine, onnx_bytes
    from signalserve.models import prove

    files = {}
    for bundle in bundles:
        content = onnx_bytes(bundle)
        prove(bundle, OnnxEngine(content, "cpu"))
        path = folder / f"{bundle.name}.onnx"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        files[bundle.name] = path
        progress(1)
    return files


def _stage(bundles: Sequence[Bundle], exported: dict[str, Path], content: Path) -> Path:
    """The folder whose content becomes the archive's: bundles/, onnx/ and the index of the exported files."""
    from signalserve.models import ARCHIVE_INDEX

    hashes = {}
    for bundle in bundles:
        folder = content / "bundles" / bundle.name
        folder.mkdir(parents=True)
        for name in (MANIFEST, *bundle.manifest.files):  # and nothing else that may lie there
            shutil.copyfile(bundle.path / name, folder / name)
        target = content / "onnx" / f"{bundle.name}.onnx"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(exported[bundle.name], target)
        hashes[bundle.name] = sha256_of(target)
    index = {"bundles": {bundle.name: bundle.sha256 for bundle in bundles}, "onnx": hashes}
    (content / ARCHIVE_INDEX).write_text(json.dumps(index, indent=1) + "\n")
    return content


def _pack(endpoint: str, content: Path, folder: Path) -> None:
    """Write folder/<endpoint>.mar."""
    from model_archiver.model_archiver_config import ModelArchiverConfig
    from model_archiver.model_packaging import generate_model_archive

    folder.mkdir(exist_ok=True)
    config = ModelArchiverConfig(
        model_name=endpoint,
        handler=str(HANDLERS / f"{endpoint}.py"),
        version="1.0",
        extra_files=str(content),
        export_path=str(folder),
        archive_format="no-archive",  # its zip would hold the time and the disk's own order of files
    )
    before = tempfile.tempdir
    try:
        # it stages in <temporary folder>/<model name> and first deletes whatever is there, also somebody else's
        with tempfile.TemporaryDirectory(dir=folder) as tempfile.tempdir:
            generate_model_archive(config)
    finally:
        tempfile.tempdir = before
    manifest = folder / endpoint / "MAR-INF" / "MANIFEST.json"
    said = json.loads(manifest.read_text())
    said["createdOn"] = "01/01/1980 00:00:00"  # TorchServe warns where it is missing
    manifest.write_text(json.dumps(said, indent=1, sort_keys=True) + "\n")
    _zip(folder / endpoint, folder / f"{endpoint}.mar")


def _zip(content: Path, path: Path) -> None:
    """The files under a folder as a zip that depends on their names and bytes alone."""
    with zipfile.ZipFile(path, "w") as archive:  # stored: another zlib would compress to other bytes
        for file in sorted(path for path in content.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(file.relative_to(content).as_posix(), EARLIEST)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, file.read_bytes())
