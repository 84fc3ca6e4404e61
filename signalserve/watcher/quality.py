"""How good an arm's last predictions were, beside what no model at all would have reached on the same outcomes.

Outcomes of neighbours overlap, so that n of them are far fewer independent ones: every interval rests on an effective
number. It counts the overlap alone. Luck that lasts longer than a label looks ahead, as on a day with a trend, makes
the truth wider than told: of a momentum rule on 29 days of real minutes, the intervals of 1,440 outcomes held the mean
of all days in 79 % of the cases, not in 95 %.
"""

import sqlite3
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from signalserve import CLASSES
from signalserve.dependence import effective_count
from signalserve.intervals import Interval, student, wilson
from signalserve.journal import reading
from signalserve.journal.reading import Matured
from signalserve.metrics import CONFIDENCE_EDGES
from signalserve.watcher.calibration_gap import Gap, gap_of

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

NEUTRAL: Final = CLASSES.index("NEUTRAL")

WINDOW: Final = 1440
"""Outcomes: a day of minutes."""

FEWEST: Final = 100
"""Outcomes below which nothing is told but their number: a figure would look like a finding."""

SMALLEST: Final = 1e-15
"""A probability of 0 that came true costs 34.5 nats, as where models are judged offline: one may not hide the rest."""

ROUNDING: Final = 1e-12
"""What rounding leaves between equal losses."""


@dataclass(frozen=True)
class Figure:
    """A mean over the outcomes. interval: of 95 %; None where nobody knows how far outcomes overlap, too few are
    independent to show a spread, or there is none to show."""

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

    nll: nats.  brier: summed over the classes, 0 … 2.  before: the shares of the labels that the model learned from,
    None where nobody told them.  hindsight: these outcomes' own shares, which nobody knew: what comes out better than
    that is no luck with the shares.  gap: mean confidence less accuracy.  bins: one for each of CONFIDENCE_EDGES.
    """

    effective_n: float | None
    accuracy: Figure
    nll: Figure
    brier: Figure
    before: Baseline | None
    hindsight: Baseline
    gap: Gap
    bins: tuple[Bin, ...]


@dataclass(frozen=True)
class Quality:
    """n: outcomes that are judged.  neutral_left_out: those that were NEUTRAL, which the model does not know; it is
    asked about moves only.  since_ms: the time of the earliest judged prediction, None without any.  scores: None
    while there are fewer than FEWEST."""

    n: int
    neutral_left_out: int
    since_ms: int | None
    scores: Scores | None


NOTHING: Final = Quality(0, 0, None, None)


def live_quality(connection: sqlite3.Connection, symbol: str, arm: str) -> Quality:
    """The quality of what now answers as an arm, on its part of the arm's last WINDOW outcomes."""
    maker = reading.maker(connection, symbol, arm)
    if maker is None:
        return NOTHING
    matured = reading.matured(connection, symbol, arm, WINDOW)
    return quality_of(matured, maker.base_rates, knows_neutral=maker.knows_neutral)


def quality_of(matured: Matured, base_rates: Floats | None, *, knows_neutral: bool = True) -> Quality:
    """The quality of one symbol and arm.

    base_rates: (3,) class shares known before, sum 1; None where nobody knows them.  knows_neutral: False judges
    forecasts of DOWN and UP where one of them came, beside the shares of those two.
    """
    judged = matured if knows_neutral else _moves(matured)
    n = len(judged.outcomes)
    neutral_left_out = len(matured.outcomes) - n
    since_ms = int(judged.time_ms[0]) if n else None
    if n < FEWEST:
        return Quality(n, neutral_left_out, since_ms, None)
    if base_rates is not None and not knows_neutral:
        base_rates = _given_a_move(base_rates)
    return Quality(n, neutral_left_out, since_ms, _scores(judged, base_rates))


def _moves(matured: Matured) -> Matured:
    came = matured.outcomes != NEUTRAL
    return Matured(
        matured.probabilities[came], matured.outcomes[came], matured.time_ms[came], horizon_ms=matured.horizon_ms
    )


def _given_a_move(shares: Floats) -> Floats:
    moves = np.where(np.arange(len(CLASSES)) == NEUTRAL, 0.0, shares)
    given: Floats = moves / moves.sum()
    return given


def _scores(matured: Matured, base_rates: Floats | None) -> Scores:
    probabilities, outcomes = matured.probabilities, matured.outcomes
    confidence, hits = probabilities.max(axis=1), probabilities.argmax(axis=1) == outcomes  # (n,)
    lags = _overlap(matured)
    effective_n, effective_gaps = (
        None if lags is None else _independent(values, lags) for values in (hits.astype(np.float64), confidence - hits)
    )
    accuracy = float(hits.mean())
    shares: Floats = np.bincount(outcomes, minlength=3) / len(outcomes)
    return Scores(
        effective_n=effective_n,
        accuracy=Figure(accuracy, None if effective_n is None else wilson(accuracy, effective_n)),
        nll=_figure(_log_losses(probabilities, outcomes), lags),
        brier=_figure(_brier_scores(probabilities, outcomes), lags),
        before=None if base_rates is None else _baseline(base_rates, outcomes),
        hindsight=_baseline(shares, outcomes),
        gap=gap_of(confidence, hits, effective_gaps, lags),
        bins=_bins(confidence, hits),
    )


def _log_losses(probabilities: Floats, outcomes: Integers) -> Floats:
    """-log of the probability of what came, nats, (n,)."""
    losses: Floats = -np.log(np.maximum(probabilities[np.arange(len(outcomes)), outcomes], SMALLEST))
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
    if lags is None or np.ptp(losses) <= ROUNDING:
        return Figure(mean, None)
    return Figure(mean, student(mean, float(losses.var()), _independent(losses, lags)))
