"""A figure and how many independent observations it rests on -> where the truth may lie."""

from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import Final

LEVEL: Final = 0.95
"""Of an interval, where nobody asks for another."""


@dataclass(frozen=True)
class Interval:
    """Where a figure lies. level: the share of such intervals that hold the truth, 0 … 1."""

    low: float
    high: float
    level: float = LEVEL


def wilson(share: float, n: float, level: float = LEVEL) -> Interval:
    """The score interval of a share, inside 0 … 1.

    share: of successes, 0 … 1.  n: trials, > 0, any number: effective ones are not whole.  Else ValueError.
    Source: Wilson 1927, Probable Inference, the Law of Succession, and Statistical Inference.
    """
    if not 0 <= share <= 1 or not n > 0:
        raise ValueError(f"expected a share of 0 … 1 and n > 0, got {share} and {n}")
    z = NormalDist().inv_cdf((1 + level) / 2)
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return Interval(max(0.0, centre - half), min(1.0, centre + half), level)


def student(mean: float, variance: float, n: float, level: float = LEVEL) -> Interval | None:
    """Student's interval of a mean; None for fewer than two observations, which show no spread.

    variance: of the observations about their own mean, divided by their number.  n: how many independent ones they are
    worth, any number.  Source: Student 1908, The Probable Error of a Mean.
    """
    from scipy.special import stdtrit

    if n < 2:
        return None
    half = float(stdtrit(n - 1, (1 + level) / 2)) * sqrt(variance / (n - 1))
    return Interval(mean - half, mean + half, level)
