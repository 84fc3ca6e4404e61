"""A new version of a bundle: the same weights with another calibration, a verdict, or what else was found out later."""

import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import signalserve
from signalserve.bundle import Bundle, Manifest, load_bundle, newest_bundles, version_key, write_bundle
from signalserve.drift.kept import KeptStream
from signalserve.engine import calibrated_model
from signalserve.errors import BundleError
from signalserve.golden import golden_answer


def next_version(root: Path, generation: str, symbol: str) -> str:
    """One more than the newest under root, where a folder without a manifest takes its number too."""
    taken = (root / generation / symbol).glob("*")
    return str(max((version_key(path.name)[0] for path in taken), default=0) + 1)


def find_bundle(words: str, store: Path) -> Bundle:
    """A bundle by its folder, or by generation/symbol (the newest version) or generation/symbol/version in the store.

    Raises BundleError that names what is there.
    """
    if (Path(words) / "manifest.json").is_file():
        return load_bundle(Path(words).resolve())
    parts = words.strip("/").split("/")
    root = store / "bundles"
    if len(parts) == 3 and (root / words / "manifest.json").is_file():
        return load_bundle(root / words)
    there = newest_bundles(root)
    for path in there:
        if list(path.parts[-3:-1]) == parts:
            return load_bundle(path)
    names = ", ".join("/".join(path.parts[-3:]) for path in there)
    raise BundleError(f"{words}: expected a bundle's folder, or one of {names} (in {root})")


def revise(
    bundle: Bundle,
    root: Path,
    *,
    command: str,
    reference: Mapping[str, Any] | None = None,
    kept: KeptStream | None = None,
    **changes: Any,
) -> Path:
    """Write a new version under root with these fields of the manifest changed; returns its folder.

    command: what does this again; kept in the provenance with what it was made from.  reference, kept: the
    new `reference.json` and the predictions that it describes, by default the old ones.  changes: fields of `Manifest`;
    a change of any but `gates` takes an earlier verdict away, which was on another model.
    Raises BundleError, and leaves nothing half-written.
    """
    old = bundle.manifest
    version = next_version(root, old.generation, old.symbol)
    changed = sorted([*changes, *(["reference"] if reference is not None else [])])
    if changes and "gates" not in changes:
        changes["gates"] = None
    step = {
        "command": command,
        "made_from": {"version": old.version, "sha256": bundle.sha256},
        "changed": changed,
        "at": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "signalserve": signalserve.__version__,
    }
    fields = {
        **{name: getattr(old, name) for name in Manifest.model_fields if name != "files"},
        **changes,
        "version": version,
        "provenance": {**old.provenance, "history": [*old.provenance.get("history", []), step]},
    }
    draft = Bundle(bundle.path, old.model_copy(update={"calibration": fields["calibration"]}), bundle.weights, {}, "")
    fields["golden"] = golden_answer(calibrated_model(draft).double(), old.scaler, old.window)
    new_reference = bundle.reference if reference is None else reference
    stream = kept.tensors() if kept else bundle.stream
    folder = write_bundle(root, fields, bundle.weights, new_reference, stream)
    try:
        load_bundle(folder)  # it reads back as it was meant
    except BundleError:
        shutil.rmtree(folder)
        raise
    return folder
