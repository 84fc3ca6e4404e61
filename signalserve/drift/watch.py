"""A window of live predictions beside its reference: every statistic, its limit, and how many of each lie where."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from signalserve import CLASSES
from signalserve.drift import DAY, DISTRIBUTIONS, FEWEST, OF_MODELS, STATISTICS, WINDOWS
from signalserve.drift.class_run import current_run
from signalserve.drift.class_share import ClassFloor
from signalserve.drift.psi import psi
from signalserve.drift.reference import Reference
from signalserve.drift.shift import Shift
from signalserve.drift.stream import Stream
from signalserve.invariants import SATURATED

BIN_NAMES = {
    "confidence_psi": tuple(map(str, range(10))),
    "class_psi": CLASSES,
    "logit_psi": tuple(map(str, range(10))),
}


@dataclass(frozen=True)
class Measured:
    """value: NaN where it is not known.  limit: NaN where there is none."""

    value: float
    limit: float = math.nan

    @property
    def ratio(self) -> float:
        """|value| / limit: above 1 it is an alarm; NaN where one of them is."""
        return abs(self.value) / self.limit if self.limit else math.nan


@dataclass(frozen=True)
class WindowDrift:
    """One window. n: predictions in it.  effective_n: independent ones they are worth; NaN where unknown.  counts:
    statistic -> how many in each bin, as BIN_NAMES names them."""

    n: int = 0
    effective_n: float = math.nan
    measured: Mapping[str, Measured] = field(default_factory=dict)
    counts: Mapping[str, Sequence[int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Drift:
    """Everything of one arm. class_shares: direction -> its share of a day, and the floor.  run: of the class said
    last, and its limit.  reference_counts: as WindowDrift.counts; empty where there is no reference."""

    windows: Mapping[int, WindowDrift]
    class_shares: Mapping[str, Measured]
    run: Measured
    reference_counts: Mapping[str, Sequence[int]]

    @property
    def alarms(self) -> list[tuple[str, int]]:
        """(statistic, window) of every ratio above 1."""
        return [
            (name, window)
            for window, drift in self.windows.items()
            for name, measured in drift.measured.items()
            if measured.ratio > 1
        ]


NOTHING = Drift(
    {window: WindowDrift() for window in WINDOWS},
    {name: Measured(math.nan) for name in CLASSES},
    Measured(math.nan),
    {},
)
"""Of an arm that said nothing yet, or of what was never measured."""


def measure(live: Stream, reference: Reference | None, *, clamp: float | None, days: float) -> Drift:
    """live: the last predictions, as many as the longest of WINDOWS and a run beyond the limit take.  clamp: of the
    model, None of a pool.  days: between false alarms of this arm, which sets the limits; > 0.
    """
    limits = reference.limits.at(days) if reference else {}
    windows = {window: _window(live.last(window), reference, limits, clamp, window) for window in WINDOWS}
    return Drift(
        windows,
        _class_shares(live, reference, days),
        _run(live, reference, days),
        reference.counts if reference else {},
    )


def _window(
    part: Stream, reference: Reference | None, limits: Mapping[tuple[str, int], float], clamp: float | None, window: int
) -> WindowDrift:
    n = len(part)
    if n < FEWEST:
        return WindowDrift(n)
    confidence = part.confidence
    values = {"saturation_rate": float((confidence >= SATURATED).mean())}
    if part.largest_logit is not None and clamp is not None:
        # beyond, or not a number: whatever is not within
        values["clamp_rate"] = float(1 - (part.largest_logit <= clamp).mean())
    if part.off_scale is not None and np.count_nonzero(~np.isnan(part.off_scale)) >= FEWEST:
        values["off_scale_rate"] = float(np.nanmean(part.off_scale))
    if reference is None:
        return WindowDrift(n, measured={name: Measured(value) for name, value in values.items()})
    counts = {
        "confidence_psi": reference.confidence.count(confidence),
        "class_psi": np.bincount(part.classes, minlength=3),
    }
    if reference.largest_logit is not None and part.largest_logit is not None:
        counts["logit_psi"] = reference.largest_logit.count(part.largest_logit)
    before = reference.counts
    values |= {name: psi(count, before[name]) for name, count in counts.items()}
    values["confidence_shift"] = Shift(reference.mean_confidence).of(confidence)
    return WindowDrift(
        n,
        n / reference.design_effect[window],
        {
            name: Measured(values[name], _limit(name, window, n, reference, limits))
            for name in STATISTICS
            if name in values
        },
        {name: count.tolist() for name, count in counts.items()},
    )


def _limit(name: str, window: int, n: int, reference: Reference, limits: Mapping[tuple[str, int], float]) -> float:
    """NaN while the window fills: a few predictions lie anywhere, and the limit is that of a full one. NaN also where
    no window could pass it, so that nobody waits for an alarm that can't come."""
    if n < window:
        return math.nan
    rate = reference.rates.get(name)
    if rate:
        return rate.limit
    limit = limits.get((name, window), math.nan)
    return math.nan if reference.is_blind(name, window, limit) else limit


def _class_shares(live: Stream, reference: Reference | None, days: float) -> dict[str, Measured]:
    """NaN before a whole day was seen: a class may come in the evening."""
    said = np.bincount(live.last(DAY).classes, minlength=3) / DAY if len(live) >= DAY else np.full(3, math.nan)
    floors = (
        [
            ClassFloor(count / reference.n, between).floor(days)
            for count, between in zip(reference.said, reference.limits.class_days, strict=True)
        ]
        if reference
        else [None] * 3
    )
    return {
        name: Measured(float(share), math.nan if floor is None else floor)
        for name, share, floor in zip(CLASSES, said, floors, strict=True)
    }


def _run(live: Stream, reference: Reference | None, days: float) -> Measured:
    limit = reference.run_limit.limit(days) if reference else None
    return Measured(float(current_run(live.classes)), math.nan if limit is None else limit)


def statistics_of(arm: str) -> list[str]:
    """The statistics that an arm can have."""
    return [name for name in STATISTICS if arm != "ensemble" or name not in OF_MODELS]


def distributions_of(arm: str) -> list[str]:
    return [name for name in DISTRIBUTIONS if arm != "ensemble" or name not in OF_MODELS]
