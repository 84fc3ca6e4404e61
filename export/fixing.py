"""A checkpoint and bars -> V6's mend: the scaler that was forgotten, a clamp, and a temperature that was fitted.

    split    all windows, cut in time: one part for the scaler, one for the temperature, one to judge on
    mend     scaler from the first, temperature from the second -> before and after on the third
    write    a bundle of generation v6_fixed

The weights stay as they are. The network's own training bars are in no checkpoint: unless somebody names them, it may
have learned the very bars that it is judged on.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import scipy
import sklearn
from sklearn.preprocessing import StandardScaler

from export.checkpoints.contents import USUAL_CLAMP
from export.checkpoints.files import named
from export.checkpoints.importing import Imported
from export.forward import Progress, forward
from export.labels import neutral_band
from export.quality import describe, probabilities_of, report_of
from export.recalibration import Fitted, Sample, fit
from export.reference_stream import describe_stream, keep
from export.scores import Gains, gains
from export.series import Series
from export.split import SHARES, Part, Split, split_in_time
from export.unseen import all_ends, overlaps
from export.versions import next_version
from signalserve.bundle import Bundle, CalibrationValues, Manifest, ScalerValues, Span, Spans, sha256_of, write_bundle
from signalserve.bundle import Labels as Taught
from signalserve.candles import iso
from signalserve.drift.kept import KeptStream
from signalserve.errors import DataError
from signalserve.pipeline import Calibration

Floats = npt.NDArray[np.float64]

GENERATION: Final = "v6_fixed"

WISHED_ACCURACY: Final = 0.68
"""The owners' gate; the report says from which confidence on it is reached, if from any."""


@dataclass(frozen=True)
class State:
    """The network on the test part, before its mend or after.

    figures: as `quality.describe`.  ties: share of predictions whose class is arbitrary, two logits lying at the
    clamp.  confidence: (n,).
    """

    temperature: float
    has_scaler: bool
    figures: Mapping[str, Any]
    ties: float
    confidence: Floats


@dataclass(frozen=True)
class Mended:
    """One checkpoint, mended.

    imported: as its file is.  bundle: as it is now, in memory.  taught: the labels; band_from_bars: whether the
    first part chose their band.  scaler_span: what the scaler was fitted on.  gains: of the mended one on the test
    part, over the calibration part's class shares and over its own.  kept: the test part's predictions, for the bundle.
    """

    imported: Imported
    bundle: Bundle
    data: Path
    taught: Taught
    band_from_bars: bool
    scaler_span: Span
    calibration: Sample
    test: Sample
    kept: KeptStream
    fitted: Fitted
    before: State
    after: State
    report: Mapping[str, Any]
    gains: Gains


def split_for(imported: Imported, series: Series, horizon: int) -> Split:
    """All windows in three parts, by `split.SHARES`.

    Raises DataError for too few bars, and where the network is known to have learned from the second or third part.
    """
    try:
        split = split_in_time(all_ends(series, imported.window, horizon))
    except ValueError as error:
        raise DataError(f"{series.path}: {error}; give more bars") from None
    for name in ("calibration", "test"):
        span = series.span_of(getattr(split, name))
        if overlaps(imported.trained, span):
            assert imported.trained is not None
            raise DataError(
                f"{series.path}: the {name} part ({span.start} to {span.end}) overlaps the bars that the network "
                f"learned from ({imported.trained.start} to {imported.trained.end}), which would flatter it; give bars "
                "of which those come in the first half, or later ones"
            )
    return split


def mend(
    imported: Imported, series: Series, split: Split, horizon: int, band: float | None, progress: Progress | None = None
) -> Mended:
    """Fit scaler and temperature, and see what they change.

    split: as `split_for` gives it.  horizon: bars that a label looks ahead.  band: of NEUTRAL, a share of the close;
    None: the first part's `neutral_band`.  progress: told of windows; there are `windows_of(split)`.
    Raises DataError for bars without closes or times, too few labels, and a network that answers NaN or infinity.
    """
    taught = Taught(horizon_bars=horizon, neutral_band=band_of(series, split, horizon) if band is None else band)
    bars = split.train.bars
    scaler = StandardScaler().fit(series.rows[bars.start : bars.stop])
    scaled = replace(
        imported,
        generation=GENERATION,
        scaler=ScalerValues(mean=scaler.mean_.tolist(), scale=scaler.scale_.tolist()),
        calibration=CalibrationValues(clamp=USUAL_CLAMP, temperature=1.0, method="not fitted yet"),
        labels=taught,
    )
    model = scaled.as_bundle()
    calibration = _sample(model, series, taught, split.calibration, progress)
    fitted = fit(calibration, USUAL_CLAMP, horizon, accuracy=WISHED_ACCURACY, share=SHARES[1])
    values = CalibrationValues(clamp=USUAL_CLAMP, temperature=fitted.temperature, method=fitted.method)
    test = _sample(model, series, taught, split.test, progress)
    as_it_was = _sample(imported.as_bundle(), series, taught, split.test, progress)
    new = Calibration(values.clamp, values.temperature)
    old = Calibration(imported.calibration.clamp, imported.calibration.temperature)
    return Mended(
        imported=imported,
        bundle=replace(scaled, calibration=values).as_bundle(),
        data=series.path,
        taught=taught,
        band_from_bars=band is None,
        scaler_span=series.span_of(split.train),
        calibration=calibration,
        test=test,
        kept=keep(series, split.test, test.raw_logits, model.manifest.scaler),
        fitted=fitted,
        before=_state(as_it_was.judged, old, horizon, has_scaler=imported.has_scaler),
        after=_state(test.judged, new, horizon, has_scaler=True),
        report=report_of(test.raw_logits, new, test.labels, calibration.labels, horizon, earlier_part="calibration"),
        gains=gains(probabilities_of(test.judged.raw_logits, new), test.judged.labels, fitted.class_shares, horizon),
    )


