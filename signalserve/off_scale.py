"""Are these features on the scale that the model was fitted for? Asked of many columns at once.

A rule on single values cries wolf daily: volume columns of real markets reach 118 standard deviations. Unscaled or
garbled input moves many columns at once, and for a whole window.
"""

import numpy as np
import numpy.typing as npt

from signalserve.bundle import ScalerValues

WARN_BEYOND = 10.0
"""|z| beyond which a column counts as off scale: real columns get there, a third of them together never do."""

REFUSE_BEYOND = 1000.0
"""|z| that no market reaches: on the 129,000 real windows the worst window has a third of its columns beyond 5.
A price that doubles after training stays under 40; 1e12 where a price belongs is beyond 1e8."""

MANY_COLUMNS = 1 / 3
"""More than this share of the columns off scale at once is a fault of the input, not a market."""


class ScaleCheck:
    """Counts the columns of a window that lie beyond a bound for more than half of its bars."""

    def __init__(self, scaler: ScalerValues) -> None:
        self._mean = np.asarray(scaler.mean, dtype=np.float64)
        self._scale = np.asarray(scaler.scale, dtype=np.float64)

    def share_beyond(self, values: npt.NDArray[np.float32], bound: float) -> float:
        """values: (window, features), raw, finite. The share of columns whose median |z| over the window is > bound."""
        beyond = np.abs(values - self._mean) > bound * self._scale  # (window, features)
        columns = np.count_nonzero(beyond, axis=0) > len(values) // 2  # (features,)
        return float(np.count_nonzero(columns)) / len(columns)

    def is_off_scale(self, values: npt.NDArray[np.float32]) -> bool:
        return self.share_beyond(values, WARN_BEYOND) > MANY_COLUMNS

    def is_no_market(self, values: npt.NDArray[np.float32]) -> bool:
        return self.share_beyond(values, REFUSE_BEYOND) > MANY_COLUMNS
