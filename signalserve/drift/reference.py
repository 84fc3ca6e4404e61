"""What a healthy stream of an arm looks like: what live windows are held against.

Of a model it is made with the bundle and kept in `reference.json`; of a pool the watcher makes it from the members'
kept streams, for the weights in force.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from signalserve import CLASSES
from signalserve.drift import DAY, WINDOWS
from signalserve.drift.class_run import RunLimit, longest_run
from signalserve.drift.limits import Limits
from signalserve.drift.psi import Bins, psi
from signalserve.drift.rate import Rate
from signalserve.drift.stream import Stream
from signalserve.invariants import SATURATED


@dataclass(frozen=True)
class Reference:
    """n: predictions.  confidence, largest_logit: their quantile bins.  said: (3,), how often each class.  rates: of
    the reference itself.  design_effect: window -> how many times the variance of its
    mean confidence is that of independent ones.  largest_logit and two of the rates are missing of a pool.
    """

    n: int
    mean_confidence: float
    confidence: Bins
    largest_logit: Bins | None
    said: tuple[int, int, int]
    longest_run: int
    rates: Mapping[str, Rate]
    design_effect: Mapping[int, float]
    limits: Limits

    @property
    def counts(self) -> dict[str, Sequence[int]]:
        """How many in each bin, of each statistic that is a distribution's."""
        found: dict[str, Sequence[int]] = {"confidence_psi": self.confidence.counts.tolist(), "class_psi": self.said}
        if self.largest_logit is not None:
            found["logit_psi"] = self.largest_logit.counts.tolist()
        return found

    @property
    def run_limit(self) -> RunLimit:
        """When one class on end is too much."""
        return RunLimit(self.longest_run, self.limits.run_days, self.n / DAY)

    def is_blind(self, name: str, window: int, limit: float) -> bool:
        """Whether no window at all could pass the limit: a PSI is largest where all lie in one bin."""
        counts = self.counts.get(name)
        return counts is not None and max(psi(alone, counts) for alone in window * np.eye(len(counts))) <= limit

    def to_json(self) -> dict[str, Any]:
        """Plain numbers; `from_json` reads them back."""
        return {
            "n": self.n,
            "mean_confidence": self.mean_confidence,
            "confidence": _bins_json(self.confidence),
            "largest_logit": self.largest_logit and _bins_json(self.largest_logit),
            "said": dict(zip(CLASSES, self.said, strict=True)),
            "longest_run": self.longest_run,
            "rates": {name: {"reference": rate.reference, "limit": rate.limit} for name, rate in self.rates.items()},
            "design_effect": {str(window): effect for window, effect in self.design_effect.items()},
            **self.limits.to_json(),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Reference":
        """Raises ValueError, saying what is wrong, for anything that `to_json` did not write."""
        try:
            largest = content["largest_logit"]
            down, neutral, up = (int(content["said"][name]) for name in CLASSES)
            reference = cls(
                n=int(content["n"]),
                mean_confidence=float(content["mean_confidence"]),
                confidence=Bins(**content["confidence"]),
                largest_logit=largest and Bins(**largest),
                said=(down, neutral, up),
                longest_run=int(content["longest_run"]),
                rates={
                    name: Rate(rate["reference"], rate["limit"] - rate["reference"])
                    for name, rate in content["rates"].items()
                },
                design_effect={int(window): float(effect) for window, effect in content["design_effect"].items()},
                limits=Limits.from_json(content),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"drift: expected what `signalserve calibrate` writes, got {error!r}") from None
        effects = reference.design_effect
        if set(effects) != set(WINDOWS) or not all(0 < effect < math.inf for effect in effects.values()):
            raise ValueError(
                f"drift: design_effect: expected a finite number above 0 for each window of {WINDOWS}, got {effects}"
            )
        missing = {*reference.counts, "confidence_shift"} - {name for name, _ in reference.limits.limits}
        if missing:
            raise ValueError(f"drift: limits: expected those of {sorted(missing)} too; run `signalserve calibrate`")
        return reference


def make_reference(stream: Stream, limits: Limits, *, clamp: float | None, columns: int | None) -> Reference:
    """stream: the predictions; limits: simulated from them.  clamp, columns: of the model, None of a pool."""
    from signalserve.drift.surrogates import Surrogates

    surrogates = Surrogates(stream)
    rates = {"saturation_rate": Rate(float((stream.confidence >= SATURATED).mean()))}
    if stream.largest_logit is not None and clamp is not None:
        rates["clamp_rate"] = Rate(float((stream.largest_logit > clamp).mean()))
    if stream.off_scale is not None and columns is not None:
        # Half a column: one that is off scale for good is a fault of the input, and one off now and then is a market
        rates["off_scale_rate"] = Rate(float(stream.off_scale.mean()), margin=0.5 / columns)
    down, neutral, up = np.bincount(stream.classes, minlength=len(CLASSES)).tolist()
    return Reference(
        n=len(stream),
        mean_confidence=float(stream.confidence.mean()),
        confidence=Bins.of(stream.confidence),
        largest_logit=None if stream.largest_logit is None else Bins.of(stream.largest_logit),
        said=(down, neutral, up),
        longest_run=longest_run(stream.classes),
        rates=rates,
        design_effect={window: surrogates.design_effect(window) for window in WINDOWS},
        limits=limits,
    )


def _bins_json(bins: Bins) -> dict[str, Any]:
    return {"edges": bins.edges.tolist(), "counts": bins.counts.tolist()}
