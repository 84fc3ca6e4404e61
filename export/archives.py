"""`signalserve archives`: the committed bundles -> the archives that TorchServe serves, one for each endpoint.

An archive holds its handler, the bundles in force (all symbols) and each one's ONNX file. They are built
anew when anything they are made from has changed, which `model_store/archives.json` tells by hash.
"""

import argparse
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import signalserve
from signalserve.bundle import ARCHIVES_INDEX, Bundle, load_bundle, newest_bundles, sha256_of
from signalserve.errors import BundleError
from signalserve.settings import GENERATIONS, Settings, load_settings

HANDLERS = Path(__file__).resolve().parent.parent / "handlers"
ENDPOINTS = {"v6_fixed": ("v6_fixed",), "v8": ("v8",), "ensemble": GENERATIONS}


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser("archives", help="build TorchServe's archives from the bundles", description=__doc__)
    add_options(parser)
    parser.add_argument("--force", action="store_true", help="build even if nothing has changed")
    parser.set_defaults(run=run)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that `signalserve serve` shares."""
    parser.add_argument(
        "--model-store", type=Path, default=Path("model_store"), help="folder with bundles/ (default %(default)s)"
    )
    parser.add_argument("--settings", type=Path, default=Path("serving.yaml"), help="the toggles (default %(default)s)")


def run(args: argparse.Namespace) -> int:
    settings = load_settings(args.settings)
    built = build_if_stale(args.model_store, settings, force=args.force)
    names = ", ".join(f"{endpoint}.mar" for endpoint in ENDPOINTS)
    print(f"{'built' if built else 'up to date'}: {names} in {args.model_store}")
    return 0


def build_if_stale(store: Path, settings: Settings, *, force: bool = False) -> bool:
    """Build the archives unless they are made from exactly what is there now; returns whether they were built.

    Raises BundleError for a bundle that is missing or damaged.
    """
    folders = newest_bundles(store / "bundles", settings.bundles)
    bundles = [load_bundle(folder) for folder in folders]
    _require_every_endpoint(bundles, store)
    made_from = fingerprint(bundles)
    if not force and _is_current(store, made_from):
        return False
    if not os.access(store, os.W_OK):
        raise BundleError(
            f"{store}: its archives are missing, or were made from other bundles or versions than are here, and the "
            "folder is read-only; build them where it is not (make archives, or the image again)"
        )
    with tempfile.TemporaryDirectory(prefix="archives-") as scratch:
        exported = _export_all(bundles, Path(scratch) / "exported")
        for endpoint, generations in ENDPOINTS.items():
            chosen = [bundle for bundle in bundles if bundle.manifest.generation in generations]
            content = _stage(chosen, exported, Path(scratch) / endpoint)
            _pack(endpoint, content, Path(scratch))
        # without an index nothing counts as up to date, should this break off between two archives
        (store / ARCHIVES_INDEX).unlink(missing_ok=True)
        for endpoint in ENDPOINTS:
            # the scratch folder may be on another disk: copy beside the old archive, then take its place as a whole
            new = Path(shutil.move(Path(scratch) / f"{endpoint}.mar", store / f".{endpoint}.mar.new"))
            new.replace(store / f"{endpoint}.mar")
    index = {"made_from": made_from, "bundles": {bundle.name: bundle.sha256 for bundle in bundles}}
    _write(store / ARCHIVES_INDEX, json.dumps(index, indent=1) + "\n")
    return True


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
    try:
        index = json.loads((store / ARCHIVES_INDEX).read_text())
    except (OSError, ValueError):
        return False
    return (
        isinstance(index, dict)
        and index.get("made_from") == made_from
        and all((store / f"{name}.mar").exists() for name in ENDPOINTS)
    )


def _export_all(bundles: Sequence[Bundle], folder: Path) -> dict[str, Path]:
    from signalserve.engine import onnx_bytes

    files = {}
    for bundle in bundles:
        path = folder / f"{bundle.name}.onnx"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(onnx_bytes(bundle))
        files[bundle.name] = path
    return files


def _stage(bundles: Sequence[Bundle], exported: dict[str, Path], content: Path) -> Path:
    """The folder whose content becomes the archive's: bundles/, onnx/ and the index of the exported files."""
    from signalserve.models import ARCHIVE_INDEX

    hashes = {}
    for bundle in bundles:
        manifest = bundle.manifest
        shutil.copytree(bundle.path, content / "bundles" / manifest.generation / manifest.symbol / manifest.version)
        target = content / "onnx" / f"{bundle.name}.onnx"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(exported[bundle.name], target)
        hashes[bundle.name] = sha256_of(target)
    index = {"bundles": {bundle.name: bundle.sha256 for bundle in bundles}, "onnx": hashes}
    (content / ARCHIVE_INDEX).write_text(json.dumps(index, indent=1) + "\n")
    return content


def _pack(endpoint: str, content: Path, folder: Path) -> None:
    from model_archiver.model_archiver_config import ModelArchiverConfig
    from model_archiver.model_packaging import generate_model_archive

    generate_model_archive(
        ModelArchiverConfig(
            model_name=endpoint,
            handler=str(HANDLERS / f"{endpoint}.py"),
            version="1.0",
            extra_files=str(content),
            export_path=str(folder),
        )
    )


def _write(path: Path, text: str) -> None:
    """Replace a file as a whole: a reader sees the old one or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text)
    temporary.replace(path)
