"""A bundle and bars that its weights have not seen -> another temperature, and what that is worth.

    split      the unseen windows, cut in time: calibration part, embargo, test part
    predict    both parts' logits and labels: two Samples
    fit        calibration part -> Fitted: the temperature, its interval, a threshold for a wished-for accuracy
    evaluate   test part -> Evaluation: how good these are, and other temperatures beside them
    write      a new version of the bundle

`fit` never sees the test part, and every quality that is reported comes from `evaluate`, which fits nothing.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from export.dependence import FEWEST_TO_JUDGE, effective_labels, require_count, require_labels
from export.forward import Progress, forward
from export.quality import fit_targets, judged_on, probabilities_of, report_of
from export.scores import (
    Gains,
    ReliabilityBin,
    Scores,
    class_shares,
    gains,
    log_losses,
    null_calibration_errors,
    reliability,
    score,
)
from export.selective import SMALLEST, Threshold, at_threshold, threshold_for
from export.series import Series
from export.split import Part, cut
from export.temperature import (
    HIGHEST,
    LOWEST,
    TemperatureFit,
    fit_temperature,
    temperature_for_confidence,
    temperature_interval,
)
from export.unseen import overlaps, unseen
from export.versions import revise
from signalserve import CLASSES
from signalserve.bundle import Bundle, CalibrationValues, Manifest, Span
from signalserve.bundle import Labels as Taught
from signalserve.candles import iso
from signalserve.drift.kept import KeptStream
from signalserve.drift.reference import Reference
from signalserve.errors import DataError
from signalserve.intervals import Interval
from signalserve.pipeline import Calibration

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

GRID: Final = (1.0, 2.0, 3.0, 5.0, 7.0, 8.0, 10.0)
"""Temperatures to compare with: those that the models' owners have set by hand, and what lies between."""

ACTED_ON: Final = (0.75, 0.9)
"""Confidences: the bot trades from the first, the gates look at the second."""

PERFECT: Final = 0.95
"""The share of perfectly calibrated models whose calibration error on as many labels would stay below the limit."""

OTHER_SHARES: Final = (0.5, 0.6, 0.7, 0.8, 0.9)
"""For fitting: those that are looked at where the share asked for leaves one of the parts too small."""

CURVE_POINTS: Final = 100
COVERAGES: Final = np.geomspace(1, 0.001, 40)
"""Where the risk-coverage curve is drawn; closer where few predictions are left, and the accuracy moves most."""


@dataclass(frozen=True)
class Sample:
    """One part's predictions, one a bar, in time order.

    model: its name, for messages.  span: the bars behind them.  raw_logits: (m, classes known).  labels: (m,), 0 … 2.
    """

    model: str
    span: Span
    raw_logits: Floats
    labels: Labels

    @property
    def knows_neutral(self) -> bool:
        return int(self.raw_logits.shape[1]) == len(CLASSES)

    @property
    def judged(self) -> "Sample":
        """The predictions that can be judged: of a model that knows only DOWN and UP, those where one of them came."""
        chosen = judged_on(self.raw_logits, self.labels)
        return Sample(self.model, self.span, self.raw_logits[chosen], self.labels[chosen])


@dataclass(frozen=True)
class Target:
    """A temperature set for a wished-for mean confidence of low … high, on the calibration part."""

    low: float
    high: float
    temperature: float


@dataclass(frozen=True)
class Fitted:
    """What the calibration part says.

    interval: of the likeliest temperature.  effective_labels: independent ones that the labels are worth.
    class_shares: (3,), the forecast that a model has to beat.  threshold: as `threshold_for` finds it for `accuracy`,
    in confidence at `temperature`; None where none does.  curve_nll: nats, at the temperatures of `curve`.
    """

    fit: TemperatureFit
    interval: Interval
    effective_labels: float
    target: Target | None
    class_shares: Floats
    accuracy: float
    threshold: Threshold | None
    curve: Floats
    curve_nll: Floats

    @property
    def temperature(self) -> float:
        """The one that the new version takes."""
        return self.target.temperature if self.target else self.fit.temperature

    @property
    def method(self) -> str:
        """For the manifest."""
        return f"target mean confidence {self.target.low:.2f}:{self.target.high:.2f}" if self.target else "nll"


