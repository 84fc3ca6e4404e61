"""Which series of prices a caller's candles belong to, and which of its closes are news.

The outcome of a prediction is the difference of two prices. Both must be the same market's: another exchange's price of
the same minute differs by as much as a label's band, and a demo's has nothing to do with any. So a worker tells series
apart by the closes that they share.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from signalserve.journal.lines import ClosesLine
from signalserve.request import Window

Floats = npt.NDArray[np.float64]

TOLD: Final = "told"
"""The series of closes that come alone, beside features: there is nothing by which to tell such callers apart."""
MOST_CLOSES: Final = 1500
"""Of one request: a bot that was silent for a day still brings the outcomes of the predictions before it."""
REMEMBERED: Final = 64
"""Closes by which a series is known again. A bot asks every minute; one that sleeps for longer than this and still
sends candles that reach back shares what it sends with what was told."""
MOST_FEEDS: Final = 32
"""Of one symbol in one worker; the one that was silent for longest is forgotten, and begins anew when it comes back."""
SAME_CLOSE: Final = 1e-9
"""Relative: the same bar told twice differs by no more than how its price was written."""


@dataclass(frozen=True)
class _Feed:
    """last_ms: when the last close was, of which `closes` are the end."""

    name: str
    last_ms: int
    closes: Floats

    def holds(self, closes: Floats, last_ms: int, interval_ms: int) -> bool:
        """Whether these closes share bars with this series, and agree on most of them: exchanges revise single bars."""
        behind, rest = divmod(last_ms - self.last_ms, interval_ms)  # bars that these are ahead of this series
        if rest:
            return False
        ours = self.closes if behind >= 0 else self.closes[:behind]
        theirs = closes[: len(closes) - behind] if behind > 0 else closes
        shared = min(len(ours), len(theirs))
        if shared == 0:
            return False
        agree = np.isclose(ours[-shared:], theirs[-shared:], rtol=SAME_CLOSE, atol=0)
        return 2 * int(np.count_nonzero(agree)) > shared


@dataclass(frozen=True)
class News:
    """feed: the series that a window's close belongs to, None where it has none.  lines: what was not told yet."""

    feed: str | None = None
    lines: Sequence[ClosesLine] = ()


State = Mapping[str, Sequence[_Feed]]
"""symbol -> its series, the one last heard of first."""


class Feeds:
    """The series that one worker knows.

    state: to be put back where the lines could not be written: what is not told would be missing for ever.
    """

    def __init__(self, worker: str) -> None:
        """worker: a name that no other worker has or had, which leads the names of its series."""
        self._worker = worker
        self._number = 0
        self.state: State = {}

    def news(self, window: Window, interval_ms: int) -> News:
        """What a window says of prices that this worker has not told yet; from now on it counts as told."""
        if window.as_of_ms is None or window.close is None:
            return News()
        if window.closes is None:
            return News(TOLD, [ClosesLine(window.symbol, TOLD, False, interval_ms, window.as_of_ms, [window.close])])
        closes, last_ms = window.closes[-MOST_CLOSES:], window.as_of_ms
        feeds = self.state.get(window.symbol, ())
        known = next((feed for feed in feeds if feed.holds(closes, last_ms, interval_ms)), None)
        new = len(closes) if known is None else (last_ms - known.last_ms) // interval_ms
        if known is not None and new <= 0:
            return News(known.name)
        self._number += known is None
        name = f"{self._worker}-{self._number}" if known is None else known.name
        now = _Feed(name, last_ms, closes[-REMEMBERED:].copy())
        others = [feed for feed in feeds if feed is not known]
        self.state = {**self.state, window.symbol: [now, *others[: MOST_FEEDS - 1]]}
        line = ClosesLine(window.symbol, name, known is None, interval_ms, last_ms, closes[-new:].tolist())
        return News(name, [line])
