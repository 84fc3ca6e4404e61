"""A V6-fixed and a V8 of one symbol, and their pools, on the same windows: who forecasts better, and is that certain?

The windows come after everything that taught either model, and fall into two parts with an embargo between them: on
the calibration part pools are fitted, on the test part everybody is judged. Nothing of the test part reaches a fit,
not even the choice between a linear and a log pool. Differences are paired, window by window, and their intervals
come from a bootstrap of blocks of time, with all symbols in the same block: symbols that move together are not
independent witnesses.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isclose, log10
from statistics import median
from time import perf_counter
from typing import Final

import numpy as np
import numpy.typing as npt

from export.bootstrap import Interval, statistic_interval
from export.dependence import effective_labels, require_labels
from export.pooling import Forecasts, PoolFit, fit_pool, given_a_move, losses_of, pooled, weight_interval
from export.quality import NEUTRAL, fit_targets, judged_on, probabilities_of
from export.scores import brier_scores, calibration_error, class_shares, log_losses, null_calibration_error
from export.selective import Threshold, at_threshold
from export.series import Series, Source, read_series
from export.split import Part, cut
from export.temperature import TemperatureFit, fit_temperature
from export.unseen import unseen
from signalserve import CLASSES
from signalserve.bundle import Bundle, Labels, Manifest
from signalserve.engine import Engine, Output
from signalserve.ensemble import PoolMethod
from signalserve.errors import ConfigError, DataError
from signalserve.pipeline import Calibration
from signalserve.settings import GENERATIONS

Floats = npt.NDArray[np.float64]
Times = npt.NDArray[np.int64]
ClassIds = npt.NDArray[np.int64]

HAND_WEIGHT: Final = 0.4
"""V6-fixed's weight in `serving.yaml` as it is delivered."""

FIT_SHARE: Final = 0.5
"""Of the windows that neither model learned from, where no manifest says where its temperature was fitted."""

NULL_ROUNDS: Final = 200
"""Simulated calibration errors of a perfect model: the largest 5 % of them are ten."""

SINGLES, BATCHES = 50, 5
"""How often a single window and a batch are timed."""

V6, V8 = GENERATIONS
BASE_RATES: Final = "base rates"
METHODS: Final[tuple[PoolMethod, ...]] = ("linear", "log")
BY_HAND: Final[dict[PoolMethod, str]] = {method: f"{method} by hand" for method in METHODS}
WEIGHTED: Final[dict[PoolMethod, str]] = {method: f"{method}, w" for method in METHODS}
FULL_FIT: Final[dict[PoolMethod, str]] = {method: f"{method}, w & T" for method in METHODS}
UNCALIBRATED: Final = "linear of T = 1, w & T"
LIKELIEST: Final = {V6: f"{V6} at its likeliest T", V8: f"{V8} at its likeliest T"}
"""Each model with its temperature fitted here by likelihood, whatever it is served with: how sure it honestly is."""


@dataclass(frozen=True)
class Contest:
    """What is compared, on which windows. bundles, series: V6-fixed's, then V8's.  labels: (bars,) of the series."""

    symbol: str
    bundles: tuple[Bundle, Bundle]
    series: tuple[Series, Series]
    taught: Labels
    labels: ClassIds
    calibration: Part
    test: Part

    @property
    def knows_neutral(self) -> bool:
        return all(bundle.manifest.knows_neutral for bundle in self.bundles)

    @property
    def ends(self) -> Times:
        """Of the windows of both parts, in time order."""
        return np.concatenate([self.calibration.ends, self.test.ends])


@dataclass(frozen=True)
class Contestant:
    """Who forecasts, and how.

    weight: V6-fixed's in a pool, None for one model.  interval: of a fitted weight.  adoptable: whether `serving.yaml`
    can say it.  at_bound: the end of its range where the fitted temperature stopped.
    """

    name: str
    how: str
    method: PoolMethod | None = None
    weight: float | None = None
    interval: Interval | None = None
    temperature: float = 1.0
    at_bound: str | None = None
    adoptable: bool = True


