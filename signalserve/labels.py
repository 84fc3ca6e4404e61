"""The label rule: where the close stands some bars later, and which class that is."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def classes_of(returns: Floats, band: float) -> npt.NDArray[np.int64]:
    """0 DOWN, 1 NEUTRAL, 2 UP, of the shape of `returns`.

    returns: later close / earlier close - 1, no unit, finite.  band: a share of the close, >= 0; a move of exactly the
    band is NEUTRAL.  Raises ValueError for a band that is negative or not finite.
    """
    if not (np.isfinite(band) and band >= 0):
        raise ValueError(f"band: expected a finite share of at least 0, got {band}")
    return np.where(returns > band, 2, np.where(returns < -band, 0, 1)).astype(np.int64)


def class_of(close: float, later_close: float, band: float) -> int:
    """The class of one pair of prices, as `classes_of` has it."""
    return int(classes_of(np.array([later_close / close - 1]), band)[0])
