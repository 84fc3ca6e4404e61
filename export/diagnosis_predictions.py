"""Raw logits -> what a model makes of them: how far they reach, how sure it is, what it says and for how long."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from export.quality import probabilities_of
from export.reference_stream import run_lengths
from export.scores import CONFIDENT, by_class, class_shares
from signalserve import CLASSES
from signalserve.pipeline import Calibration

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

LOGIT_LEVELS: Final = (0.0, 0.01, 0.5, 0.99, 1.0)
CONFIDENCE_LEVELS: Final = (0.5, 0.75, 0.9, 0.95, 0.99)
"""Quantiles, as shares; of logits with both extremes."""


@dataclass(frozen=True)
class Stage:
    """The same logits at one step of the pipeline.

    name: in words.  temperature, clamp: what was done to them.  windows: how many; not_finite: those answered by NaN
    or infinity, which all other figures leave out.  raw, clamped: quantiles at LOGIT_LEVELS of all logits that the
    network gives.  beyond, ties: shares of windows with a raw logit beyond the clamp, and with the largest of them
    tied there.  confidence: quantiles at CONFIDENCE_LEVELS.  confident: threshold -> share above it.
    classes: share of each.  longest: the longest run of each, in windows; None where the windows are not in a row.
    logits, confidences: (m,) for histograms.  said: (m,), the classes.
    """

    name: str
    temperature: float
    clamp: float
    windows: int
    not_finite: int
    raw: Sequence[float]
    clamped: Sequence[float]
    beyond: float
    ties: float
    confidence: Sequence[float]
    mean_confidence: float
    confident: Mapping[str, float]
    classes: Mapping[str, float]
    longest: Mapping[str, int] | None
    logits: Floats
    confidences: Floats
    said: npt.NDArray[np.int64]

    @property
    def reach(self) -> float:
        """The largest |raw logit|."""
        return max(abs(self.raw[0]), abs(self.raw[-1]))


def stage(name: str, raw_logits: Floats, calibration: Calibration, *, in_a_row: bool) -> Stage | None:
    """One stage; None where no window is answered by finite logits.

    raw_logits: (m, classes known), m > 0, in time order.  in_a_row: whether the windows are neighbours.
    """
    finite: Flags = np.asarray(np.isfinite(raw_logits).all(axis=1))
    if not finite.any():
        return None
    raw = raw_logits[finite]
    probabilities = probabilities_of(raw, calibration)
    said, confidences = probabilities.argmax(axis=1), probabilities.max(axis=1)
    given = raw if raw.shape[1] == len(CLASSES) else raw[:, 1:]  # the 0 of DOWN is no output of the network
    reached = np.quantile(given, LOGIT_LEVELS)
    return Stage(
        name=name,
        temperature=calibration.temperature,
        clamp=calibration.clamp,
        windows=len(finite),
        not_finite=int((~finite).sum()),
        raw=reached.tolist(),
        clamped=np.clip(reached, -calibration.clamp, calibration.clamp).tolist(),
        beyond=float((np.abs(raw) > calibration.clamp).any(axis=1).mean()),
        ties=float(ties(raw, calibration.clamp).mean()),
        confidence=np.quantile(confidences, CONFIDENCE_LEVELS).tolist(),
        mean_confidence=float(confidences.mean()),
        confident={f"{limit:g}": float((confidences > limit).mean()) for limit in CONFIDENT},
        classes=by_class(class_shares(said)),
        longest=longest_runs(said) if in_a_row and finite.all() else None,
        logits=given.ravel(),
        confidences=confidences,
        said=said,
    )


def ties(raw_logits: Floats, clamp: float) -> Flags:
    """Where the largest class is arbitrary after the clamp, (m,), as `invariants.is_tie` has it for one window."""
    top = raw_logits.max(axis=1)
    above = (top >= clamp) & ((raw_logits >= clamp).sum(axis=1) > 1)
    return np.asarray(above | (top <= -clamp))


def longest_runs(said: npt.NDArray[np.int64]) -> dict[str, int]:
    """Class -> its longest run of equal neighbours, 0 where it is never said. said: (m,), m > 0."""
    classes, lengths = run_lengths(said)
    return {name: int(lengths[classes == i].max(initial=0)) for i, name in enumerate(CLASSES)}


def shares_by_day(said: npt.NDArray[np.int64], per_day: int) -> Floats:
    """Class shares of each whole stretch of a day's windows from the first on, (days, 3); what is left over is not
    shown. said: (m,), in a row.  per_day: windows, > 0."""
    days = len(said) // per_day
    return np.array([class_shares(said[day * per_day : (day + 1) * per_day]) for day in range(days)])