@dataclass(frozen=True)
class Stream:
    """Everybody's forecasts of the same windows, and what came, in time order.

    symbols: whose; at one time there is at most one window of each.  times_ms, labels: (n,).  forecasts: name ->
    (n, 3).  horizon: bars that a label looks ahead.
    """

    symbols: tuple[str, ...]
    times_ms: Times
    labels: ClassIds
    forecasts: Mapping[str, Floats]
    horizon: int
    interval_ms: int

    @property
    def overlap(self) -> int:
        """Neighbours whose labels overlap: `horizon` bars, each with a window of every symbol."""
        return self.horizon * len(self.symbols)


@dataclass(frozen=True)
class Estimate:
    """A mean over the windows, and where the truth may lie."""

    value: float
    interval: Interval


@dataclass(frozen=True)
class Confidence:
    """How sure the forecasts are, and whether rightly.

    error: of calibration.  null: its mean under perfect calibration.  limit: what only 5 % of perfectly calibrated
    models exceed.
    """

    mean: float
    error: float
    null: float
    limit: float

    @property
    def calibrated(self) -> bool:
        return self.error <= self.limit


@dataclass(frozen=True)
class Figures:
    """How one contestant did on the test part.

    predicted_shares: (3,).  acted_on: what comes of acting on confidences of at least the threshold.
    """

    accuracy: Estimate
    nll: Estimate
    brier: Estimate
    confidence: Confidence
    predicted_shares: list[float]
    acted_on: Threshold


@dataclass(frozen=True)
class Difference:
    """One contestant's scores less another's, window by window. Negative NLL and Brier: the first is better."""

    first: str
    second: str
    nll: Estimate
    brier: Estimate
    accuracy: Estimate

    @property
    def better(self) -> str | None:
        """Who has the lower NLL, where the interval leaves 0 out; None where no difference can be shown."""
        if self.nll.interval.high < 0:
            return self.first
        return self.second if self.nll.interval.low > 0 else None


@dataclass(frozen=True)
class Judged:
    """Everything that the test part shows of a symbol, or of all together.

    scope: the symbol, or what to call all.  pool: which of the contestants is the fitted pool.  likeliest: each
    generation's confidence at its likeliest temperature.  base_rates: (3,), what came.
    """

    scope: str
    n: int
    effective_n: float
    pool: str
    figures: Mapping[str, Figures]
    likeliest: Mapping[str, Confidence]
    differences: tuple[Difference, ...]
    base_rates: list[float]

    def difference(self, first: str, second: str) -> Difference:
        return next(d for d in self.differences if (d.first, d.second) == (first, second))


@dataclass(frozen=True)
class Cost:
    """Of one prediction here and now, ms a window: alone, and in a batch of `batch`. device: where the engine ran."""

    single_ms: float
    batch_ms: float
    batch: int
    device: str


@dataclass(frozen=True)
class LogitRange:
    """lowest, highest: of the raw logits of the test part.  beyond_clamp: share of windows with one beyond ±clamp."""

    lowest: float
    highest: float
    beyond_clamp: float


@dataclass(frozen=True)
class Comparison:
    """All that one symbol's test part shows. fits: each method's likeliest pool of the served forecasts.

    test_curves: NLL on the test part of each point of a fit's curve, for looking at only.
    """

    contest: Contest
    contestants: tuple[Contestant, ...]
    fits: Mapping[PoolMethod, PoolFit]
    test_curves: Mapping[PoolMethod, list[float]]
    temperatures: Mapping[str, TemperatureFit]
    stream: Stream
    logits: Mapping[str, LogitRange]
    effective_calibration: float