@dataclass(frozen=True)
class AtTemperature:
    """What the test part shows at one temperature.

    calibration_error_limit: what PERFECT of all perfectly calibrated models with these confidences would stay below.
    acted_on: one for each of ACTED_ON.  confidence: (n,).
    """

    temperature: float
    scores: Scores
    calibration_error_limit: float
    acted_on: tuple[Threshold, ...]
    reliability: list[ReliabilityBin]
    confidence: Floats

    @property
    def is_calibrated(self) -> bool:
        """Whether chance explains its calibration error."""
        return self.scores.calibration_error <= self.calibration_error_limit


@dataclass(frozen=True)
class Evaluation:
    """What the test part says of what was fitted.

    at: by ascending temperature: GRID, the likeliest, the bundle's so far, the target's.  gains: of the new
    temperature, over the calibration part's class shares and over the test part's own.  threshold: what comes of
    Fitted.threshold here.  coverage: the risk-coverage curve at the new temperature, from all predictions to few.
    curve_nll: nats, at the temperatures of Fitted.curve.
    """

    at: list[AtTemperature]
    gains: Gains
    threshold: Threshold | None
    coverage: list[Threshold]
    curve_nll: Floats

    def at_temperature(self, temperature: float) -> AtTemperature:
        return next(found for found in self.at if found.temperature == temperature)


@dataclass(frozen=True)
class Recalibration:
    """All of it.

    data: the file of bars, by name and sha256.  kept: the test part's predictions, for the bundle.  description: of
    these at the new temperature, all that its `reference.json` would hold.
    """

    bundle: Bundle
    taught: Taught
    data: Mapping[str, str]
    calibration: Sample
    test: Sample
    kept: KeptStream
    fitted: Fitted
    evaluation: Evaluation
    description: Mapping[str, Any]

    @property
    def drift(self) -> Reference:
        """What monitoring would hold the new version against."""
        return Reference.from_json(self.description["drift"])

    @property
    def was_fitted_on_test(self) -> bool:
        """Whether the bundle's temperature so far has seen the test part, which then flatters it."""
        return overlaps(self.bundle.manifest.spans.calibration, self.test.span)

    @property
    def why_not_write(self) -> str | None:
        """Why a new version would be no better; None where it may be. It would take the bundle's verdict away.

        A temperature that was wished for is always another one, and so are labels that the bundle did not name.
        """
        old, fitted = self.bundle.manifest, self.fitted
        if fitted.target:
            return None
        if fitted.fit.at_bound:
            return f"the data bounds no temperature (the search ended at T = {fitted.temperature:,.4g})"
        if self.taught == old.labels and fitted.interval.low <= old.calibration.temperature <= fitted.interval.high:
            return "the data asks for no change"
        return None


def split(
    series: Series, manifest: Manifest, taught: Taught, share: float, *, assume_unseen: bool = False
) -> tuple[Part, Part]:
    """The windows that the weights have not seen: the first `share` to fit to, and after an embargo those to judge on.

    share: above 0, below 1.  assume_unseen: as for `unseen`.
    Raises DataError as `unseen` does, and where a side holds too few labels: the first to fit anything, the second to
    judge it. It names another share that would do, if there is one.
    """
    horizon, model = taught.horizon_bars, f"{manifest.generation} of {manifest.symbol}"
    part = unseen(series, manifest, horizon, by_calibration_too=False, assume_unseen=assume_unseen)
    labels = series.labels(horizon, taught.neutral_band)
    classes = 3 if manifest.knows_neutral else 2

    def parts(share: float) -> tuple[Part, Part]:
        try:
            both = cut(part, share)
        except ValueError as error:
            raise DataError(f"{error}; give more bars") from None
        samples = [Sample(model, series.span_of(one), np.empty((len(one), classes)), labels[one.ends]) for one in both]
        calibration, test = (sample.judged for sample in samples)
        _require(calibration, horizon, len(part))
        require_count(test.labels, horizon, FEWEST_TO_JUDGE, f"judge {model}{_judged_where(test)}", windows=len(part))
        return both

    try:
        return parts(share)
    except DataError as error:
        other = _share_that_would_do(parts)
        instead = f", or pass --fit-share {other:g}, with which these would do" if other else ""
        raise DataError(f"{series.path}: {error}{instead}") from None


