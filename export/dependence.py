"""Labels that overlap -> how many independent ones they are worth, and whether these suffice to fit anything.

The count is `signalserve.dependence`'s, of the overlap and nothing else: intervals of shares take
`shares.independent`, all others the bootstrap. It is right for saying whether labels suffice, which must not depend on
the model: what decides the temperature is the slope of the loss, whose own dependence is short. On the calibration
parts of four reference models (V6-fixed and V8 of BTC and ETH) means of blocks of 60 to 350 slopes gave 988
to 2,632 independent ones; their labels are worth 1,195 and 1,224 by this count.
"""

from math import ceil
from typing import Final

import numpy as np
import numpy.typing as npt

from signalserve import CLASSES
from signalserve.dependence import effective_count
from signalserve.errors import DataError

Labels = npt.NDArray[np.int64]

FEWEST_EFFECTIVE_LABELS: Final = 1000
"""To fit anything. On 1,000 independent labels a weak model's temperature of 10 has a standard deviation of 1.2."""

FEWEST_OF_A_CLASS: Final = 30
"""Effective labels: the share of a class that came 30 times is known to 18 % (1 / √30), of one that never came not at
all; the likeliest temperature of labels that are all alike is an end of the search."""

FEWEST_TO_JUDGE: Final = 300
"""Effective labels: an accuracy of 0.5 among 300 says 0.44 to 0.56 (Wilson, 95 %); fewer tell nothing apart."""


def effective_labels(labels: Labels, horizon: int) -> float:
    """How many independent labels these are worth, by the indicators of their classes, 1 … n.

    labels: (n,), one a bar, in time order, n > 0.  horizon: bars that a label looks ahead, > 0.
    """
    indicators = (labels[:, None] == np.unique(labels)).astype(np.float64)  # (n, classes that occur)
    return effective_count(indicators, horizon - 1)


def require_labels(
    labels: Labels,
    horizon: int,
    what: str,
    *,
    knows_neutral: bool = False,
    windows: int | None = None,
) -> float:
    """The effective number of labels, if it suffices to fit anything.

    labels: (n,), 0 … 2, one a bar, in time order.  horizon: bars that a label looks ahead.  what: completes the
    sentence "expected … effective labels to", e.g. "fit a temperature".  knows_neutral: whether NEUTRAL must come too;
    UP, DOWN and whatever does come must.  windows: all that there are, of which these labels are a part; n by default.
    Raises DataError below FEWEST_EFFECTIVE_LABELS, with how many windows it would take, and with the counts where a
    class has fewer than FEWEST_OF_A_CLASS.
    """
    effective = require_count(labels, horizon, FEWEST_EFFECTIVE_LABELS, what, windows=windows)
    wanted = {*np.unique(labels).tolist(), 0, 2, *([1] if knows_neutral else [])}
    counts = {CLASSES[k]: effective_of_class(labels == k, horizon) for k in sorted(wanted)}
    if min(counts.values()) < FEWEST_OF_A_CLASS:
        told = ", ".join(f"{name} {int(count):,}" for name, count in counts.items())
        raise DataError(
            f"expected at least {FEWEST_OF_A_CLASS} effective labels of each class to {what}, got {told}: give bars in "
            "which each of them comes, or labels of another band"
        )
    return effective


def require_count(labels: Labels, horizon: int, fewest: int, what: str, *, windows: int | None = None) -> float:
    """The effective number of labels, at least `fewest`; parameters and DataError as for `require_labels`."""
    n = len(labels)
    of = n if windows is None else windows
    effective = effective_labels(labels, horizon) if n else 0.0
    if effective >= fewest:
        return effective
    # To hundreds: the effective count is an estimate. Where there is no label, the least is told.
    needed = max(fewest * (of / effective if n else horizon), of)
    in_all, more = (100 * ceil(count / 100) for count in (needed, needed - of))
    told = f"{n:,}" if of == n else f"{n:,} of {of:,}"
    raise DataError(
        f"expected at least {fewest:,} effective labels to {what}, got {int(effective):,} from {told} windows (labels "
        f"{horizon} bars ahead overlap): about {in_all:,} windows are needed in all, so give about {more:,} more bars"
    )


def effective_of_class(came: npt.NDArray[np.bool_], horizon: int) -> float:
    """How many independent labels the ones of a class are worth, 0 … their number.

    came: (n,), which labels are of the class, one a bar, in time order, n > 0.  horizon: bars that a label looks ahead.
    """
    share = float(came.mean())
    return share * effective_count(came.astype(np.float64), horizon - 1)