def prepare(
    source: Source,
    bundles: tuple[Bundle, Bundle],
    taught: tuple[Labels, Labels],
    *,
    fit_share: float | None = None,
    assume_unseen: bool = False,
) -> Contest:
    """Read the bars of a V6-fixed and a V8 of one symbol, and find the windows that neither has seen.

    taught: each model's labels.  fit_share: of these windows, to fit pools to; by default all up to where the later
    of the two temperatures was fitted.  Raises ConfigError for models that cannot be compared, DataError for bars that
    do not suffice.
    """
    check_comparable(bundles, taught)
    symbol, horizon = bundles[0].manifest.symbol, taught[0].horizon_bars
    read = [read_series(source, symbol, b.manifest.columns, b.manifest.interval_ms) for b in bundles]
    series = read[0], read[1]
    calibration, test = parts(series, [b.manifest for b in bundles], horizon, fit_share, assume_unseen)
    labels = series[0].labels(horizon, taught[0].neutral_band)
    return Contest(symbol, bundles, series, taught[0], labels, calibration, test)


def check_comparable(bundles: Sequence[Bundle], taught: Sequence[Labels]) -> None:
    """Raises ConfigError unless these are a V6-fixed and a V8 that answer the same question of the same bars."""
    first, second = (bundle.manifest for bundle in bundles)
    if (first.generation, second.generation) != (V6, V8) or first.symbol != second.symbol:
        raise ConfigError(
            f"expected a {V6} and a {V8} of one symbol, got {bundles[0].name} and {bundles[1].name}: a pool of others "
            "could not be served"
        )
    if taught[0].horizon_bars != taught[1].horizon_bars or not isclose(
        taught[0].neutral_band, taught[1].neutral_band, rel_tol=1e-9
    ):
        one, other = (f"{labels.horizon_bars} bars ahead with a band of {labels.neutral_band:.3g}" for labels in taught)
        raise DataError(
            f"{first.symbol}: {V6} was taught {one}, {V8} {other}: no comparison would mean anything; give two models "
            "that were taught the same"
        )
    if (first.window, first.interval_ms) != (second.window, second.interval_ms):
        one, other = (f"{m.window} bars of {m.interval_ms / 1000:g} s" for m in (first, second))
        raise DataError(
            f"{first.symbol}: {V6} reads {one}, {V8} {other}: they never see the same window; give two models that do"
        )


def parts(
    series: Sequence[Series], manifests: Sequence[Manifest], horizon: int, fit_share: float | None, assume_unseen: bool
) -> tuple[Part, Part]:
    """The calibration and the test part: after both training spans, the test part after both calibration spans too.

    Raises DataError where one of them would be empty.
    """

    def common(by_calibration_too: bool) -> Part:
        found = [
            unseen(one, manifest, horizon, by_calibration_too=by_calibration_too, assume_unseen=assume_unseen)
            for one, manifest in zip(series, manifests, strict=True)
        ]
        return replace(found[0], ends=np.intersect1d(found[0].ends, found[1].ends))

    untaught, untouched = common(by_calibration_too=False), common(by_calibration_too=True)
    before = untaught.ends[untaught.ends + horizon < untouched.bars.start]
    if fit_share is None and len(before):
        return replace(untaught, ends=before), untouched
    try:
        calibration, later = cut(untaught, FIT_SHARE if fit_share is None else fit_share)
    except ValueError as error:
        raise DataError(f"{series[0].path}: {error}; give more bars after the training spans") from None
    test = np.intersect1d(later.ends, untouched.ends)
    if not len(test):
        raise DataError(
            f"{series[0].path}: expected bars to judge on after the calibration part and both models' calibration "
            "spans, got none; give later bars or a smaller --fit-share"
        )
    return calibration, replace(later, ends=test)


