"""What can be wrong with archives, bundles, files and processes: each as somebody might do it by mistake."""

import json
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from export.versions import find_bundle, next_version
from signalserve.bundle import ARCHIVES_INDEX, WEIGHTS, Bundle, Manifest, newest_bundles, sha256_of, write_bundle
from signalserve.engine import calibrated_model
from signalserve.golden import golden_answer
from tests.live.server import Server

FLAG: Final = "scaler-is-bypassed"
"""A file beside a store whose archive is the test's: while it is there, the fault is."""

_UNSCALED_HANDLER: Final = '''\
"""A test's archive: from the moment that a file exists, the networks see raw features. Manifests and hashes are whole,
and so is all that judges the input."""

from pathlib import Path

import numpy as np

from handlers import ensemble

FLAG = Path({flag!r})


class UnscaledHandler(ensemble.EnsembleHandler):
    def initialize(self, context):
        super().initialize(context)
        for models in self.service.models.values():
            for model in models.values():
                bypass(model.engine, model.bundle.manifest.scaler)


def bypass(engine, scaler):
    """The engine scales what it is given: let that be what it scales to the raw windows."""
    scaled, mean, scale = engine.predict_rows, np.array(scaler.mean), np.array(scaler.scale)

    def predict_rows(windows):
        return scaled((windows * scale + mean).astype(np.float32) if FLAG.exists() else windows)

    engine.predict_rows = predict_rows
'''


def bypass_scaler(store: Path) -> None:
    """Another handler in the ensemble's archive; the fault begins with the file FLAG beside the store."""
    archive = store / "ensemble.mar"
    changed = archive.with_suffix(".new")
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(changed, "w") as new:
        for entry in old.infolist():
            handler = _UNSCALED_HANDLER.format(flag=str(store.parent / FLAG)).encode()
            new.writestr(entry, handler if entry.filename == "ensemble.py" else old.read(entry))
    changed.replace(archive)
    index = json.loads((store / ARCHIVES_INDEX).read_bytes())
    index["archives"]["ensemble"] = sha256_of(archive)  # else the service would build its own
    (store / ARCHIVES_INDEX).write_text(json.dumps(index))


def raise_flag(server: Server) -> None:
    (server.store.parent / FLAG).touch()


def untemper(store: Path, generation: str, symbol: str) -> None:
    """A new version with temperature 1, and the reference of the old one."""
    bundle = find_bundle(f"{generation}/{symbol}", store)
    calibration = bundle.manifest.calibration.model_copy(update={"temperature": 1.0})
    _write_version(store, bundle, calibration=calibration)


def rewrite(store: Path, generation: str, symbol: str) -> None:
    """A new version that is the old one in everything else."""
    _write_version(store, find_bundle(f"{generation}/{symbol}", store))


def replace_weights(store: Path, generation: str, by: str, symbol: str) -> None:
    """A new version with the network of another generation, behind its own scaler and temperature."""
    bundle, other = (find_bundle(f"{name}/{symbol}", store) for name in (generation, by))
    _write_version(store, replace(bundle, weights=other.weights), architecture=other.manifest.architecture)


def _write_version(store: Path, bundle: Bundle, **changes: Any) -> None:
    """By hand, without what `export` does on the way: gates and reference stay, and the golden answer is the new one,
    without which no archive could be built."""
    old = bundle.manifest
    fields: Mapping[str, Any] = {
        **{name: getattr(old, name) for name in Manifest.model_fields if name != "files"},
        **changes,
        "version": next_version(store / "bundles", old.generation, old.symbol),
    }
    draft = replace(bundle, manifest=old.model_copy(update=changes))
    golden = golden_answer(calibrated_model(draft).double(), old.scaler, old.window)
    write_bundle(store / "bundles", {**fields, "golden": golden}, bundle.weights, bundle.reference, bundle.stream)


def kill_worker(server: Server) -> None:
    """One of the two that bots are answered by, as the kernel does it where memory is short."""
    server.workers("ensemble")[0].kill()


def write_wrong_settings(server: Server) -> None:
    """A mode that there is not."""
    right = server.settings.read_text()
    wrong = right.replace("mode: ensemble", "mode: v9", 1)
    assert wrong != right, f"{server.settings}: expected mode: ensemble"
    server.settings.write_text(wrong)


def corrupt_bundle(server: Server) -> None:
    """One bit of the weights of one bundle on the disk."""
    path = newest_bundles(server.store / "bundles")[0] / WEIGHTS
    content = np.fromfile(path, dtype=np.uint8)
    content[len(content) // 2] ^= 1
    content.tofile(path)


def copy_store(store: Path, folder: Path) -> Path:
    """A store of a fault's own, archives included."""
    return Path(shutil.copytree(store, folder))
