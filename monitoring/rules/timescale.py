"""Durations of rules, as they are or as a drill needs them that replays time faster than it passes."""

import re
from dataclasses import dataclass
from typing import Final

INTERVAL_S: Final = 15.0
"""Between two scrapes, and between two evaluations."""
FASTEST_S: Final = 1.0
"""Between two scrapes of a drill, however fast it replays."""
FEWEST_SCRAPES: Final = 5
"""That a range or an age must span: `increase()` needs two samples, and one may be late or missing."""

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_RANGE: Final = re.compile(r"(?<=\[)\$(\d+[smhd])(?=\])|(?<=offset )\$(\d+[smhd])")
_AGE: Final = re.compile(r"\$(\d+[smhd])\b")


@dataclass(frozen=True)
class TimeScale:
    """How many times faster than the clock the replayed time runs; 1 for what is live. Raises ValueError under 1.

    >>> TimeScale(60).expression("time() - as_of > $10m and increase(errors_total[$10m]) > 0")
    'time() - as_of > 10 and increase(errors_total[10s]) > 0'
    """

    factor: float = 1.0

    def __post_init__(self) -> None:
        if not self.factor >= 1:
            raise ValueError(f"a time scale is 1 (live) or more (a replay that many times faster), not {self.factor:g}")

    @property
    def interval_s(self) -> float:
        """Between two scrapes and two evaluations, seconds."""
        return max(INTERVAL_S / self.factor, FASTEST_S)

    def expression(self, text: str) -> str:
        """PromQL in which a duration that passes with the replayed time is written $5m: it becomes a duration in
        brackets and after `offset`, seconds elsewhere. Never under FEWEST_SCRAPES scrapes: nothing would be seen."""
        text = _RANGE.sub(lambda found: prometheus_duration(self._seen(found[1] or found[2])), text)
        return _AGE.sub(lambda found: f"{self._seen(found[1]):g}", text)

    def wait(self, duration: str) -> str:
        """A `for:`, which may be shorter than a scrape: the alert then fires at the second evaluation."""
        return prometheus_duration(seconds_of(duration) / self.factor)

    def _seen(self, duration: str) -> float:
        return max(seconds_of(duration) / self.factor, FEWEST_SCRAPES * self.interval_s)


def seconds_of(duration: str) -> float:
    """'5m' -> 300."""
    return float(duration[:-1]) * _UNITS[duration[-1]]


def prometheus_duration(seconds: float) -> str:
    """In the largest unit that leaves no rest, to the millisecond.

    >>> prometheus_duration(300), prometheus_duration(1.25)
    ('5m', '1250ms')
    """
    milliseconds = round(seconds * 1000)
    for unit, size in reversed(_UNITS.items()):
        if milliseconds and milliseconds % (size * 1000) == 0:
            return f"{milliseconds // (size * 1000)}{unit}"
    return f"{milliseconds}ms"