def compete(contest: Contest, outputs: tuple[Output, Output]) -> Comparison:
    """Fit pools on the calibration part, and let everybody forecast the test part.

    outputs: of each model for `contest.ends`.  Raises DataError for logits that are not finite, for too few effective
    labels to fit anything, and with the optimiser's reason where a fit fails.
    """
    for bundle, output in zip(contest.bundles, outputs, strict=True):
        if not output.finite.all():
            raise DataError(
                f"{bundle.name}: expected finite logits, got NaN or infinity on {(~output.finite).sum():,} of "
                f"{len(output.finite):,} windows; signalserve diagnose says why"
            )
    labels = contest.labels[contest.ends]
    chosen = np.logical_and(*(judged_on(output.raw_logits, labels) for output in outputs))
    fitting = np.arange(len(labels)) < len(contest.calibration)
    calibration, test = np.flatnonzero(chosen & fitting), np.flatnonzero(chosen & ~fitting)
    horizon = contest.taught.horizon_bars
    effective = require_labels(labels[calibration], horizon, f"fit pools of {contest.symbol}")
    if not len(test):
        raise DataError(f"{contest.symbol}: expected labels to judge on in the test part, got none; give later bars")

    served = np.stack([output.probabilities for output in outputs])
    plain = np.stack(
        [
            probabilities_of(output.raw_logits, Calibration(bundle.manifest.calibration.clamp, 1.0))
            for output, bundle in zip(outputs, contest.bundles, strict=True)
        ]
    )
    try:
        temperatures = {
            bundle.manifest.generation: _likeliest(contest, output.raw_logits[calibration], labels[calibration], bundle)
            for bundle, output in zip(contest.bundles, outputs, strict=True)
        }
        contestants, fits = _fit_pools(served[:, calibration], plain[:, calibration], labels[calibration], contest)
    except RuntimeError as error:
        raise DataError(f"{contest.symbol}: {error}; give more bars") from None
    forecasts = {c.name: _said(c, served[:, test], plain[:, test]) for c in contestants}
    for (generation, name), output, bundle in zip(LIKELIEST.items(), outputs, contest.bundles, strict=True):
        at = Calibration(bundle.manifest.calibration.clamp, temperatures[generation].temperature)
        forecasts[name] = probabilities_of(output.raw_logits[test], at)
    base = class_shares(labels[calibration])
    forecasts[BASE_RATES] = np.tile(base, (len(test), 1))
    if not contest.knows_neutral:
        forecasts = {name: given_a_move(said) for name, said in forecasts.items()}
    tested = Forecasts(served[:, test], labels[test], contest.knows_neutral)
    stream = Stream(
        (contest.symbol,),
        contest.series[0].times()[contest.ends[test]],
        labels[test],
        forecasts,
        horizon,
        contest.series[0].interval_ms,
    )
    return Comparison(
        contest,
        contestants,
        fits,
        {
            method: [float(losses_of(tested, point, method).mean()) for point in fit.curve]
            for method, fit in fits.items()
        },
        temperatures,
        stream,
        {
            bundle.manifest.generation: _range(output.raw_logits[test], bundle.manifest.calibration.clamp)
            for output, bundle in zip(outputs, contest.bundles, strict=True)
        },
        effective,
    )


def _fit_pools(
    served: Floats, plain: Floats, labels: ClassIds, contest: Contest
) -> tuple[tuple[Contestant, ...], dict[PoolMethod, PoolFit]]:
    """Both models, and every pool, fitted where it says so. served, plain: (2, n, 3), at the models' T and at T = 1."""
    calibrated = Forecasts(served, labels, contest.knows_neutral)
    contestants = [
        Contestant(bundle.manifest.generation, f"as served, at T = {bundle.manifest.calibration.temperature:.4g}")
        for bundle in contest.bundles
    ]
    fits: dict[PoolMethod, PoolFit] = {}
    for method in METHODS:
        contestants.append(
            Contestant(BY_HAND[method], f"{method} pool of the served forecasts, nothing fitted", method, HAND_WEIGHT)
        )
        weighted = fit_pool(calibrated, method, tempered=False)
        contestants.append(
            _fitted(
                WEIGHTED[method], f"calibrated, then pooled: {method} pool of the served forecasts, w fitted", weighted
            )
        )
        fits[method] = fit_pool(calibrated, method, tempered=True)
        how = "pooled, then calibrated" if method == "log" else "calibrated, pooled, calibrated again"
        interval = weight_interval(calibrated, fits[method], contest.taught.horizon_bars)
        contestants.append(
            _fitted(
                FULL_FIT[method],
                f"{how}: {method} pool of the served forecasts, w and T fitted",
                fits[method],
                interval,
            )
        )
    uncalibrated = fit_pool(Forecasts(plain, labels, contest.knows_neutral), "linear", tempered=True)
    how = "pooled, then calibrated: linear pool of both models at T = 1, w and T fitted"
    contestants.append(_fitted(UNCALIBRATED, how, uncalibrated, adoptable=False))
    return tuple(contestants), fits


