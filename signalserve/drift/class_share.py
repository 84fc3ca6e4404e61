"""A class that a model has nearly stopped saying: its share of a day under an eighth of its reference share.

Only where that would be news. A model that leaves a class out for days on its own reference, or on streams of the same
dependence, says nothing by doing so again: `usual` holds the days between, as `limits.py` counted them.
"""

from typing import Final

PART: Final = 1 / 8


class ClassFloor:
    """
    >>> ClassFloor(0.4, days_between=5000).floor(270)
    0.05
    >>> ClassFloor(0.06, days_between=3).floor(270) is None
    True
    """

    def __init__(self, share: float, days_between: float) -> None:
        """share: of the class in the reference, 0 … 1.  days_between: how many days, on average, lie between two days
        that leave it out by chance, >= 0. Raises ValueError for any other.
        """
        if not (0 <= share <= 1 and days_between >= 0):
            raise ValueError(f"expected a share of 0 to 1 and days of at least 0, got {share} and {days_between}")
        self.share = share
        self.days_between = days_between

    def floor(self, days: float) -> float | None:
        """The share that is too small, where a false alarm comes at most once in so many days; else None."""
        return PART * self.share if self.share and self.days_between >= days else None
