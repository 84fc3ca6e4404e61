"""Which series of prices a caller's candles belong to, and which of its closes are news.

The outcome of a prediction is the difference of two prices. Both must be the same market's: another exchange's price of
the same minute differs by as much as a label's band, and a demo's has nothing to do with any. So a worker tells series
apart by the closes that they share.
"""

from collections.abc import Sequence
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
MOST_FEEDS: Final = 8
"""Of one symbol in one worker; the one that was silent for longest is forgotten, and begins anew when it comes back."""
SAME: Final = 1e-9
"""Relative: the same bar told twice differs by no more than how its price was written."""


@dataclass
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
        agree = np.isclose(ours[-shared:], theirs[-shared:], rtol=SAME, atol=0)
        return 2 * int(np.count_nonzero(agree)) > shared


class Feeds:
    """The series that one worker knows."""

    def __init__(self, worker: str) -> None:
        """worker: a name that no other worker has or had, which leads the names of its series."""
        self._worker = worker
        self._number = 0
        self._of: dict[str, list[_Feed]] = {}  # symbol -> its series, the one last heard of first

    def news(self, window: Window, interval_ms: int) -> list[ClosesLine]:
        """What a window says of prices that this worker has not told yet: one line, or none."""
        if window.as_of_ms is None or window.close is None:
            return []
        if window.closes is None:
            return [ClosesLine(window.symbol, TOLD, interval_ms, window.as_of_ms, [window.close])]
        closes, last_ms = window.closes[-MOST_CLOSES:], window.as_of_ms
        feeds = self._of.setdefault(window.symbol, [])
        known = next((feed for feed in feeds if feed.holds(closes, last_ms, interval_ms)), None)
        if known is None:
            self._number += 1
            feed = _Feed(f"{self._worker}-{self._number}", last_ms, closes[-REMEMBERED:].copy())
            feeds[:] = [feed, *feeds[: MOST_FEEDS - 1]]
            return [_line(window.symbol, feed, interval_ms, closes)]
        feeds.remove(known)
        feeds.insert(0, known)
        new = (last_ms - known.last_ms) // interval_ms
        if new <= 0:
            return []
        known.last_ms, known.closes = last_ms, closes[-REMEMBERED:].copy()
        return [_line(window.symbol, known, interval_ms, closes[-new:])]


def _line(symbol: str, feed: _Feed, interval_ms: int, closes: Floats) -> ClosesLine:
    news: Sequence[float] = closes.tolist()
    return ClosesLine(symbol, feed.name, interval_ms, feed.last_ms, news)