def _fitted(
    name: str, how: str, fit: PoolFit, interval: Interval | None = None, *, adoptable: bool = True
) -> Contestant:
    """A fit in the digits that `serving.yaml` is given, so that what is judged is what would be served."""
    best = fit.best
    temperature = round(best.temperature, 3 - int(np.floor(log10(best.temperature))))  # four significant digits
    return Contestant(name, how, fit.method, round(best.weight, 4), interval, temperature, best.at_bound, adoptable)


def _said(contestant: Contestant, served: Floats, plain: Floats) -> Floats:
    """A contestant's forecasts, (n, 3). served, plain: (2, n, 3)."""
    if contestant.method is None or contestant.weight is None:
        alone: Floats = served[0 if contestant.name == V6 else 1]
        return alone
    models = served if contestant.adoptable else plain
    return pooled(models, contestant.weight, contestant.method, contestant.temperature)


def _likeliest(contest: Contest, raw_logits: Floats, labels: ClassIds, bundle: Bundle) -> TemperatureFit:
    """A model's temperature by likelihood; given a move, where the two are compared so (`given_a_move`)."""
    if not contest.knows_neutral and raw_logits.shape[1] == len(CLASSES):
        raw_logits = np.delete(raw_logits, NEUTRAL, axis=1)
    return fit_temperature(raw_logits, fit_targets(raw_logits, labels), bundle.manifest.calibration.clamp)


def _range(raw_logits: Floats, clamp: float) -> LogitRange:
    beyond = (np.abs(raw_logits) > clamp).any(axis=1).mean()
    return LogitRange(float(raw_logits.min()), float(raw_logits.max()), float(beyond))


def chosen_method(comparisons: Sequence[Comparison]) -> PoolMethod:
    """Linear or log, whichever is likelier on all calibration parts together."""

    def total(method: PoolMethod) -> float:
        return sum(c.fits[method].best.nll * c.fits[method].n for c in comparisons)

    return min(METHODS, key=total)


def check_one_horizon(contests: Sequence[Contest]) -> None:
    """Raises DataError for symbols whose labels look ahead differently: nothing could be said of all together."""
    if len({(c.taught.horizon_bars, c.series[0].interval_ms) for c in contests}) > 1:
        each = "; ".join(
            f"{c.symbol} {c.taught.horizon_bars} bars of {c.series[0].interval_ms / 1000:g} s" for c in contests
        )
        raise DataError(f"labels of the symbols look ahead differently: {each}; compare one at a time: --symbols")


def together(streams: Sequence[Stream]) -> Stream:
    """Several symbols' forecasts, of one horizon and interval, in one order of time."""
    first = streams[0]
    times = np.concatenate([s.times_ms for s in streams])
    order = np.argsort(times, kind="stable")
    return Stream(
        tuple(symbol for s in streams for symbol in s.symbols),
        times[order],
        np.concatenate([s.labels for s in streams])[order],
        {name: np.concatenate([s.forecasts[name] for s in streams])[order] for name in first.forecasts},
        first.horizon,
        first.interval_ms,
    )


def judge(stream: Stream, scope: str, pool: str, threshold: float) -> Judged:
    """Score everybody on the test part. pool: the fitted pool's name.  threshold: as for `figures_of`."""
    names = [name for name in stream.forecasts if name not in LIKELIEST.values()]
    return Judged(
        scope,
        len(stream.labels),
        effective_labels(stream.labels, stream.overlap),
        pool,
        {name: figures_of(stream, name, threshold) for name in names},
        {generation: confidence_of(stream, name) for generation, name in LIKELIEST.items()},
        tuple(difference_of(stream, first, second) for first, second in pairs(pool)),
        class_shares(stream.labels).tolist(),
    )


