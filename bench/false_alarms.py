"""Limits of several kinds on the same streams: how often each is passed for nothing, and how soon for something."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from signalserve.dependence import autocovariances
from signalserve.drift import DAY, DISTRIBUTIONS, WINDOWS
from signalserve.drift.limits import APART, BLOCK, Key, Limits, alarms, sliding
from signalserve.drift.psi import Bins
from signalserve.drift.stream import Floats, Integers, Stream
from signalserve.drift.surrogates import Drawn

OURS: Final = "simulated (ours)"
NAIVE: Final = (0.1, 0.2)
FAR: Final = 7 * DAY
"""Predictions after a change for which a first alarm is waited for."""


@dataclass(frozen=True)
class Alarms:
    """Of one rule on one stream. alarms: as `limits.alarms` counts, one that goes on once for each day of it.  starts:
    each once, however long.  days: watched."""

    alarms: int
    starts: int
    days: float

    def __add__(self, other: "Alarms") -> "Alarms":
        return Alarms(self.alarms + other.alarms, self.starts + other.starts, self.days + other.days)


def rules_of(reference: Stream, limits: Limits, days: float) -> dict[str, dict[Key, float]]:
    """Rule -> its limits, for so many days between false alarms where a rule can be told a number of days."""
    return {
        OURS: limits.at(days),
        **{f"PSI {limit}": dict.fromkeys(_keys(), limit) for limit in NAIVE},
        "χ²": chi_square_limits(reference, days, corrected=False),
        "χ², Rao–Scott": chi_square_limits(reference, days, corrected=True),
    }


def chi_square_limits(reference: Stream, days: float, *, corrected: bool) -> dict[Key, float]:
    """What PSI passes at random where n predictions of a window and m of the reference are independent: (1/n + 1/m)
    times a chi-square of k - 1 degrees of freedom. Once in so many days of minutes, windows and statistics.

    corrected: times the mean design effect of the bins' shares, from the reference's own autocorrelations.
    Source: Rao and Scott 1981, The analysis of categorical data from complex sample surveys, the first order.
    """
    from scipy.stats import chi2

    rate = 1 / (days * DAY * len(_keys()))
    limits = {}
    for name, bins in _binned(reference).items():
        counts = np.bincount(bins)
        for window in WINDOWS:
            effect = mean_design_effect(bins, window) if corrected else 1.0
            spread = (1 / window + 1 / len(reference)) * effect
            limits[name, window] = spread * float(chi2.isf(rate, np.count_nonzero(counts) - 1))
    return limits


def mean_design_effect(bins: Integers, window: int) -> float:
    """Σ (1 - p) d / (k - 1) over k bins of shares p, d being how many times the variance of a window's share is that of
    independent predictions; never below 1. bins: (n,), n > window, of each value."""
    weights = 1 - np.arange(window) / window
    inside = np.stack([bins == each for each in np.unique(bins)], axis=1).astype(np.float64)
    summed = 0.0
    for column, share in zip(inside.T, inside.mean(axis=0), strict=True):
        covariances = autocovariances((column - share)[:, None], window - 1)
        summed += (1 - share) * max(1.0, float(2 * weights @ covariances / covariances[0] - 1))
    return summed / (inside.shape[1] - 1)


def count_alarms(reference: Drawn, live: Drawn, rules: Mapping[str, Mapping[Key, float]]) -> dict[str, Alarms]:
    """Every rule's, on the live predictions after the first DAY, which fills the windows."""
    days = (len(live.confidence) - DAY) / DAY
    found = {}
    for name, ratios in _ratios(reference, live, rules).items():
        blocks = ratios[: len(ratios) // BLOCK * BLOCK].reshape(1, -1, BLOCK).max(axis=2)
        above = np.flatnonzero(blocks[0] > 1)
        starts = int(np.count_nonzero(np.diff(above) > APART)) + 1 if len(above) else 0
        found[name] = Alarms(alarms(blocks, 1.0), starts, days)
    return found


def delay(reference: Drawn, live: Drawn, limits: Mapping[Key, float], moved: float) -> float:
    """Predictions from a change until the first alarm, 1 …; infinite where none comes.

    live: DAY predictions before it and those after.  moved: added to each confidence after it, 1 being the most.
    """
    confidence = live.confidence.copy()
    confidence[DAY:] = np.minimum(confidence[DAY:] + moved, 1.0)
    changed = Drawn(confidence, live.classes, live.largest_logit)
    above = _ratios(reference, changed, {OURS: limits})[OURS] > 1
    return float(np.argmax(above)) + 1 if above.any() else math.inf


def poisson_days(times: int, days: float) -> tuple[float, float]:
    """The exact 95 % interval of days between alarms that came so many times in so many days, if each came by itself.
    Source: Garwood 1936."""
    from scipy.stats import chi2

    most = float(chi2.ppf(0.975, 2 * times + 2)) / 2
    least = float(chi2.ppf(0.025, 2 * times)) / 2 if times else 0.0
    return days / most, days / least if least else math.inf


def dispersion(counts: Sequence[int]) -> float:
    """Variance over mean of the alarms of several streams: 1 where each came by itself; NaN where it can't be told."""
    return float(np.var(counts, ddof=1) / np.mean(counts)) if len(counts) > 1 and any(counts) else math.nan


def as_drawn(stream: Stream) -> Drawn:
    return Drawn(stream.confidence, stream.classes, stream.largest_logit)


def part_of(drawn: Drawn, start: int, stop: int | None = None) -> Drawn:
    largest = None if drawn.largest_logit is None else drawn.largest_logit[start:stop]
    return Drawn(drawn.confidence[start:stop], drawn.classes[start:stop], largest)


def _ratios(reference: Drawn, live: Drawn, rules: Mapping[str, Mapping[Key, float]]) -> dict[str, Floats]:
    """Rule -> the largest of all its values to their limits, at each prediction after the first DAY."""
    largest = {name: np.zeros(len(live.confidence) - DAY) for name in rules}
    for key, values in sliding(reference, live):
        for name, limits in rules.items():
            if key in limits:
                np.maximum(largest[name], values / limits[key], out=largest[name])
    return largest


def _keys() -> list[Key]:
    return [(name, window) for name in DISTRIBUTIONS for window in WINDOWS]


def _binned(stream: Stream) -> dict[str, Integers]:
    """Of a model, which has logits: the bin of each prediction, by statistic."""
    assert stream.largest_logit is not None
    return {
        "confidence_psi": Bins.of(stream.confidence).which(stream.confidence),
        "logit_psi": Bins.of(stream.largest_logit).which(stream.largest_logit),
        "class_psi": stream.classes,
    }
