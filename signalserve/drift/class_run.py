"""One class on end, for longer than a model ever said one on its reference."""

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
    if not len(classes):
        return 0
    borders = np.concatenate([[-1], np.flatnonzero(np.diff(classes)), [len(classes) - 1]])
    return int(np.diff(borders).max())


class RunLimit:
    """
    >>> RunLimit(90, days_between=4000).limit(270)
    135.0
    """

    def __init__(self, longest: int, days_between: float) -> None:
        """longest: run of the reference, predictions, > 0.  days_between: how many days, on average, lie between two
        runs beyond the limit by chance, >= 0. Raises ValueError for any other.
        """
        if not (longest > 0 and days_between >= 0):
            raise ValueError(f"expected a run of at least 1 and days of at least 0, got {longest} and {days_between}")
        self.longest = longest
        self.days_between = days_between

    def limit(self, days: float) -> float | None:
        """Predictions, where a false alarm comes at most once in so many days; else None: such runs are usual."""
        return TIMES * self.longest if self.days_between >= days else None
