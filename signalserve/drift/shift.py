"""The mean confidence of a window, less that of its reference: what a temperature moved by hand shows first."""

import numpy as np
import numpy.typing as npt


class Shift:
    """
    >>> round(Shift(0.40).of([0.45, 0.55]), 2)
    0.1
    """

    def __init__(self, mean: float) -> None:
        """mean: of the reference, 0 … 1. Raises ValueError for any other."""
        if not 0 <= mean <= 1:
            raise ValueError(f"mean confidence: expected 0 to 1, got {mean}")
        self.mean = mean

    def of(self, confidence: npt.ArrayLike) -> float:
        """confidence: (n,), n > 0."""
        return float(np.asarray(confidence, dtype=np.float64).mean()) - self.mean
