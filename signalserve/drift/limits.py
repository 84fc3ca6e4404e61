"""Limits that a healthy arm passes only once in so many days, though its predictions depend on each other.

The usual limits (PSI 0.1 and 0.2) and those of the chi-square distribution take a window for independent predictions.
Minute by minute they are not: a day of a V8 is worth a dozen. And a rate of false alarms a window is no promise to
whoever is woken: the window slides, and looks again every minute.

So days between false alarms are counted where they can be counted, on streams drawn from the reference's own dependence
(`surrogates.py`): each with a reference of the length of the real one, which may have been a lucky one, and then twenty
days to be watched. The dependence itself is learned anew for each, from a stream as long, since what one week taught of
it is uncertain too. All statistics and windows of an arm share its alarms: each passes its limit equally often, and any
of them once in the days asked for.

Why not the chi-square distribution with a Rao and Scott correction (1981): it holds for windows of many independent
values. Two hours of a V8 hold two, and such a window sits in one bin or two of ten. bench/drift.py measures both.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from signalserve.drift import DAY, STATISTICS, WINDOWS
from signalserve.drift.class_run import TIMES, longest_run, run_lengths
from signalserve.drift.class_share import PART
from signalserve.drift.psi import Bins, smoothed
from signalserve.drift.stream import Floats, Integers, Stream
from signalserve.drift.surrogates import Drawn, Surrogates

DAYS: Final = (2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 300.0)
"""Days between false alarms of one arm for which limits are kept; those between and beyond follow on the logarithm.
None of a day or less: `alarms` counts one a day at most, whatever the limits."""

SIMULATED_DAYS: Final = 3000
"""Ten false alarms at the last of DAYS."""

WATCHED_DAYS: Final = 20
"""Of one drawn stream, after its reference."""

BLOCK: Final = 120
"""Predictions whose largest value is kept."""

APART: Final = DAY // BLOCK
"""Blocks without an alarm that end it: a later one shares no prediction with it, in no window."""

VERSION: Final = 2
"""Of the arithmetic: limits that another one made are made anew."""

Key = tuple[str, int]
"""Statistic and window."""


@dataclass(frozen=True)
class Limits:
    """What a healthy arm passes once in so many days.

    days: (m,), ascending.  limits: (statistic, window) -> (m,), one for each of `days`.  class_days: class -> days
    between two days that leave it out by chance.  run_days: days between runs that are too long by chance.  Both
    infinite where no drawn stream showed any.
    """

    days: tuple[float, ...]
    limits: Mapping[Key, tuple[float, ...]]
    class_days: tuple[float, float, float]
    run_days: float

    def at(self, days: float) -> dict[Key, float]:
        """The limits for so many days between false alarms of this arm, > 0.

        Beyond those kept, along the last steps, as a tail that falls exponentially. No less than the first.
        """
        if not days > 0:
            raise ValueError(f"days between false alarms: expected a number above 0, got {days}")
        kept, wanted = np.log(self.days), math.log(max(days, self.days[0]))
        found = {}
        for key, limits in self.limits.items():
            if wanted <= kept[-1]:
                found[key] = float(np.interp(wanted, kept, limits))
            else:
                slope = (limits[-1] - limits[-3]) / (kept[-1] - kept[-3])
                found[key] = limits[-1] + max(0.0, slope) * float(wanted - kept[-1])
        return found

    def to_json(self) -> dict[str, Any]:
        return {
            "days": list(self.days),
            "limits": {name: {str(w): list(self.limits[name, w]) for w in WINDOWS} for name in self._statistics},
            "class_days": [_finite(days) for days in self.class_days],
            "run_days": _finite(self.run_days),
        }

    @property
    def _statistics(self) -> list[str]:
        return [name for name in STATISTICS if (name, WINDOWS[0]) in self.limits]

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Limits":
        """Raises KeyError, TypeError or ValueError for anything that `to_json` did not write."""
        limits = {
            (name, int(window)): tuple(map(float, values))
            for name, windows in content["limits"].items()
            for window, values in windows.items()
        }
        days = tuple(map(float, content["days"]))
        if len(days) < 3 or not all(0 < a < b < math.inf for a, b in pairwise(days)):
            raise ValueError(f"days: expected at least 3, finite, above 0 and ascending, got {days}")
        for name in {name for name, _ in limits}:
            if {window for of, window in limits if of == name} != set(WINDOWS):
                raise ValueError(f"limits: {name}: expected one series for each window of {WINDOWS}")
        for (name, window), series in limits.items():
            if len(series) != len(days) or not all(0 < limit < math.inf for limit in series):
                raise ValueError(
                    f"limits: {name}, window {window}: expected {len(days)} finite numbers above 0, as many as days, "
                    f"got {series}"
                )
        first, second, third = (_infinite(between) for between in content["class_days"])
        return cls(days, limits, (first, second, third), _infinite(content["run_days"]))


def simulate_limits(
    stream: Stream,
    *,
    seed: int = 0,
    simulated_days: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> Limits:
    """The limits for an arm whose reference is this stream; the same for the same stream and seed.

    simulated_days: by default SIMULATED_DAYS.  progress: told how many days have just been simulated.
    Raises ValueError for a stream that is too short.
    """
    surrogates = Surrogates(stream)
    rng = np.random.default_rng(seed)
    paths = []
    missing, long_runs = np.zeros(3), 0
    for _ in range(math.ceil((simulated_days or SIMULATED_DAYS) / WATCHED_DAYS)):
        watched = WATCHED_DAYS * DAY
        drawn = surrogates.redrawn(rng).draw(len(stream) + DAY + watched, rng)
        reference, live = _part(drawn, 0, len(stream)), _part(drawn, len(stream), None)
        paths.append({key: _block_maxima(values) for key, values in sliding(reference, live)})
        said = _sliding_counts(live.classes, 3, DAY)[-watched:] / DAY
        shares = np.bincount(reference.classes, minlength=3) / len(stream)
        missing += [alarms(_block_maxima(-said[:, i])[None], -PART * shares[i]) for i in range(3)]
        too_long = TIMES * longest_run(reference.classes)
        long_runs += int(np.count_nonzero(run_lengths(live.classes[-watched:]) > too_long))
        if progress:
            progress(WATCHED_DAYS)
    maxima = {key: np.stack([path[key] for path in paths]) for key in paths[0]}  # each (paths, blocks)
    days = len(paths) * WATCHED_DAYS
    limits = [_joint_limits(maxima, days, between) for between in DAYS]
    return Limits(
        DAYS,
        {key: tuple(at[key] for at in limits) for key in maxima},
        (_between(days, missing[0]), _between(days, missing[1]), _between(days, missing[2])),
        _between(days, long_runs),
    )


def sliding(reference: Drawn, live: Drawn) -> Iterator[tuple[Key, Floats]]:
    """Every statistic that has a distribution, over every window that ends at each of the live predictions from the
    last of WINDOWS on, (n - DAY,). The shift is told without its sign.
    """
    watched = len(live.confidence) - DAY
    series = {"confidence_psi": (Bins.of(reference.confidence), live.confidence)}
    if reference.largest_logit is not None and live.largest_logit is not None:
        series["logit_psi"] = (Bins.of(reference.largest_logit), live.largest_logit)
    mean = reference.confidence.mean()
    sums = np.concatenate([[0.0], np.cumsum(live.confidence)])
    for window in WINDOWS:
        for name, (bins, values) in series.items():
            yield (name, window), _sliding_psi(bins.which(values), bins.counts, window)[-watched:]
        said = np.bincount(reference.classes, minlength=3)
        yield ("class_psi", window), _sliding_psi(live.classes, said, window)[-watched:]
        yield ("confidence_shift", window), np.abs((sums[window:] - sums[:-window]) / window - mean)[-watched:]


def alarms(maxima: Floats, limit: float) -> int:
    """How many alarms there are where block maxima, (paths, blocks), lie above the limit.

    An alarm goes on until APART blocks lie under it, and ends with its path. One that goes on for longer than a day
    counts once for each, as it is seen by people.
    """
    blocks = maxima.shape[1]
    path, block = np.nonzero(maxima > limit)
    if not len(block):
        return 0
    places = path * (blocks + APART + 1) + block  # paths lie far enough apart
    borders = np.flatnonzero(np.diff(places) > APART)
    firsts, lasts = places[np.concatenate([[0], borders + 1])], places[np.concatenate([borders, [-1]])]
    return int(((lasts - firsts) // APART + 1).sum())


def _joint_limits(maxima: Mapping[Key, Floats], days: int, between: float) -> dict[Key, float]:
    """Limits that are each passed equally often, and any of them once in `between` days."""

    def limits_for(times: float) -> dict[Key, float]:
        return {key: _level(values, times) for key, values in maxima.items()}

    allowed = days / between
    low, high = math.log(allowed / len(maxima) / 4), math.log(allowed)
    for _ in range(12):
        middle = (low + high) / 2
        limits = limits_for(math.exp(middle))
        together = np.maximum.reduce([values / limits[key] for key, values in maxima.items()])
        low, high = (low, middle) if alarms(together, 1.0) > allowed else (middle, high)
    return limits_for(math.exp(low))


def _level(maxima: Floats, times: float) -> float:
    """What block maxima pass about so many times."""
    low, high = 0.0, float(maxima.max()) * (1 + 1e-9) + 1e-12
    for _ in range(25):
        middle = (low + high) / 2
        low, high = (middle, high) if alarms(maxima, middle) > times else (low, middle)
    return high


def _sliding_psi(bins: Integers, reference: Integers, window: int) -> Floats:
    """PSI of every window, (n - window + 1,). bins: (n,), of each value.  reference: (k,) counts."""
    k = len(reference)
    shares = (np.arange(window + 1) + 0.5) / (window + 0.5 * k)  # of a bin with so many counts
    q = smoothed(reference)
    summed = np.zeros(len(bins) - window + 1)
    for i, share in enumerate(q):
        table = (shares - share) * np.log(shares / share)
        summed += table[_sliding_count(bins == i, window)]
    return summed


def _sliding_counts(bins: Integers, k: int, window: int) -> Integers:
    """(n - window + 1, k): how many of every window lie in each bin."""
    return np.stack([_sliding_count(bins == i, window) for i in range(k)], axis=1)


def _sliding_count(inside: npt.NDArray[np.bool_], window: int) -> Integers:
    sums = np.concatenate([[0], np.cumsum(inside)])
    counts: Integers = sums[window:] - sums[:-window]
    return counts


def _block_maxima(values: Floats) -> Floats:
    """The largest of every BLOCK values, (n // BLOCK,)."""
    largest: Floats = values[: len(values) // BLOCK * BLOCK].reshape(-1, BLOCK).max(axis=1)
    return largest


def _part(drawn: Drawn, start: int, stop: int | None) -> Drawn:
    largest = None if drawn.largest_logit is None else drawn.largest_logit[start:stop]
    return Drawn(drawn.confidence[start:stop], drawn.classes[start:stop], largest)


def _between(days: int, times: float) -> float:
    return days / float(times) if times else math.inf


def _finite(days: float) -> float | None:
    return None if math.isinf(days) else days


def _infinite(days: float | None) -> float:
    return math.inf if days is None else float(days)
