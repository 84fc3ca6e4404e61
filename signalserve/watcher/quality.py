"""How good an arm's last predictions were, beside what no model at all would have reached on the same outcomes.

Outcomes of neighbours overlap, so that n of them are far fewer independent ones: every interval rests on an effective
number. It counts the overlap alone. Where luck lasts longer than a label looks ahead, the truth is wider than told.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from signalserve.dependence import effective_count
from signalserve.ensemble import FLOOR
from signalserve.intervals import Interval, student, wilson
from signalserve.journal.reading import Matured
from signalserve.metrics import CONFIDENCE_EDGES

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

WINDOW: Final = 1440
"""Outcomes: a day of minutes."""

FEWEST: Final = 100
"""Outcomes below which nothing is told but their number: a figure would look like a finding."""


@dataclass(frozen=True)
class Figure:
    """A mean over the outcomes. interval: of 95 %; None where nobody knows how far outcomes overlap, or too few are
    independent to show a spread."""

    value: float
    interval: Interval | None


@dataclass(frozen=True)
class Baseline:
    """What always forecasting the same class shares reaches. accuracy: of always saying the largest.

    shares: (3,).  nll: nats.  brier: summed over the classes, 0 … 2.
    """

    shares: tuple[float, ...]
    accuracy: float
    nll: float
    brier: float


@dataclass(frozen=True)
class Bin:
    """Predictions whose confidence lies above the bin before and at most at `edge`.

    confidence: their mean.  right: the share of them that was.  Both None where there are none.
    """

    edge: float
    count: int
    confidence: float | None
    right: float | None


@dataclass(frozen=True)
class Scores:
    """effective_n: how many independent hits and misses there are, 1 … n; None where nobody knows how far outcomes
    overlap.

    nll: nats.  brier: summed over the classes, 0 … 2.  before: the shares that were known when the model was made,
    None where they were not.  hindsight: these outcomes' own shares, which nobody knew: what comes out better than that
    is no luck with the shares.  bins: one for each of CONFIDENCE_EDGES.
    """

    effective_n: float | None
    accuracy: Figure
    nll: Figure
    brier: Figure
    before: Baseline | None
    hindsight: Baseline
    bins: tuple[Bin, ...]


@dataclass(frozen=True)
class Quality:
    """n: outcomes.  scores: None while there are fewer than FEWEST."""

    n: int
    scores: Scores | None


def quality_of(matured: Matured, base_rates: Floats | None) -> Quality:
    """The quality of one symbol and arm.

    base_rates: (3,) class shares known before, sum 1; None where nobody knows them.
    """
    n = len(matured.outcomes)
    if n < FEWEST:
        return Quality(n, None)
    probabilities, outcomes = matured.probabilities, matured.outcomes
    confidence, hits = probabilities.max(axis=1), probabilities.argmax(axis=1) == outcomes  # (n,)
    lags = _overlap(matured)
    effective_n = None if lags is None else _independent(hits.astype(np.float64), lags)
    accuracy = float(hits.mean())
    shares: Floats = np.bincount(outcomes, minlength=3) / n
    return Quality(
        n,
        Scores(
            effective_n=effective_n,
            accuracy=Figure(accuracy, None if effective_n is None else wilson(accuracy, effective_n)),
            nll=_figure(_log_losses(probabilities, outcomes), lags),
            brier=_figure(_brier_scores(probabilities, outcomes), lags),
            before=None if base_rates is None else _baseline(base_rates, outcomes),
            hindsight=_baseline(shares, outcomes),
            bins=_bins(confidence, hits),
        ),
    )


def _log_losses(probabilities: Floats, outcomes: Integers) -> Floats:
    """-log of the probability of what came, nats, (n,)."""
    losses: Floats = -np.log(np.maximum(probabilities[np.arange(len(outcomes)), outcomes], FLOOR))
    return losses


def _brier_scores(probabilities: Floats, outcomes: Integers) -> Floats:
    """Squared distance of each forecast from what came, (n,). Source: Brier 1950."""
    scores: Floats = ((probabilities - np.eye(3)[outcomes]) ** 2).sum(axis=1)
    return scores


def _baseline(shares: Floats, outcomes: Integers) -> Baseline:
    forecast = np.broadcast_to(shares, (len(outcomes), 3))
    return Baseline(
        shares=tuple(shares.tolist()),
        accuracy=float((outcomes == shares.argmax()).mean()),
        nll=float(_log_losses(forecast, outcomes).mean()),
        brier=float(_brier_scores(forecast, outcomes).mean()),
    )


def _bins(confidence: Floats, hits: npt.NDArray[np.bool_]) -> tuple[Bin, ...]:
    # a confidence may lie a rounding error above the last edge, 1
    places = np.minimum(np.searchsorted(CONFIDENCE_EDGES, confidence), len(CONFIDENCE_EDGES) - 1)
    found = []
    for place, edge in enumerate(CONFIDENCE_EDGES):
        inside = places == place
        count = int(inside.sum())
        means = (float(confidence[inside].mean()), float(hits[inside].mean())) if count else (None, None)
        found.append(Bin(edge, count, *means))
    return tuple(found)


# ---- how much they are worth


def _overlap(matured: Matured) -> int | None:
    """How many later predictions, at most, were made before one's own outcome was decided; None where unknown."""
    if matured.horizon_ms is None:
        return None
    times = matured.time_ms
    ahead = np.searchsorted(times, times + matured.horizon_ms) - np.arange(len(times)) - 1
    return int(ahead.max())


def _independent(values: Floats, lags: int) -> float:
    """The effective number of a series, less what measuring from its own mean hides of its dependence, 1 … n.

    Each autocovariance comes out too small by a long-run variance / n, and 2 · lags + 1 of them are summed (Percival
    1993, Three Curious Properties of the Sample Variance and Autocovariance).
    """
    return max(1.0, effective_count(values, lags) * (1 - (2 * lags + 1) / len(values)))


def _figure(losses: Floats, lags: int | None) -> Figure:
    mean = float(losses.mean())
    if lags is None:
        return Figure(mean, None)
    return Figure(mean, student(mean, float(losses.var()), _independent(losses, lags)))
