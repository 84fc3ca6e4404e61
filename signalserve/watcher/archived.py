"""The bundles of the archives in force, as far as they can be read.

The workers load from the archives. A bundle that was damaged on disk meanwhile must not end the watcher with it, or
nobody would see what still answers.
"""

import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path

from signalserve.bundle import MANIFEST, Bundle, Manifest, archived_bundles, load_bundle
from signalserve.errors import BundleError
from signalserve.log import event


def readable_bundles(store: Path) -> Iterator[Bundle]:
    """Of a bundle that does not verify its manifest alone, without weights or reference, where that is the one which
    was packed; else nothing of it. Both are logged. Raises BundleError where the archives have no index.
    """
    for name, sha256 in archived_bundles(store).items():
        folder = store / "bundles" / name
        try:
            yield load_bundle(folder)
        except BundleError as error:
            manifest = _packed_manifest(folder / MANIFEST, sha256)
            then = "left out" if manifest is None else "watched by its manifest, without a reference"
            event(logging.ERROR, "bundle_unreadable", bundle=name, reason=str(error), then=then)
            if manifest is not None:
                yield Bundle(folder, manifest, {}, {}, sha256)


def _packed_manifest(path: Path, sha256: str) -> Manifest | None:
    try:
        content = path.read_bytes()
        return Manifest.model_validate_json(content) if hashlib.sha256(content).hexdigest() == sha256 else None
    except (OSError, ValueError):
        return None
