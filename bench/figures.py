"""What was measured, round by round, and the ratios between what was measured in the same round."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

from load import Summary

Figure = Literal["p50_us", "p99_us", "per_second", "cpu_ms"]
FIGURES: tuple[Figure, ...] = ("p50_us", "p99_us", "per_second", "cpu_ms")


class Key(NamedTuple):
    """who: what answered.  form: how it was asked.  connections: how many asked at once."""

    who: str
    form: str
    connections: int


@dataclass(frozen=True)
class Spread:
    """The median over the rounds, and the range."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        span = f" ({self.low:.2f}–{self.high:.2f})" if self.low < self.high else ""
        return f"{self.median:.2f}{span}"


@dataclass
class Results:
    """Every measurement, each key's in the order of the rounds."""

    rounds: dict[Key, list[Summary]] = field(default_factory=dict)

    def add(self, key: Key, summary: Summary) -> None:
        self.rounds.setdefault(key, []).append(summary)

    def spread(self, key: Key, figure: Figure) -> Spread:
        return Spread.of([getattr(summary, figure) for summary in self.rounds[key]])

    def ratio(self, key: Key, against: Key, figure: Figure) -> Spread:
        """key ÷ against, each round by itself: what slows a whole round down slows both."""
        pairs = zip(self.rounds[key], self.rounds[against], strict=True)
        return Spread.of([getattr(ours, figure) / getattr(theirs, figure) for ours, theirs in pairs])

    def faults(self) -> Iterator[str]:
        for key, summaries in self.rounds.items():
            for summary in summaries:
                for fault, count in summary.faults.items():
                    yield f"{key.who}, {key.form}, {key.connections} connections: {count} × {fault}"

    def generator_share(self) -> float:
        """The largest share of one core that the load generator took in any measurement."""
        return max(summary.generator_share for summaries in self.rounds.values() for summary in summaries)

    def as_json(self) -> list[dict[str, Any]]:
        return [
            {
                **key._asdict(),
                **{figure: asdict(self.spread(key, figure)) for figure in FIGURES},
                "rounds": [asdict(summary) for summary in summaries],
            }
            for key, summaries in self.rounds.items()
        ]
