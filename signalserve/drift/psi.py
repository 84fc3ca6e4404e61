"""The population stability index of a window against its reference, over the reference's own bins.

Quantile bins of the reference, not fixed ones: a weak model's confidence lies in one or two of those, where no shift
shows. Half a count is added to every bin, of both, without which an empty one makes it infinite.
Source: Jeffreys 1946 (the symmetric divergence); Siddiqi 2006, Credit Risk Scorecards (the name).
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

BINS: Final = 10
ADDED: Final = 0.5


def smoothed(counts: npt.ArrayLike) -> Floats:
    """Shares of the bins, none of them 0: (bins,) counts, half a count added to each."""
    added = np.asarray(counts, dtype=np.float64) + ADDED
    shares: Floats = added / added.sum()
    return shares


def psi(counts: npt.ArrayLike, reference: npt.ArrayLike) -> float:
    """Both (bins,) counts; 0 where their shares are the same, and no bound above.

    >>> round(psi([50, 50], [500, 500]), 3)
    0.0
    >>> round(psi([90, 10], [500, 500]), 3)
    0.843
    """
    p, q = smoothed(counts), smoothed(reference)
    return float(((p - q) * np.log(p / q)).sum())


class Bins:
    """Where the values of a reference lie: between edges, and how many in each.

    A value v is in bin i where edges[i - 1] <= v < edges[i]; below the first edge is bin 0, from the last on the last.

    >>> bins = Bins([1.0, 2.0], [5, 5, 5])
    >>> bins.count([0.3, 1.0, 1.7, 99.0]).tolist()
    [1, 2, 1]
    """

    def __init__(self, edges: Sequence[float], counts: Sequence[int]) -> None:
        """edges: ascending, one fewer than counts; equal ones leave a bin empty.  counts: of the reference, their sum
        above 0. Raises ValueError for anything else.
        """
        self.edges = np.asarray(edges, dtype=np.float64)
        self.counts = np.asarray(counts, dtype=np.int64)
        if len(counts) != len(edges) + 1 or not len(edges):
            raise ValueError(f"expected one edge fewer than counts, got {len(edges)} edges and {len(counts)} counts")
        if not (np.isfinite(self.edges).all() and (np.diff(self.edges) >= 0).all()):
            raise ValueError(f"expected finite ascending edges, got {list(edges)}")
        if (self.counts < 0).any() or not self.counts.sum():
            raise ValueError(f"expected counts of at least one value, got {list(counts)}")

    @classmethod
    def of(cls, values: Floats, bins: int = BINS) -> "Bins":
        """Quantile bins of a reference. values: (n,), n > 0. Many equal values share a bin."""
        edges = np.quantile(values, np.arange(1, bins) / bins)
        return cls(edges.tolist(), np.bincount(np.searchsorted(edges, values, side="right"), minlength=bins).tolist())

    def which(self, values: npt.ArrayLike) -> Integers:
        """The bin of each value; what is not a number lies beyond all, in the last."""
        return np.searchsorted(self.edges, np.asarray(values, dtype=np.float64), side="right")

    def count(self, values: npt.ArrayLike) -> Integers:
        return np.bincount(self.which(values), minlength=len(self.counts))

    def psi(self, values: npt.ArrayLike) -> float:
        """Of a window's values, (n,)."""
        return psi(self.count(values), self.counts)
