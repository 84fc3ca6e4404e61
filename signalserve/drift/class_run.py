"""One class on end, for longer than a model ever said one on its reference, and than chance would have it."""

import math
from typing import Final

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]

TIMES: Final = 1.5


def current_run(classes: Integers) -> int:
    """How many of the last predictions said the same, (n,) -> 0 … n.

    >>> current_run(np.array([2, 0, 1, 1, 1]))
    3
    """
    if not len(classes):
        return 0
    other = np.flatnonzero(classes != classes[-1])
    return len(classes) - (int(other[-1]) + 1 if len(other) else 0)


def longest_run(classes: Integers) -> int:
    """The longest run of equal neighbours, (n,) -> 0 … n."""
    return int(run_lengths(classes).max(initial=0))


def run_lengths(classes: Integers) -> Integers:
    """The length of every run of equal neighbours, in order, (n,) -> (runs,)."""
    ends = np.flatnonzero(np.diff(classes, append=-1)) if len(classes) else np.empty(0, np.int64)
    lengths: Integers = np.diff(ends, prepend=-1)
    return lengths


class RunLimit:
    """
    >>> RunLimit(90, days_between=4000, span_days=7).limit(270)
    135.0
    >>> round(RunLimit(90, days_between=30, span_days=7).limit(270))
    203
    """

    def __init__(self, longest: int, days_between: float, span_days: float) -> None:
        """longest: run of the reference, predictions, > 0.  days_between: how many days, on average, lie between two
        runs beyond TIMES as long by chance, > 0.  span_days: of the reference, > 0. Raises ValueError for any other.
        """
        if not (longest > 0 and days_between > 0 and span_days > 0):
            raise ValueError(
                f"expected a run of at least 1 and days above 0, got {longest}, {days_between} and {span_days}"
            )
        self.longest = longest
        self.days_between = days_between
        self.span_days = span_days

    def limit(self, days: float) -> float | None:
        """Predictions on end that are too many, for a false alarm once in so many days at most.

        TIMES the longest. Where chance does that more often, as much more as it takes: the tail of runs falls
        exponentially, and two of its points are counted, the longest itself once in span_days, and TIMES as long once
        in days_between. None where those two do not fall.
        """
        if self.days_between >= days:
            return TIMES * self.longest
        if self.days_between <= self.span_days:
            return None
        steps = math.log(days / self.days_between) / math.log(self.days_between / self.span_days)
        return self.longest * (TIMES + (TIMES - 1) * steps)
