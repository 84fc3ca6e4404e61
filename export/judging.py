"""A bundle and bars it has not seen -> its gates, judged on three sets of windows.

    same windows   a fixed draw, identical for every model of the symbol that may be judged on these bars
    recent         the most recent stretch
    volatile       the stretch in which the close moved most

All three lie after the bars that taught the weights and fitted the temperature, and share windows with each other:
they are three looks at one stretch of time, not three independent ones.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from math import ceil
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from export.bootstrap import FEWEST_BLOCKS, mean_interval
from export.forward import Progress, forward
from export.gates import (
    FeatureScale,
    Figure,
    Gate,
    GateSettings,
    Predictions,
    feature_scale,
    features_gate,
    prediction_gates,
)
from export.quality import judged_on
from export.scores import by_class, class_shares
from export.series import Series
from export.shares import independent
from export.split import Part
from export.unseen import unseen
from signalserve import CLASSES
from signalserve.bundle import Bundle, Gates, Labels, Manifest, Span
from signalserve.errors import ConfigError, DataError
from signalserve.intervals import LEVEL, Interval

Floats = npt.NDArray[np.float64]
Classes = npt.NDArray[np.int64]
Times = npt.NDArray[np.int64]

TRAINING: Final = "training"
"""The set of the features' gate: the bars that the scaler was fitted on."""

EDGES: Final = np.linspace(0.3, 1.0, 29)
"""Of the confidence histogram: 0.025 wide, and 0.75 and 0.9 are edges."""

LEAST_STRETCH: Final = 3
"""Times the bars that one prediction depends on, window and horizon: a shorter stretch holds one look at the market."""

SetName = Literal["same_windows", "recent", "volatile"]


class TooFewWindows(DataError):
    """Too little lies after what the model has seen: nothing can be judged, and nothing is wrong with the model."""


# ---- which windows


@dataclass(frozen=True)
class Sample:
    """One set of windows. title: goes after "the".  words: how it was chosen, a whole sentence."""

    name: SetName
    title: str
    words: str
    part: Part
    span: Span

    @property
    def spacing(self) -> float:
        """Bars between neighbours, on average: 1 for windows in a row."""
        ends = self.part.ends
        return float(ends[-1] - ends[0]) / (len(ends) - 1) if len(ends) > 1 else 1.0


def draw_samples(
    series: Series, manifest: Manifest, horizon: int, settings: GateSettings, *, assume_unseen: bool = False
) -> tuple[Sample, Sample, Sample]:
    """The three sets, in the order of the module's docstring.

    horizon: bars that a label looks ahead.  assume_unseen: as for `unseen`.
    Raises TooFewWindows for fewer than `settings.windows`, DataError for a series without times or closes, or one
    that holds nothing unseen, ConfigError for a stretch under LEAST_STRETCH.
    """
    per_day = 86_400_000 / series.interval_ms
    wanted = _stretch("recent_days", settings.recent_days, per_day, manifest.window + horizon)
    volatile = _stretch("volatile_hours", settings.volatile_hours, per_day / 24, manifest.window + horizon)
    times = series.times()
    part = unseen(series, manifest, horizon, by_calibration_too=True, assume_unseen=assume_unseen)
    if len(part) < settings.windows:
        raise TooFewWindows(
            f"{series.path}: expected at least {settings.windows:,} windows to judge {manifest.generation} of "
            f"{manifest.symbol} on, after the bars it was trained and calibrated on, got {len(part):,}: give later bars"
        )
    ends = part.ends

    def sample(name: SetName, title: str, words: str, chosen: Classes) -> Sample:
        some = Part(chosen, part.window, part.horizon)
        return Sample(name, title, words, some, series.span_of(some))

    drawn = ends[fixed_draw(times[ends], series.symbol, settings)]
    days = len(part) / per_day
    stretch = most_volatile(series, ends, volatile)
    hours = len(stretch) / per_day * 24
    return (
        sample(
            "same_windows",
            f"same {settings.windows:,} windows",
            f"Of the {len(part):,} unseen windows those {settings.windows:,} whose times come first in an order that "
            f"depends on symbol and seed alone (draw {settings.draw}).",
            drawn,
        ),
        sample(
            "recent", f"last {settings.recent_days:g} days", "The most recent of the unseen windows.", ends[-wanted:]
        )
        if wanted <= len(part)
        else sample(
            "recent",
            f"unseen {days:.1f} days",
            f"Fewer than {settings.recent_days:g} days lie after what the model has seen: these are all {days:.1f}.",
            ends,
        ),
        sample(
            "volatile",
            f"most volatile {hours:.3g} h",
            "The unseen windows in a row that end on the bars with the largest realised volatility.",
            stretch,
        ),
    )


