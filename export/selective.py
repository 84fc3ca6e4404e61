"""Confidence and hits -> what is gained by acting on the confident predictions only.

The threshold is chosen on one part of the data and reported on another: of many thresholds the best one looks better
than it is on the data that it was picked from.
Source: Geifman and El-Yaniv 2017, Selective Classification for Deep Neural Networks.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from export.shares import worth
from signalserve.intervals import Interval, wilson

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

SMALLEST: Final = 100.0
"""Effective predictions: a coin is right 68 times in 100 once in 4,900 tries, but 21 times in 30 once in 47; and every
threshold is another try."""


TRIED: Final = 200
"""Thresholds, at most, that a search counts effective predictions at: each takes a bootstrap."""


@dataclass(frozen=True)
class Curve:
    """The risk-coverage curve: what comes of acting on confidences of at least a threshold.

    thresholds: (m,), ascending: every confidence that occurs.  coverage: (m,), the share of predictions acted on.
    accuracy: (m,), among these; the risk is 1 - accuracy.
    """

    thresholds: Floats
    coverage: Floats
    accuracy: Floats


@dataclass(frozen=True)
class Threshold:
    """What comes of acting on confidences of at least `threshold`.

    n: predictions acted on.  effective_n: independent ones they are worth.  accuracy: among them; interval: Wilson's,
    on effective_n.  Both None where n is 0.  coverage: the share of all predictions that n is.
    """

    threshold: float
    n: int
    effective_n: float
    accuracy: float | None
    interval: Interval | None
    coverage: float


def risk_coverage(confidence: Floats, hits: Flags) -> Curve:
    """Coverage and accuracy at every threshold.

    confidence: (n,), finite.  hits: (n,), whether the prediction came true.  n > 0, else ValueError. Equal
    confidences enter together: no threshold can tell them apart.
    """
    _check(confidence, hits)
    thresholds, first = np.unique(np.sort(confidence), return_index=True)
    acted_on = len(confidence) - first  # (m,)
    right = hits[np.argsort(confidence)][::-1].cumsum()[acted_on - 1]
    return Curve(thresholds, acted_on / len(confidence), right / acted_on)


def threshold_for(
    confidence: Floats, hits: Flags, accuracy: float, horizon: int, *, smallest: float = SMALLEST, level: float = 0.95
) -> Threshold | None:
    """The lowest threshold such that what lies at it or above has the accuracy wished for; None if there is none.

    Accuracy need not rise with the threshold: a higher one may fall short of the wish again. Where the lowest leaves
    too few effective predictions, it is the lowest of TRIED others, spread evenly, that does not.
    confidence, hits: (n,), one a bar, in time order, n > 0.  accuracy: wished for, 0 … 1.  horizon: bars that a label
    looks ahead.  smallest: effective predictions that must remain.  Raises ValueError for other input.
    """
    curve = risk_coverage(confidence, hits)
    enough = np.rint(curve.coverage * len(confidence)) >= smallest  # effective ones are never more
    reached = enough & (curve.accuracy >= accuracy)
    candidates = curve.thresholds[reached]
    for i in np.unique(np.linspace(0, len(candidates) - 1, min(TRIED, len(candidates)), dtype=np.int64)):
        found = at_threshold(confidence, hits, float(candidates[i]), horizon, level=level)
        if found.effective_n >= smallest:
            return found
    return None


def at_threshold(confidence: Floats, hits: Flags, threshold: float, horizon: int, *, level: float = 0.95) -> Threshold:
    """What comes of acting on confidences of at least `threshold`, wherever it was chosen.

    confidence, hits: (n,), one a bar, in time order, n > 0, else ValueError.  horizon: bars that a label looks ahead.
    """
    _check(confidence, hits)
    selected = confidence >= threshold
    n = int(selected.sum())
    if not n:
        return Threshold(threshold, 0, 0.0, None, None, 0.0)
    share = float(hits[selected].mean())
    effective = worth(hits, selected, horizon, level=level)
    return Threshold(threshold, n, effective, share, wilson(share, effective, level), n / len(confidence))


def _check(confidence: Floats, hits: Flags) -> None:
    if confidence.ndim != 1 or not len(confidence) or hits.shape != confidence.shape:
        raise ValueError(f"confidence, hits: expected (n,), n > 0, got {confidence.shape} and {hits.shape}")
    if not np.isfinite(confidence).all():
        raise ValueError("confidence: expected finite numbers, got NaN or infinity")
