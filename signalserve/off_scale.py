"""Are these features on the scale that the model was fitted for? Asked of many columns at once.

A rule on single values cries wolf daily: volume columns of real markets reach 118 standard deviations. Unscaled or
garbled input moves many columns at once, and for a whole window.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from signalserve.bundle import ScalerValues

WARN_BEYOND = 10.0
"""|z| beyond which a column counts as off scale; single values of real columns go there (volume_price_trend: 118)."""

CALM_WITHIN = 5.0
"""Half of it: a window that is off one model's scale speaks against that model where another finds it this calm; two
scalers that differ by a few percent stand on both sides of any single bound."""

REFUSE_BEYOND = 1000.0
"""|z| that no market reaches in many columns: of every fifth real window of the 30 days, the one that is furthest off
has a third of its columns beyond 3.0. A price that doubles after training moves its level by up to 26."""

MANY_COLUMNS = 1 / 3
"""More than this share of the columns off scale at once is a fault of the input, not a market."""

WARN_COLUMNS = 1 / 6
"""More than this share is worth a warning. Another symbol's prices, or the right ones in another unit, move the 18
price levels among the 72 columns: a quarter. Of every fifth real window of the 30 days, no column's median
passed 6.6."""

OVERFLOW_BEYOND = 1e30
"""|z| that no float32 network can work with: sums of it become infinite, of which engines make plausible numbers."""


@dataclass(frozen=True)
class Verdict:
    """off_scale: answer, but warn.  by_many: more than a third of the columns are, which breaks an invariant.

    share: of the columns that are off scale for most of the window, 0 to 1.  largest: |z| of the value furthest from
    its mean, finite unless no_market says what is wrong with it.
    spike: no more than that, but a value where no market ever was: the input's doing, since a wrong scaler moves whole
    columns.  no_market: what is wrong with input that no market could give, else None.
    """

    off_scale: bool
    share: float
    largest: float
    by_many: bool
    spike: bool
    no_market: str | None


class ScaleCheck:
    """Judges windows by how many of their columns lie far off the mean for more than half of their bars."""

    def __init__(self, scaler: ScalerValues) -> None:
        self._mean = np.asarray(scaler.mean, dtype=np.float64)
        self._scale = np.asarray(scaler.scale, dtype=np.float64)

    def is_calm(self, values: npt.NDArray[np.float32]) -> bool:
        """Whether the window is well within this scale. values: (window, features), raw, finite."""
        return _share_beyond(np.abs(values - self._mean) / self._scale, CALM_WITHIN) <= WARN_COLUMNS

    def judge(self, values: npt.NDArray[np.float32]) -> Verdict:
        """values: (window, features), raw, finite."""
        deviations = np.abs(values - self._mean) / self._scale  # (window, features), in standard deviations
        largest = float(deviations.max())
        share = 0.0 if largest <= WARN_BEYOND else _share_beyond(deviations, WARN_BEYOND)
        if largest > OVERFLOW_BEYOND:
            fault = f"a value {largest:.0e} standard deviations from its mean"
            return Verdict(True, share, largest, True, False, fault)
        if share <= MANY_COLUMNS:
            spike = largest > REFUSE_BEYOND
            return Verdict(share > WARN_COLUMNS or spike, share, largest, False, spike, None)
        refused = _share_beyond(deviations, REFUSE_BEYOND)
        fault = f"{refused:.0%} of the columns beyond {REFUSE_BEYOND:.0f} standard deviations"
        return Verdict(True, share, largest, True, False, fault if refused > MANY_COLUMNS else None)


def _share_beyond(deviations: npt.NDArray[np.float64], bound: float) -> float:
    """The share of columns whose median deviation over the window is beyond the bound."""
    columns = np.count_nonzero(deviations > bound, axis=0) > len(deviations) // 2  # (features,)
    return float(np.count_nonzero(columns)) / len(columns)


def off_scale_shares(
    rows: npt.NDArray[np.float64], ends: npt.NDArray[np.int64], window: int, scaler: ScalerValues
) -> npt.NDArray[np.float64]:
    """`Verdict.share` of the windows ending at `ends`, (len(ends),).

    rows: (n, features), raw, one a bar.  ends: each at least window - 1.
    """
    beyond = np.abs(rows - np.asarray(scaler.mean)) / np.asarray(scaler.scale) > WARN_BEYOND
    sums = np.concatenate([np.zeros((1, rows.shape[1]), np.int64), np.cumsum(beyond, axis=0)])  # (n + 1, features)
    columns = sums[ends + 1] - sums[ends + 1 - window] > window // 2
    shares: npt.NDArray[np.float64] = columns.mean(axis=1)
    return shares
