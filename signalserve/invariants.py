"""What must always hold of a model's predictions: checked over the last five, so that what breaks it pages at once.

A rate would be too slow: at the dependence of minute-by-minute predictions a drift statistic takes three hours to show
a total saturation. These rules need five predictions.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

LOOK_BACK = 5
SATURATED = 0.99

# a rule's name and how many of the last five observations must show it
RULES = {
    "not_finite": 1,  # the network gave NaN or infinity
    "clamped": 3,  # a raw logit beyond the clamp: input unscaled, or the network is not the one it was
    "clamp_tie": 1,  # two logits beyond the clamp: the argmax is arbitrary
    "saturated": 5,  # confidence of 0.99 and more, every time
    "off_scale": 3,  # more than a third of the columns off scale (`off_scale.py`)
}


@dataclass(frozen=True)
class Observation:
    """What one prediction of one model showed. as_of_ms identifies it: a retry is the same observation."""

    signs: frozenset[str]
    as_of_ms: int | None = None


def signs_of(raw_logits: Sequence[float], clamp: float, confidence: float, *, off_scale: bool) -> frozenset[str]:
    """The rules that a single finite prediction speaks for.

    raw_logits: one a class, plain floats (numpy's overhead on three numbers is ten times the work).
    confidence: the largest of the model's own probabilities.
    """
    signs = {
        "clamped": any(abs(logit) > clamp for logit in raw_logits),
        "clamp_tie": is_tie(raw_logits, clamp),
        "saturated": confidence >= SATURATED,
        "off_scale": off_scale,
    }
    return frozenset(name for name, shown in signs.items() if shown)


def is_tie(raw_logits: Sequence[float], clamp: float) -> bool:
    """Whether the largest class is arbitrary: two logits at or beyond +clamp, or all at or beyond -clamp."""
    top = max(raw_logits)
    if top >= clamp:
        return sum(logit >= clamp for logit in raw_logits) > 1
    return top <= -clamp


class InvariantWatch:
    """The last five observations of one model and symbol.

    >>> watch = InvariantWatch()
    >>> [sorted(watch.observe(Observation(frozenset({"clamped"})))) for _ in range(3)]
    [[], [], ['clamped']]
    """

    def __init__(self) -> None:
        self._recent: deque[Observation] = deque(maxlen=LOOK_BACK)

    def observe(self, observation: Observation) -> frozenset[str]:
        """Take in one prediction; returns the names of the rules now broken."""
        if observation.as_of_ms is not None:
            for index, earlier in enumerate(self._recent):
                if earlier.as_of_ms == observation.as_of_ms:
                    self._recent[index] = observation
                    return self.broken()
        self._recent.append(observation)
        return self.broken()

    def broken(self) -> frozenset[str]:
        """The names of the rules that the last five observations break."""
        if not any(seen.signs for seen in self._recent):
            return frozenset()
        return frozenset(
            rule for rule, needed in RULES.items() if sum(rule in seen.signs for seen in self._recent) >= needed
        )
