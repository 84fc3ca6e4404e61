"""What must always hold of a model's predictions: checked over the last five, so that what breaks it pages at once.

A rate would be too slow: at the dependence of minute-by-minute predictions a drift statistic takes three hours to show
a total saturation. These rules need five predictions.
"""

from collections.abc import Iterable, Sequence
from typing import Final

LOOK_BACK = 5
SATURATED = 0.99

# a rule's name and how many of the last five observations must show it
RULES = {
    "not_finite": 1,  # the network gave NaN or infinity
    "clamped": 3,  # a raw logit beyond the clamp: input unscaled, or the network is not the one it was
    "clamp_tie": 1,  # two logits beyond the clamp: the argmax is arbitrary
    "saturated": 5,  # confidence of 0.99 and more, every time
    "off_scale": 3,  # more than a third of the columns off scale (`off_scale.py`)
    "scaler_off": 3,  # the same, for this model and not for the symbol's other: its scaler is not the features'
}

TAKES_OUT: Final = frozenset(RULES) - {"off_scale"}
"""The rules that take a model out of the answer. What is off scale for every model is the caller's input: no other
model would do better on it, and one caller's mistake must not take the models from all others."""


def signs_of(raw_logits: Sequence[float], clamp: float, confidence: float, *, scale: str | None) -> frozenset[str]:
    """The rules that a single finite prediction speaks for.

    raw_logits: one a class, plain floats (numpy's overhead on three numbers is ten times the work).
    confidence: the largest of the model's own probabilities.  scale: off_scale, scaler_off or None.
    """
    signs = {
        "clamped": any(abs(logit) > clamp for logit in raw_logits),
        "clamp_tie": is_tie(raw_logits, clamp),
        "saturated": confidence >= SATURATED,
    }
    return frozenset(name for name, shown in signs.items() if shown) | ({scale} if scale else set())


def is_tie(raw_logits: Sequence[float], clamp: float) -> bool:
    """Whether the largest class is arbitrary: two logits at or beyond +clamp, or all at or beyond -clamp."""
    top = max(raw_logits)
    if top >= clamp:
        return sum(logit >= clamp for logit in raw_logits) > 1
    return top <= -clamp


def broken(recent: Iterable[frozenset[str]]) -> frozenset[str]:
    """The names of the rules that the last observations' signs break.

    >>> sorted(broken([frozenset({"clamped"})] * 3 + [frozenset()] * 2))
    ['clamped']
    """
    seen = list(recent)
    if not any(seen):
        return frozenset()
    return frozenset(rule for rule, needed in RULES.items() if sum(rule in signs for signs in seen) >= needed)
