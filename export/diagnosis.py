"""A bundle, and bars if there are any -> what is wrong with it, if anything is. Nothing is fitted, nothing changed.

    weights       the tensors alone (diagnosis_weights.py)
    features      does the scaler belong to these bars? (diagnosis_features.py)
    predictions   logits, confidence and classes, with and without the scaler (diagnosis_predictions.py)
    faults        what of all that is wrong, in words, the weightiest first (diagnosis_faults.py)

A model of any kind is diagnosed, the worst above all: what is wrong is a finding, never an error.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from export.diagnosis_features import FeatureFit, feature_fit, fitting_symbol, is_identity
from export.diagnosis_predictions import Stage, shares_by_day, stage
from export.diagnosis_weights import Weights, weights_of
from export.forward import Progress, forward
from export.gates import FeatureScale, GateSettings, feature_scale
from export.judging import training_features
from export.series import Series
from export.split import Part
from export.unseen import all_ends
from signalserve.bundle import Bundle, Manifest, ScalerValues
from signalserve.candles import iso
from signalserve.engine import Engine, TorchEngine
from signalserve.errors import DataError
from signalserve.golden import golden_mismatch, golden_window
from signalserve.pipeline import Calibration

Floats = npt.NDArray[np.float64]

UNSCALED_WINDOWS: Final = 2000
"""Of those looked at, evenly spaced, for what the model would say without its scaler: enough for the range."""

DAY_MS: Final = 86_400_000


@dataclass(frozen=True)
class OnBars:
    """What only bars can tell.

    bars: the file and the stretch, in words.  windows: how many were answered; not_finite: by NaN or infinity.
    features: on these bars; farthest: the bar of their largest |scaled|, in words; scale: as gate 1 sees them.
    training: the same on the bars that the scaler was fitted on; None where these are not at hand, for the reason
    why_no_training.  fits: the symbol whose bars a foreign scaler does fit.  unscaled, scaled, served: without the
    scaler, with it at T = 1, and as it answers; None where nothing is finite, and unscaled too where there is no
    scaler.  days: class shares as served, (days, 3), empty where windows are missing.
    """

    bars: str
    windows: int
    not_finite: int
    features: FeatureFit
    farthest: str
    scale: FeatureScale
    training: FeatureScale | None
    why_no_training: str
    fits: str | None
    unscaled: Stage | None
    scaled: Stage | None
    served: Stage | None
    days: Floats

    @property
    def stages(self) -> list[Stage]:
        """In the order in which the data flows, without T = 1 twice."""
        scaled = None if self.served and self.served.temperature == 1 else self.scaled
        return [stage for stage in (self.unscaled, scaled, self.served) if stage]

    @property
    def untempered(self) -> list[Stage]:
        """Those that differ in more than a temperature, which changes no logit and no class."""
        return [stage for stage in (self.unscaled, self.scaled) if stage]


@dataclass(frozen=True)
class Diagnosis:
    """Everything that was found out.

    is_bundle: False for a checkpoint, which has no golden answer to compare with.  golden: what is wrong with the
    answer to the golden window, in words; None where it is right, or there is none.  on_bars: None without bars.
    """

    bundle: Bundle
    is_bundle: bool
    weights: Weights
    golden: str | None
    on_bars: OnBars | None

    @property
    def is_unscaled(self) -> bool:
        return is_identity(self.bundle.manifest.scaler)


def diagnose(
    bundle: Bundle,
    series: Series | None = None,
    part: Part | None = None,
    *,
    is_bundle: bool = True,
    others: Iterable[Series] = (),
    progress: Progress | None = None,
) -> Diagnosis:
    """series, part: the bars and the windows to look at, of `windows_of`; both or neither.

    others: other symbols' bars, to look for those that a foreign scaler fits; read only then.  progress: told of
    `work(bundle, part)` windows.  Raises BundleError for weights that do not fit their architecture, DataError for
    features that float32 cannot hold.
    """
    manifest = bundle.manifest
    engine = TorchEngine(bundle, "cpu")
    weights = weights_of(bundle.weights, manifest.architecture["kind"], manifest.columns)
    golden = _golden(manifest, engine) if is_bundle and not weights.not_finite else None
    on_bars = None
    if series is not None and part is not None:
        # ONNX Runtime's LSTM turns a NaN among the weights into plausible numbers
        honest = engine if weights.not_finite else None
        on_bars = _on_bars(bundle, series, part, others, honest, progress)
    return Diagnosis(bundle, is_bundle, weights, golden, on_bars)


def windows_of(series: Series, window: int, newest: int | None) -> Part:
    """The windows to look at: all, or the newest so many, in a row. Raises DataError where there is none."""
    part = all_ends(series, window, 0)
    return part if newest is None else Part(part.ends[-newest:], part.window, part.horizon)


def work(bundle: Bundle, part: Part) -> int:
    """How many windows `diagnose` answers."""
    return len(part) + (0 if is_identity(bundle.manifest.scaler) else len(_some(part)))


def _on_bars(
    bundle: Bundle,
    series: Series,
    part: Part,
    others: Iterable[Series],
    engine: Engine | None,
    progress: Progress | None,
) -> OnBars:
    manifest, per_day = bundle.manifest, DAY_MS / series.interval_ms
    rows = series.rows[part.bars.start : part.bars.stop]
    if np.abs(rows).max() > np.finfo(np.float32).max:
        raise DataError(
            f"{series.path}: expected features that float32 can hold, got {np.abs(rows).max():g}; mend them"
        )
    features = feature_fit(rows, manifest.columns, manifest.scaler, bars_per_day=per_day)
    scaled = (rows - np.array(manifest.scaler.mean)) / np.array(manifest.scaler.scale)
    is_foreign = features.is_foreign and not features.displaced and not is_identity(manifest.scaler)
    fits = fitting_symbol(others, manifest.scaler, bars_per_day=per_day) if is_foreign else None
    if series.times_ms is None:
        training, why_no_training = None, f"{series.path.name} has no times"
    else:
        training, why_no_training = training_features(series, manifest, GateSettings())

    raw = forward(bundle, series.rows, part.ends, progress=progress, engine=engine).raw_logits
    calibration = Calibration(manifest.calibration.clamp, manifest.calibration.temperature)
    plain = replace(calibration, temperature=1.0)
    served = stage(f"as served, T = {calibration.temperature:.4g}", raw, calibration, in_a_row=True)
    is_unscaled = is_identity(manifest.scaler)
    return OnBars(
        bars=_bars(series, part),
        windows=len(part),
        not_finite=int((~np.isfinite(raw).all(axis=1)).sum()),
        features=features,
        farthest=_bar(series, part.bars.start + features.farthest.largest_row),
        scale=feature_scale(scaled, manifest.columns, GateSettings()),
        training=training,
        why_no_training=why_no_training,
        fits=fits,
        unscaled=None if is_unscaled else _unscaled(bundle, series, part, plain, engine, progress),
        scaled=stage("unscaled, T = 1" if is_unscaled else "scaled, T = 1", raw, plain, in_a_row=True),
        served=served,
        days=shares_by_day(served.said, round(per_day)) if served and not served.not_finite else np.empty((0, 3)),
    )


def _unscaled(
    bundle: Bundle, series: Series, part: Part, plain: Calibration, engine: Engine | None, progress: Progress | None
) -> Stage | None:
    """What it would say if its scaler were forgotten, as happened in production twice."""
    width = len(bundle.manifest.columns)
    nothing = ScalerValues(mean=[0.0] * width, scale=[1.0] * width)
    forgetful = replace(bundle, manifest=bundle.manifest.model_copy(update={"scaler": nothing}))
    engine = TorchEngine(forgetful, "cpu") if engine else None
    raw = forward(forgetful, series.rows, _some(part), progress=progress, engine=engine).raw_logits
    return stage("unscaled, T = 1", raw, plain, in_a_row=False)


def _some(part: Part) -> npt.NDArray[np.int64]:
    """UNSCALED_WINDOWS window ends of a part, evenly spaced; all where it has fewer."""
    places = np.linspace(0, len(part) - 1, min(UNSCALED_WINDOWS, len(part))).astype(np.int64)
    return part.ends[places]


def _golden(manifest: Manifest, engine: Engine) -> str | None:
    output = engine.predict_rows(golden_window(manifest.scaler, manifest.window)[None])
    return golden_mismatch(manifest, output.raw_logits[0], output.probabilities[0])


def _bar(series: Series, row: int) -> str:
    return f"row {row:,}" if series.times_ms is None else f"{iso(int(series.times_ms[row]))[:16].replace('T', ' ')} UTC"


def _bars(series: Series, part: Part) -> str:
    if series.times_ms is None:
        return f"{series.path.name}, {len(part.bars):,} bars, rows {part.bars.start:,} to {part.bars.stop - 1:,}"
    span = series.span_of(part)
    return f"{series.path.name}, {span.bars:,} bars, {span.start[:16]} to {span.end[:16]} UTC"
