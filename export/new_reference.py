"""A bundle and newer bars -> another reference for monitoring, with drift limits of its own.

    reference_part      the windows that the model has not seen
    keep_predictions    what it says of them
    describe            those -> NewReference: all that `reference.json` holds
    write               a new version of the bundle

Its calibration stays, and with it the verdict of the gates: nothing that answers is changed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.forward import Progress, forward
from export.reference_stream import describe_stream, keep
from export.series import Series
from export.split import Part
from export.unseen import unseen
from export.versions import revise
from signalserve.bundle import Bundle, Span, sha256_of
from signalserve.drift.kept import KeptStream
from signalserve.drift.reference import Reference
from signalserve.drift.surrogates import SHORTEST
from signalserve.errors import DataError


@dataclass(frozen=True)
class NewReference:
    """data: the file of bars, by name and sha256.  span: the bars of the reference.  description: of `kept`, all that
    `reference.json` holds."""

    bundle: Bundle
    data: Mapping[str, str]
    span: Span
    kept: KeptStream
    description: Mapping[str, Any]

    @property
    def reference(self) -> Reference:
        return Reference.from_json(self.description["drift"])


def reference_part(bundle: Bundle, series: Series, *, assume_unseen: bool = False) -> Part:
    """The windows that neither weights, scaler nor temperature have seen. No label is needed.

    assume_unseen: as for `unseen`. Raises DataError as `unseen` does, and for too few windows.
    """
    part = unseen(series, bundle.manifest, 0, by_calibration_too=True, assume_unseen=assume_unseen)
    if len(part) < SHORTEST:
        raise DataError(
            f"{series.path}: expected at least {SHORTEST} windows that {bundle.name} has not seen, to learn from how "
            f"its predictions depend on each other, got {len(part)}; give more bars"
        )
    return part


def keep_predictions(bundle: Bundle, series: Series, part: Part, progress: Progress | None = None) -> KeptStream:
    """The bundle's predictions of the part's windows. progress: told of windows.

    Raises DataError for logits that are not finite, and for bars without times.
    """
    raw_logits = forward(bundle, series.rows, part.ends, progress=progress).raw_logits
    try:
        return keep(series, part, raw_logits, bundle.manifest.scaler)
    except ValueError as error:
        raise DataError(f"{bundle.name}: {error}; run signalserve diagnose on it") from None


def describe(
    bundle: Bundle, series: Series, part: Part, kept: KeptStream, progress: Progress | None = None
) -> NewReference:
    """kept: the predictions of the part's windows.  progress: told of days simulated."""
    manifest, span = bundle.manifest, series.span_of(part)
    description = describe_stream(kept, manifest.calibration, span, len(manifest.columns), progress=progress)
    data = {"file": series.path.name, "sha256": sha256_of(series.path)}
    return NewReference(bundle, data, span, kept, description)


def write(found: NewReference, root: Path, command: str) -> Path:
    """Write the bundle's next version under root, the same but for its reference; returns its folder.

    Raises BundleError, and leaves nothing half-written.
    """
    return revise(found.bundle, root, command=command, reference=found.description, kept=found.kept)
