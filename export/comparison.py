"""A V6-fixed and a V8 of one symbol, and their pools, on the same windows: who forecasts better, and is that certain?

    contest.py      the windows of the calibration part and of the test part, the contestants' names
    comparison.py   pools are fitted on the calibration part; everybody forecasts the test part
    paired.py       forecasts and labels -> scores and paired differences, with intervals
    decision.py     the owners' criteria in words, and the lines of serving.yaml

Nothing of the test part reaches a fit, not even the choice between a linear and a log pool. One yardstick knows it, and
says so in its name: the class shares in hindsight.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log10
from statistics import median
from time import perf_counter

import numpy as np
import numpy.typing as npt

from export.contest import (
    BY_HAND,
    EARLIER_SHARES,
    FULL_FIT,
    HAND_WEIGHT,
    LIKELIEST,
    METHODS,
    OWN_SHARES,
    UNCALIBRATED,
    V6,
    WEIGHTED,
    Contest,
)
from export.dependence import FEWEST_TO_JUDGE, require_count, require_labels
from export.paired import Stream
from export.pooling import Forecasts, PoolFit, fit_pool, given_a_move, losses_of, pooled, weight_interval
from export.quality import NEUTRAL, fit_targets, judged_on, probabilities_of
from export.scores import class_shares, log_losses
from export.temperature import TemperatureFit, fit_temperature
from signalserve import CLASSES
from signalserve.bundle import Bundle
from signalserve.engine import Engine, Output
from signalserve.ensemble import PoolMethod
from signalserve.errors import DataError
from signalserve.intervals import Interval
from signalserve.pipeline import Calibration

Floats = npt.NDArray[np.float64]
Times = npt.NDArray[np.int64]
ClassIds = npt.NDArray[np.int64]

SINGLES, BATCHES = 50, 5
"""How often a single window and a batch are timed."""


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

    test_curves: NLL on the test part of each point of a fit's curve, for looking at only.  calibration_nll: of each
    model as served, on the calibration part, nats.
    """

    contest: Contest
    contestants: tuple[Contestant, ...]
    fits: Mapping[PoolMethod, PoolFit]
    test_curves: Mapping[PoolMethod, list[float]]
    temperatures: Mapping[str, TemperatureFit]
    stream: Stream
    logits: Mapping[str, LogitRange]
    effective_calibration: float
    calibration_nll: Mapping[str, float]

    def contestant(self, name: str) -> Contestant:
        return next(contestant for contestant in self.contestants if contestant.name == name)


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
    effective = _require_labels(contest, labels[calibration], labels[test])
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
    forecasts[EARLIER_SHARES] = np.tile(class_shares(labels[calibration]), (len(test), 1))
    forecasts[OWN_SHARES] = np.tile(class_shares(labels[test]), (len(test), 1))
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
        {
            bundle.manifest.generation: _nll(said, labels[calibration], contest)
            for bundle, said in zip(contest.bundles, served[:, calibration], strict=True)
        },
    )


def _require_labels(contest: Contest, calibration: ClassIds, test: ClassIds) -> float:
    """The effective number of labels to fit to. Raises DataError, with the remedy, where a part has too few."""
    horizon, windows = contest.taught.horizon_bars, len(contest.ends)
    try:
        what = f"fit pools of {contest.symbol}"
        effective = require_labels(calibration, horizon, what, knows_neutral=contest.knows_neutral, windows=windows)
    except DataError as error:
        raise DataError(
            f"{error}, or fit to more of them with --fit-share (without it pools are fitted to what the models were "
            "calibrated on, and only signalserve calibrate, on more bars, would change that)"
        ) from None
    try:
        require_count(test, horizon, FEWEST_TO_JUDGE, f"judge {contest.symbol} on", windows=windows)
    except DataError as error:
        raise DataError(f"{error} (later ones), or a smaller --fit-share") from None
    return effective


def _nll(said: Floats, labels: ClassIds, contest: Contest) -> float:
    return float(log_losses(said if contest.knows_neutral else given_a_move(said), labels).mean())


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