def windows_of(split: Split) -> int:
    """How many windows mending predicts: the calibration part's once, the test part's before and after."""
    return len(split.calibration) + 2 * len(split.test)


def band_of(series: Series, split: Split, horizon: int) -> float:
    """The band that calls a third of the first part NEUTRAL. Raises DataError for bars without closes."""
    if series.close is None:
        raise DataError(f"{series.path}: expected a column of closes, without which there are no labels; add `close`")
    return neutral_band(series.close, horizon, split.train.bars)


def write(mended: Mended, root: Path, command: str, progress: Progress | None = None) -> Path:
    """Write the mended bundle under root as a new version of v6_fixed; returns its folder.

    progress: told of the days simulated for its drift limits.
    """
    manifest = mended.bundle.manifest
    provenance = mended.imported.provenance(command)
    report = {
        **mended.report,
        "temperature_fit": {
            **asdict(mended.fitted.fit),
            "interval": asdict(mended.fitted.interval),
            "effective_labels": mended.fitted.effective_labels,
        },
        "before": {**mended.before.figures, "ties_at_clamp": mended.before.ties},
    }
    changes = {
        "version": next_version(root, manifest.generation, manifest.symbol),
        "spans": Spans(
            train=mended.imported.trained,
            calibration=mended.calibration.span,
            test=mended.test.span,
            scaler=mended.scaler_span,
        ),
        "report": report,
        "provenance": {
            **provenance,
            "data": {"file": mended.data.name, "sha256": sha256_of(mended.data)},
            "versions": {
                **provenance["versions"],
                "scikit-learn": sklearn.__version__,
                "scipy": scipy.__version__,
            },
            "note": seen_in_words(mended),
        },
    }
    fields = {name: getattr(manifest, name) for name in Manifest.model_fields if name != "files"}
    reference = describe_stream(
        mended.kept, manifest.calibration, mended.test.span, len(manifest.columns), progress=progress
    )
    return write_bundle(root, {**fields, **changes}, mended.bundle.weights, reference, mended.kept.tensors())


def seen_in_words(mended: Mended) -> str:
    """Whether the figures can be trusted to be of bars that the network has not learned."""
    if mended.imported.trained is None:
        return (
            "Nobody said which bars the network learned from. If it has learned these, every figure here flatters it, "
            "and its temperature is too low; name them with --trained START END."
        )
    trained = mended.imported.trained
    return f"The network learned from {trained.start} to {trained.end}, as its owner says, and not from the test part."


def _calibration_of(manifest: Manifest) -> Calibration:
    return Calibration(manifest.calibration.clamp, manifest.calibration.temperature)


def _sample(bundle: Bundle, series: Series, taught: Taught, part: Part, progress: Progress | None) -> Sample:
    raw_logits = forward(bundle, series.rows, part.ends, progress=progress).raw_logits
    bad: npt.NDArray[np.bool_] = np.logical_not(np.isfinite(raw_logits).all(axis=1))
    if bad.any():
        raise DataError(
            f"{named(bundle.path)}: expected finite logits, got NaN or infinity in {bad.sum():,} of {len(bad):,} "
            f"windows, the first at {iso(series.times()[part.ends[bad.argmax()]])}; run signalserve diagnose on it"
        )
    labels = series.labels(taught.horizon_bars, taught.neutral_band)[part.ends]
    return Sample(str(bundle.path), series.span_of(part), raw_logits, labels)


def _state(judged: Sample, calibration: Calibration, horizon: int, *, has_scaler: bool) -> State:
    top = judged.raw_logits.max(axis=1)  # (n,)
    at_top = (judged.raw_logits >= calibration.clamp).sum(axis=1)
    return State(
        temperature=calibration.temperature,
        has_scaler=has_scaler,
        figures=describe(judged.raw_logits, calibration, judged.labels, horizon),
        ties=float(((at_top > 1) | (top <= -calibration.clamp)).mean()),
        confidence=probabilities_of(judged.raw_logits, calibration).max(axis=1),
    )