def predict(
    bundle: Bundle, series: Series, taught: Taught, parts: tuple[Part, Part], progress: Progress | None = None
) -> tuple[Sample, Sample]:
    """Both parts' logits and labels. Raises DataError where the network gives NaN or infinity."""
    labels = series.labels(taught.horizon_bars, taught.neutral_band)
    calibration, test = parts
    ends = np.concatenate([calibration.ends, test.ends])
    raw_logits = forward(bundle, series.rows, ends, progress=progress).raw_logits
    bad: npt.NDArray[np.bool_] = np.logical_not(np.isfinite(raw_logits).all(axis=1))
    if bad.any():
        raise DataError(
            f"{bundle.name}: expected finite logits, got NaN or infinity in {bad.sum():,} of {len(bad):,} windows, the "
            f"first at {iso(series.times()[ends[bad.argmax()]])}; run signalserve diagnose on it"
        )
    return (
        Sample(bundle.name, series.span_of(calibration), raw_logits[: len(calibration)], labels[calibration.ends]),
        Sample(bundle.name, series.span_of(test), raw_logits[len(calibration) :], labels[test.ends]),
    )


def fit(
    calibration: Sample,
    clamp: float,
    horizon: int,
    *,
    accuracy: float,
    target: tuple[float, float] | None = None,
    share: float = 1.0,
) -> Fitted:
    """Everything that is learned, from the calibration part alone.

    clamp: of the logits.  horizon: bars that a label looks ahead.  accuracy: wished for, 0 … 1.  target: the mean
    confidence to set the temperature for instead, low and high, 0 … 1.  share: of all windows, that the part is; to
    say how many more it would take.
    Raises DataError for too few labels, for logits that no temperature changes, with the optimiser's reason where it
    fails, and for a target out of reach.
    """
    judged = calibration.judged
    _require(judged, horizon, round(len(calibration.labels) / share))
    if not np.ptp(judged.raw_logits.clip(-clamp, clamp), axis=1).any():
        raise DataError(
            f"{calibration.model}: expected logits that differ between the classes, got the same for all of them in "
            "every window, which no temperature changes; run signalserve diagnose on it"
        )
    targets = fit_targets(judged.raw_logits, judged.labels)
    try:
        found = fit_temperature(judged.raw_logits, targets, clamp)
        interval = temperature_interval(judged.raw_logits, targets, clamp, horizon)
    except RuntimeError as error:
        raise DataError(f"{calibration.model}: {error}; run signalserve diagnose on it, or give other bars") from None
    set_for = target and Target(*target, temperature_for_confidence(judged.raw_logits, clamp, *target))
    temperature = set_for.temperature if set_for else found.temperature
    confidence, hits = _confidence_and_hits(judged, Calibration(clamp, temperature))
    curve = np.geomspace(
        max(LOWEST, min(0.5, interval.low / 2)), min(HIGHEST, max(20, 2 * interval.high)), CURVE_POINTS
    )
    return Fitted(
        fit=found,
        interval=interval,
        effective_labels=effective_labels(judged.labels, horizon),
        target=set_for,
        class_shares=class_shares(judged.labels),
        accuracy=accuracy,
        threshold=threshold_for(confidence, hits, accuracy, horizon),
        curve=curve,
        curve_nll=_nll_at(judged, clamp, curve),
    )


def evaluate(test: Sample, fitted: Fitted, clamp: float, horizon: int, old_temperature: float) -> Evaluation:
    """What the fitted values are worth on the test part, beside GRID and the temperature so far.

    Raises DataError for a part too short for an interval.
    """
    judged = test.judged
    new = Calibration(clamp, fitted.temperature)
    confidence, hits = _confidence_and_hits(judged, new)
    chosen = fitted.threshold
    temperatures = sorted({*GRID, fitted.fit.temperature, fitted.temperature, old_temperature})
    return Evaluation(
        at=[_at(judged, Calibration(clamp, temperature), horizon) for temperature in temperatures],
        gains=gains(probabilities_of(judged.raw_logits, new), judged.labels, fitted.class_shares, horizon),
        threshold=at_threshold(confidence, hits, chosen.threshold, horizon) if chosen else None,
        coverage=_coverage(confidence, hits, horizon),
        curve_nll=_nll_at(judged, clamp, fitted.curve),
    )


