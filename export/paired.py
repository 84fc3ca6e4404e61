"""Forecasts of several contestants of the same windows -> scores, and paired differences with their intervals.

Differences are taken window by window, and their intervals come from a bootstrap of blocks of time, with all symbols in
the same block: symbols that move together are not independent witnesses.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from export.bootstrap import statistic_interval
from export.contest import BASE_RATES, BY_HAND, FULL_FIT, LIKELIEST, METHODS, UNCALIBRATED, V6, V8, WEIGHTED
from export.dependence import effective_labels
from export.scores import brier_scores, calibration_error, class_shares, log_losses, null_calibration_errors
from export.selective import Threshold, at_threshold
from signalserve.intervals import Interval

Floats = npt.NDArray[np.float64]
Times = npt.NDArray[np.int64]
ClassIds = npt.NDArray[np.int64]


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
        """Neighbours whose labels may overlap: `horizon` bars, each with a window of every symbol."""
        return self.horizon * len(self.symbols)

    @property
    def windows_in_horizon(self) -> int:
        """How many windows stand in `horizon` bars on average; fewer than `overlap` where some could not be judged."""
        bars = int(self.times_ms[-1] - self.times_ms[0]) // self.interval_ms + 1
        return max(1, round(self.horizon * len(self.labels) / bars))


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
        *((name, shares) for name in (V6, V8, pool) for shares in BASE_RATES),
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
    perfect = null_calibration_errors(confidence, stream.windows_in_horizon)
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