def _stretch(name: str, length: float, bars_per_unit: float, reach: int) -> int:
    """The bars of a stretch. reach: bars that one prediction depends on.  Raises ConfigError for too short a one."""
    bars, least = round(length * bars_per_unit), LEAST_STRETCH * reach
    if bars < least:
        raise ConfigError(
            f"{name}: expected at least {least:,} bars, {LEAST_STRETCH} times the {reach} that a prediction and its "
            f"outcome span, got {length:g}, which are {bars:,}: set it to "
            f"{ceil(1000 * least / bars_per_unit) / 1000:g} or more"
        )
    return bars


def fixed_draw(times_ms: Times, symbol: str, settings: GateSettings) -> npt.NDArray[np.intp]:
    """Positions of `settings.windows` of these windows, ascending; all where there are no more.

    times_ms: (m,), of the windows' last bars.  Each window has a rank that depends on symbol, time and seed alone,
    and the first ones are drawn. So every model with the same unseen windows gets the same ones, and models that
    have seen different bars share as many as they can, also when later bars are added.
    Source: coordinated (bottom-k) sampling, Cohen and Kaplan 2007, Summarizing Data using Bottom-k Sketches.
    """
    ranks = [hashlib.blake2b(f"{settings.draw} {symbol} {time}".encode(), digest_size=8).digest() for time in times_ms]
    first = sorted(range(len(ranks)), key=ranks.__getitem__)[: settings.windows]
    return np.sort(np.array(first, dtype=np.intp))


def most_volatile(series: Series, ends: Classes, length: int) -> Classes:
    """Of consecutive window ends those `length` in a row with the largest realised volatility; all if no more.

    Realised volatility: the root of the sum of squared one-bar log returns (Andersen and Bollerslev 1998).
    Raises DataError where the series has no closes.
    """
    if series.close is None:
        raise DataError(f"{series.path}: expected a column of closes, which tells where prices moved; add `close`")
    length = min(max(1, length), len(ends))
    squares = np.diff(np.log(series.close))[ends - 1] ** 2  # (m,), of the return that ends on each window's last bar
    sums = np.concatenate([[0.0], squares.cumsum()])
    first = int(np.argmax(sums[length:] - sums[:-length]))
    return ends[first : first + length]


# ---- what they say


@dataclass(frozen=True)
class Benchmark:
    """Accuracy beside what is reached without a model, on the windows that can be judged.

    n: these.  independent: what they are worth; None where too few to tell.  commonest: the class that came most
    often here, known only afterwards, and its share.  majority: the class that was most frequent in training, how
    often always saying it is right here, and by how much the model is better; None where nobody knows its training.
    """

    n: int
    independent: float | None
    accuracy: float
    commonest: str
    commonest_share: float
    majority: str | None
    majority_accuracy: float | None
    gain: float | None
    gain_interval: Interval | None


@dataclass(frozen=True)
class Finding:
    """One set and what was found on it.

    features: of the windows' last bars; reported and never gated: later bars are elsewhere.  confidence_shares:
    (28,) between EDGES.  said: shares of the predictions.  logits: smallest and largest.  The last four and
    `benchmark` are None where no prediction is finite, or none can be judged.
    """

    sample: Sample
    features: FeatureScale
    confidence_shares: list[float] | None
    said: dict[str, float] | None
    logits: tuple[float, float] | None
    benchmark: Benchmark | None