def new_calibration(old: Manifest, fitted: Fitted) -> CalibrationValues:
    """What the new version takes."""
    return CalibrationValues(clamp=old.calibration.clamp, temperature=fitted.temperature, method=fitted.method)


def write(done: Recalibration, root: Path, command: str) -> Path:
    """Write the bundle's next version under root with the new temperature; returns its folder.

    Its report and its reference stream are the test part's.  Raises BundleError, and leaves nothing half-written.
    """
    old, fitted, test = done.bundle.manifest, done.fitted, done.test
    new = new_calibration(old, fitted)
    calibration = Calibration(new.clamp, new.temperature)
    report = {
        **report_of(
            test.raw_logits,
            calibration,
            test.labels,
            done.calibration.labels,
            done.taught.horizon_bars,
            earlier_part="calibration",
        ),
        "temperature_fit": {
            **asdict(fitted.fit),
            "interval": asdict(fitted.interval),
            "effective_labels": fitted.effective_labels,
            "data": dict(done.data),
        },
    }
    return revise(
        done.bundle,
        root,
        command=command,
        reference=done.description,
        kept=done.kept,
        labels=done.taught,
        calibration=new,
        spans=old.spans.model_copy(update={"calibration": done.calibration.span, "test": test.span}),
        report=report,
    )


def _require(judged: Sample, horizon: int, windows: int) -> None:
    require_labels(
        judged.labels,
        horizon,
        f"fit a temperature to {judged.model}{_judged_where(judged)}",
        knows_neutral=judged.knows_neutral,
        windows=windows,
    )


def _judged_where(sample: Sample) -> str:
    return "" if sample.knows_neutral else " where UP or DOWN came"


def _share_that_would_do(parts: Callable[[float], object]) -> float | None:
    """The first of OTHER_SHARES for which `parts` raises no DataError."""
    for share in OTHER_SHARES:
        with suppress(DataError):
            parts(share)
            return share
    return None


def _confidence_and_hits(sample: Sample, calibration: Calibration) -> tuple[Floats, npt.NDArray[np.bool_]]:
    probabilities = probabilities_of(sample.raw_logits, calibration)  # (n, 3)
    return probabilities.max(axis=1), probabilities.argmax(axis=1) == sample.labels


def _nll_at(sample: Sample, clamp: float, temperatures: Floats) -> Floats:
    """Mean negative log-likelihood at each temperature, nats, (m,)."""
    forecasts = (probabilities_of(sample.raw_logits, Calibration(clamp, float(t))) for t in temperatures)
    return np.array([log_losses(forecast, sample.labels).mean() for forecast in forecasts])


def _at(sample: Sample, calibration: Calibration, horizon: int) -> AtTemperature:
    confidence, hits = _confidence_and_hits(sample, calibration)
    return AtTemperature(
        temperature=calibration.temperature,
        scores=score(probabilities_of(sample.raw_logits, calibration), sample.labels, horizon),
        calibration_error_limit=float(np.quantile(null_calibration_errors(confidence, horizon), PERFECT)),
        acted_on=tuple(at_threshold(confidence, hits, limit, horizon) for limit in ACTED_ON),
        reliability=reliability(confidence, hits, horizon),
        confidence=confidence,
    )


def _coverage(confidence: Floats, hits: npt.NDArray[np.bool_], horizon: int) -> list[Threshold]:
    """The risk-coverage curve near COVERAGES, as far as SMALLEST effective predictions are left."""
    thresholds = np.unique(np.quantile(confidence, 1 - COVERAGES, method="higher"))  # ascending: the first keeps all
    points = [at_threshold(confidence, hits, float(threshold), horizon) for threshold in thresholds]
    return [point for i, point in enumerate(points) if i == 0 or point.effective_n >= SMALLEST]