def pairs(pool: str) -> list[tuple[str, str]]:
    """Whom to compare with whom. pool: the fitted pool's name."""
    others = [
        (FULL_FIT["log"], FULL_FIT["linear"]),
        (UNCALIBRATED, WEIGHTED["linear"]),
        *((FULL_FIT[method], WEIGHTED[method]) for method in METHODS),
    ]
    return [
        (V8, V6),
        *((pool, other) for other in (V6, V8, *BY_HAND.values())),
        *others,
        *((name, BASE_RATES) for name in (V6, V8, pool)),
    ]


def figures_of(stream: Stream, name: str, threshold: float) -> Figures:
    """All figures of one contestant. threshold: of the confidence, from which on the bot acts."""
    said = stream.forecasts[name]
    hits = _right(said, stream.labels)
    return Figures(
        accuracy=mean_of(stream, hits),
        nll=mean_of(stream, log_losses(said, stream.labels)),
        brier=mean_of(stream, brier_scores(said, stream.labels)),
        confidence=confidence_of(stream, name),
        predicted_shares=class_shares(said.argmax(axis=1)).tolist(),
        acted_on=at_threshold(said.max(axis=1), hits == 1, threshold, stream.overlap),
    )


def confidence_of(stream: Stream, name: str) -> Confidence:
    """Mean confidence and calibration error, the latter beside what chance alone makes of a perfect model's.

    With several symbols that chance is simulated as if all moved as one, so that it is rather too large than too small.
    """
    said = stream.forecasts[name]
    confidence, hits = said.max(axis=1), _right(said, stream.labels) == 1
    perfect = [null_calibration_error(confidence, stream.overlap, rounds=1, seed=seed) for seed in range(NULL_ROUNDS)]
    return Confidence(
        mean=float(confidence.mean()),
        error=calibration_error(confidence, hits),
        null=float(np.mean(perfect)),
        limit=float(np.quantile(perfect, 0.95)),
    )


def difference_of(stream: Stream, first: str, second: str) -> Difference:
    """The first contestant's scores less the second's, paired."""
    one, other = stream.forecasts[first], stream.forecasts[second]

    def less(score: Callable[[Floats, ClassIds], Floats]) -> Estimate:
        return mean_of(stream, score(one, stream.labels) - score(other, stream.labels))

    return Difference(first, second, less(log_losses), less(brier_scores), less(_right))


def _right(said: Floats, labels: ClassIds) -> Floats:
    right: Floats = (said.argmax(axis=1) == labels).astype(np.float64)
    return right


def mean_of(stream: Stream, values: Floats) -> Estimate:
    """The mean over all windows, by a bootstrap of blocks of time. values: (n,).

    Sums and counts are resampled by bar, so that a block holds every symbol's windows of its time, and a window that
    could not be judged leaves a gap instead of moving its neighbours together. Raises DataError for too short a time.
    """
    bars = (stream.times_ms - stream.times_ms[0]) // stream.interval_ms
    by_bar = np.stack([np.bincount(bars, weights=values), np.bincount(bars).astype(np.float64)], axis=1)  # (bars, 2)
    interval = statistic_interval(by_bar, lambda means: means[:, 0] / means[:, 1], stream.horizon)
    return Estimate(float(values.mean()), interval)


def measure_costs(engines: Sequence[Engine], windows: Sequence[npt.NDArray[np.float32]]) -> list[Cost]:
    """What a prediction costs in each engine, here and now: medians of runs that take turns, so that all meet the
    same noise.

    windows: for each engine (batch, window, features), finite.
    """
    single: list[list[float]] = [[] for _ in engines]
    batch: list[list[float]] = [[] for _ in engines]
    for round_number in range(SINGLES):
        for engine, rows, alone, whole in zip(engines, windows, single, batch, strict=True):
            alone.append(_ms_of(engine, rows[:1]))
            if round_number < BATCHES:
                whole.append(_ms_of(engine, rows) / len(rows))
    return [
        Cost(median(alone), median(whole), len(rows), engine.device)
        for engine, rows, alone, whole in zip(engines, windows, single, batch, strict=True)
    ]


def _ms_of(engine: Engine, windows: npt.NDArray[np.float32]) -> float:
    start = perf_counter()
    engine.predict_rows(windows)
    return 1000 * (perf_counter() - start)
