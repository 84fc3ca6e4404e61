"""Which bars teach, which calibrate, which judge: three parts in time order, with an embargo between them.

A prediction at bar t reads the window t-59 … t and is judged by the close at t+15. Neighbouring parts share no bar
of either: between the last window end of one and the first of the next lie `window + horizon` unused ones. (The
features of a bar look further back, 200 bars and more; that is the past, known at that time, and leaks no label.)
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Ends = npt.NDArray[np.int64]

SHARES: Final = (0.50, 0.25, 0.25)
"""Train, calibration, test. Labels 15 bars ahead overlap: of 30 days, 15 % held about 730 independent ones to fit a
temperature to, and 1,000 is what that takes (`dependence.py`); 25 % leave a whole week to judge on."""


@dataclass(frozen=True)
class Part:
    """Window ends that belong together.

    ends: (m,), ascending, m >= 1: the index of each window's last bar.  window, horizon: bars.
    """

    ends: Ends
    window: int
    horizon: int

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def bars(self) -> range:
        """Every bar that a window or a label of this part touches."""
        return range(int(self.ends[0]) - self.window + 1, int(self.ends[-1]) + self.horizon + 1)


@dataclass(frozen=True)
class Split:
    train: Part
    calibration: Part
    test: Part


def usable(bars: int, first_row: int, window: int, horizon: int) -> Part:
    """All windows of settled rows whose label is known.

    bars: how many there are.  first_row: the first whose features are settled.
    Raises ValueError, with the number of bars needed, where there is no such window.
    """
    first, last = first_row + window - 1, bars - 1 - horizon
    if last < first:
        raise ValueError(f"bars: expected at least {first + horizon + 1} for one labelled window, got {bars}")
    return Part(np.arange(first, last + 1), window, horizon)


def split_in_time(part: Part) -> Split:
    """Train, calibration and test by SHARES of the window ends, each later part less its embargo."""
    train_share, calibration_share, _ = SHARES
    train, rest = cut(part, train_share)
    calibration, test = cut(rest, calibration_share / (1 - train_share))
    return Split(train, calibration, test)


def cut(part: Part, share: float) -> tuple[Part, Part]:
    """The first `share` of a part, and the rest less `window + horizon` window ends of embargo.

    share: above 0, below 1.  Raises ValueError where one side would be empty.
    """
    if not 0 < share < 1:
        raise ValueError(f"share: expected a number between 0 and 1, got {share}")
    embargo = part.window + part.horizon
    border = round(share * len(part))
    earlier, later = part.ends[:border], part.ends[border + embargo :]
    if not (len(earlier) and len(later)):
        raise ValueError(
            f"split: expected windows on both sides of {100 * share:g} % with an embargo of {embargo} bars between, "
            f"got {len(part)} windows: {len(earlier)} before and {len(later)} after"
        )
    return Part(earlier, part.window, part.horizon), Part(later, part.window, part.horizon)
