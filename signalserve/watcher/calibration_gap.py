"""Whether confidence means what it says: mean confidence less accuracy, and how far apart chance alone brings the two.

A calibrated model is right as often as it is confident (Guo et al. 2017, On Calibration of Modern Neural Networks). On
a day of outcomes it is not so to the digit, and anybody who looks every minute sees its worst moment of the day. So the
limit is a multiple of the standard error, and the multiple is what calibrated models stay under for as long as is asked
for: MULTIPLES, counted on simulated ones.

The standard error counts the overlap of labels. Two things make it no smaller than it may be where there is little to
see: its variance is at least what the confidences imply, c · (1 - c), and where hits or misses are rare, which shows no
dependence, labels count as if they overlapped in full.

A model that knows no NEUTRAL is judged where UP or DOWN came. Its confidence is about those, so its gap means the same.
What it does not hold for: a model that is right on average but, for hours on end, more often than it says and then less
often. That is a fault too, if another one, and may pass the limit more often.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

TARGET_DAYS: Final = 30.0
"""Between false alarms of all series together."""

MULTIPLES: Final = ((2.0, 2.55), (2.5, 6.87), (3.0, 21.5), (3.5, 83.3), (4.0, 357.0))
"""Multiple of the standard error, and after how many days a calibrated model's gap passes it once: of one series, one
prediction a minute, labels 15 minutes ahead, a look a minute at the last 1,440 outcomes. Printed by bench/gap.py, of
the loudest of six models. In its first day, until 1,440 outcomes are in, a new model passes it up to six times as
often as on any other."""

RARE: Final = 5
"""Stretches of overlapping labels: fewer hits, or misses, than would fill them show no dependence."""


@dataclass(frozen=True)
class Gap:
    """confidence: the mean.  accuracy: the share of hits.  standard_error: of their difference; None where nobody knows
    how far outcomes overlap, or they are worth fewer than two."""

    confidence: float
    accuracy: float
    standard_error: float | None

    @property
    def value(self) -> float:
        """Above 0 where the model claims more than it keeps, -1 … 1."""
        return self.confidence - self.accuracy


def gap_of(confidence: Floats, hits: npt.NDArray[np.bool_], effective_n: float | None, lags: int | None) -> Gap:
    """The gap of judged predictions.

    confidence, hits: (n,), n > 0.  effective_n: how many independent values of confidence - hit they are worth.
    lags: how many later predictions were made, at most, before one's own outcome was decided.  Both None where unknown.
    """
    mean, accuracy = float(confidence.mean()), float(hits.mean())
    if effective_n is None or lags is None:
        return Gap(mean, accuracy, None)
    n = len(hits)
    if min(hits.sum(), n - hits.sum()) < RARE * (lags + 1):
        effective_n = min(effective_n, n / (lags + 1))
    if effective_n < 2:
        return Gap(mean, accuracy, None)
    variance = max(float((confidence - hits).var()), float((confidence * (1 - confidence)).mean()))
    return Gap(mean, accuracy, math.sqrt(variance / (effective_n - 1)))


class GapLimit:
    """The gap, of either sign, that calibrated models pass only so often.

    >>> 3.5 < GapLimit(target_days=30, streams=9).multiple < 4.5
    True
    """

    def __init__(self, target_days: float = TARGET_DAYS, streams: int = 1) -> None:
        """target_days: between false alarms of all series together, > 0.  streams: how many series there are, > 0. Else
        ValueError.
        """
        if not (0 < target_days < math.inf and streams > 0):
            raise ValueError(
                f"expected a number of days above 0 and at least 1 series, got {target_days} and {streams}"
            )
        self.multiple = _multiple(target_days * streams)

    def of(self, gap: Gap) -> float | None:
        """In the gap's own unit; None where its standard error is not known."""
        return None if gap.standard_error is None else self.multiple * gap.standard_error

    def words(self, gap: Gap) -> str | None:
        """What a gap over its limit means; None for one within it, or without a limit."""
        limit = self.of(gap)
        if limit is None or abs(gap.value) <= limit:
            return None
        kind, advice = (
            ("overconfident", "decisions by its confidence cost more than they seem to")
            if gap.value > 0
            else ("underconfident", "decisions by its confidence leave out good ones")
        )
        return (
            f"{kind}: says {gap.confidence:.3f} on average and is right in {gap.accuracy:.3f}, a gap of "
            f"{gap.value:+.3f} where chance explains ±{limit:.3f}; {advice}"
        )


def _multiple(days: float) -> float:
    """For so many days between alarms of one series. The logarithm of days grows with the square of a multiple, which
    leads from each step to the next and on from the last one (Rice 1944); the first is the least."""
    multiples, kept = (np.array(column) for column in zip(*MULTIPLES, strict=True))
    squares, logs, wanted = multiples**2, np.log(kept), math.log(days)
    if wanted <= logs[-1]:
        return float(np.sqrt(np.interp(wanted, logs, squares)))
    slope = (squares[-1] - squares[-2]) / (logs[-1] - logs[-2])
    return math.sqrt(squares[-1] + slope * (wanted - logs[-1]))