@dataclass(frozen=True)
class Judgement:
    """Every figure of every gate, and what is needed to read them.

    training: how far the scaled features of the scaler's own bars are from mean 0 and deviation 1, if these are here.
    """

    bundle: Bundle
    bars: str
    labels: Labels
    settings: GateSettings
    figures: tuple[Figure, ...]
    findings: tuple[Finding, ...]
    training: FeatureScale | None
    judged_at: str

    def figures_of(self, gate: Gate) -> list[Figure]:
        return [figure for figure in self.figures if figure.gate == gate]

    def passes(self, gate: Gate) -> bool:
        """Whether every figure on every set is within its limit."""
        return all(figure.passed for figure in self.figures_of(gate))

    @property
    def passed(self) -> list[Gate]:
        return [gate for gate in self.settings.required if self.passes(gate)]

    @property
    def failed(self) -> list[Gate]:
        return [gate for gate in self.settings.required if not self.passes(gate)]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON: what the manifest keeps."""
        return {
            "schema_version": 1,
            "judged_at": self.judged_at,
            "bars": self.bars,
            "labels": self.labels.model_dump(),
            "required": list(self.settings.required),
            "settings": self.settings.model_dump(mode="json"),
            "sets": {finding.sample.name: _told(finding) for finding in self.findings},
            "figures": [figure.as_dict() for figure in self.figures],
        }

    def as_gates(self) -> Gates:
        return Gates(passed=list(self.passed), failed=list(self.failed), report=self.as_dict())


def judge_bundle(
    bundle: Bundle,
    series: Series,
    samples: Sequence[Sample],
    labels: Labels,
    settings: GateSettings,
    *,
    progress: Progress | None = None,
) -> Judgement:
    """Run the bundle once over the windows of all sets and judge its gates on each.

    series: in the bundle's column order.  samples: of `draw_samples`.  labels: what the model was taught.
    progress: told how many of `windows_of(samples)` have just been done.  Changes nothing.
    """
    manifest = bundle.manifest
    training, why_not = training_features(series, manifest, settings)
    damaged = sum(int((~np.isfinite(array)).sum()) for array in bundle.weights.values())
    outcomes = series.labels(labels.horizon_bars, labels.neutral_band)
    earlier = training_shares(series, outcomes, manifest, labels.horizon_bars)
    ends = windows_of(samples)
    output = forward(bundle, series.rows, ends, progress=progress)

    figures, findings = features_gate(training, settings, TRAINING, why_not), []
    for sample in samples:
        rows = np.searchsorted(ends, sample.part.ends)
        seen = Predictions(
            raw_logits=output.raw_logits[rows],
            probabilities=output.probabilities[rows],
            labels=outcomes[sample.part.ends],
            window=sample.part.window,
            horizon=sample.part.horizon,
            spacing=sample.spacing,
        )
        figures += prediction_gates(seen, damaged, settings, sample.name)
        scaled = _scaled(series.rows[sample.part.ends], manifest)
        findings.append(_finding(sample, seen, feature_scale(scaled, manifest.columns, settings), earlier))
    return Judgement(
        bundle=bundle,
        bars=series.path.name,
        labels=labels,
        settings=settings,
        figures=tuple(figures),
        findings=tuple(findings),
        training=training,
        judged_at=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
    )


def windows_of(samples: Sequence[Sample]) -> Classes:
    """The window ends of all sets, ascending, each once."""
    return np.unique(np.concatenate([sample.part.ends for sample in samples]))


def training_features(series: Series, manifest: Manifest, settings: GateSettings) -> tuple[FeatureScale | None, str]:
    """How well the scaler fits the bars it was fitted on; None, and why, where these are not in the file."""
    span = manifest.spans.scaler_fit
    if span is None:
        return None, "the bundle does not say which bars its scaler was fitted on; import it with --trained START END"
    rows = _rows_of(series, span)
    if rows is None:
        return None, (
            f"the bars of its scaler, {span.start} to {span.end}, are not all in {series.path.name}; give a folder "
            "whose file also holds these"
        )
    return feature_scale(_scaled(series.rows[rows.start : rows.stop], manifest), manifest.columns, settings), ""


def training_shares(series: Series, outcomes: Classes, manifest: Manifest, horizon: int) -> Floats | None:
    """The class shares of the training part, (3,), of the classes that the model knows.

    From the bars where they are in the file, else from the bundle's own report; None where neither tells.
    """
    span = manifest.spans.train
    rows = _rows_of(series, span) if span else None
    if rows is not None:
        labels = outcomes[rows.start + manifest.window - 1 : rows.stop - horizon]
        known = labels[judged_on(np.empty((len(labels), 3 if manifest.knows_neutral else 2)), labels)]
        if len(known):
            return class_shares(known)
    told = manifest.report.get("train_base_rates")
    return np.array([told[name] for name in CLASSES]) if told else None


def _rows_of(series: Series, span: Span) -> range | None:
    """The settled rows of a span; None where the file does not hold all of it, or none is settled."""
    times = series.times()
    start, end = (round(datetime.fromisoformat(time).timestamp() * 1000) for time in (span.start, span.end))
    if start < times[0] or end > times[-1]:
        return None
    first, stop = int(np.searchsorted(times, start)), int(np.searchsorted(times, end, side="right"))
    rows = range(max(first, series.first_row), stop)
    return rows if len(rows) else None


def _scaled(rows: Floats, manifest: Manifest) -> Floats:
    return np.asarray((rows - np.array(manifest.scaler.mean)) / np.array(manifest.scaler.scale))


def _finding(sample: Sample, seen: Predictions, features: FeatureScale, earlier: Floats | None) -> Finding:
    if not seen.finite.any():
        return Finding(sample, features, None, None, None, None)
    confidence, logits = seen.confidence[seen.finite], seen.raw_logits[seen.finite]
    counts, _ = np.histogram(confidence, EDGES)
    return Finding(
        sample=sample,
        features=features,
        confidence_shares=(counts / len(confidence)).tolist(),
        said=by_class(class_shares(seen.said[seen.finite])),
        logits=(float(logits.min()), float(logits.max())),
        benchmark=_benchmark(seen, earlier) if seen.judged.any() else None,
    )


def _benchmark(seen: Predictions, earlier: Floats | None) -> Benchmark:
    judged, came = seen.judged, class_shares(seen.labels[seen.judged])
    commonest = int(came.argmax())
    majority = None if earlier is None else int(earlier.argmax())
    gain: tuple[float | None, Interval | None] = (None, None)
    if majority is not None:
        gain = _mean_among(seen.hits.astype(np.float64) - (seen.labels == majority), judged, seen.sharing_labels)
    return Benchmark(
        n=int(judged.sum()),
        independent=independent(seen.hits, judged, seen.sharing_labels),
        accuracy=float(seen.hits[judged].mean()),
        commonest=CLASSES[commonest],
        commonest_share=float(came[commonest]),
        majority=None if majority is None else CLASSES[majority],
        majority_accuracy=None if majority is None else float(came[majority]),
        gain=gain[0],
        gain_interval=gain[1],
    )


def _mean_among(values: Floats, among: npt.NDArray[np.bool_], block: int) -> tuple[float, Interval | None]:
    """The mean of some values of a series and its interval, by the bootstrap of the linearised ratio."""
    n, count = len(among), int(among.sum())
    mean = float(values[among].mean())
    if n < FEWEST_BLOCKS * block:
        return mean, None
    return mean, mean_interval(mean + np.where(among, values - mean, 0.0) * n / count, block, level=LEVEL)


def _told(finding: Finding) -> dict[str, Any]:
    sample = finding.sample
    return {
        "title": sample.title,
        "words": sample.words,
        "windows": len(sample.part),
        "span": sample.span.model_dump(),
        "features": asdict(finding.features),
        "said": finding.said,
        "raw_logits": None if finding.logits is None else list(finding.logits),
        "benchmark": None if finding.benchmark is None else asdict(finding.benchmark),
    }
