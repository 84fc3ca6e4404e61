"""Two models' forecasts and what came of them -> the weight and temperature under which their pool is most likely.

The pool is `ensemble.pool`, the one that is served. Its likelihood is searched over the weight, and for every weight
over the temperature. A log pool with both is a logistic regression, whose likelihood has one maximum; a linear pool's
may have more, which is why the weight is first looked for on a grid.
Sources: Genest and Zidek 1986, Combining Probability Distributions; Ranjan and Gneiting 2010, Combining probability
forecasts, on why a linear pool of calibrated forecasts is never calibrated and wants a temperature of its own.
"""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import scipy.optimize

from export.bootstrap import statistic_interval
from export.quality import NEUTRAL
from export.scores import log_losses
from export.temperature import fit_temperature
from signalserve import CLASSES
from signalserve.ensemble import FLOOR, PoolMethod, pool
from signalserve.intervals import Interval

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

GRID: Final = np.arange(21) / 20
"""Weights of the first model, both ends included: a bounded search never looks at its ends."""

TOLERANCE: Final = 1e-4
"""Of the weight, as many digits as `serving.yaml` is given."""

ROUNDING: Final = 1e-9
"""Nats: what rounding and the search for a temperature may leave between equals."""

UNCLAMPED: Final = 1e3
"""Log-probabilities end at -691, the logarithm of the pool's FLOOR: no clamp changes them."""


@dataclass(frozen=True)
class Forecasts:
    """What two models said of the same windows, and what came.

    probabilities: (2, n, 3), rows summing to 1.  labels: (n,), 0 … 2, in time order, n > 0.  knows_neutral: False
    where one of the two models does not; then no label is NEUTRAL, and forecasts are judged as `given_a_move`.
    """

    probabilities: Floats
    labels: Labels
    knows_neutral: bool = True


@dataclass(frozen=True)
class PoolPoint:
    """A pool, and how likely it makes the labels. weight: of the first model, 0 … 1.  nll: mean, nats."""

    weight: float
    temperature: float
    nll: float
    at_bound: Literal["lower", "upper"] | None


@dataclass(frozen=True)
class PoolFit:
    """The likeliest pool. curve: the best that each weight of GRID allows, ascending by weight."""

    method: PoolMethod
    best: PoolPoint
    curve: tuple[PoolPoint, ...]
    n: int


def pooled(probabilities: Floats, weight: float, method: PoolMethod, temperature: float) -> Floats:
    """`ensemble.pool` of two. probabilities: (2, n, 3).  weight: of the first.  Returns (n, 3)."""
    return pool(probabilities, np.array([weight, 1 - weight]), method, temperature)


def given_a_move(probabilities: Floats) -> Floats:
    """Forecasts of DOWN and UP under the condition that one of them comes, (n, 3) -> (n, 3) with 0 for NEUTRAL.

    Who knows no NEUTRAL is only asked about moves, and who does would lose by every share that it gave to NEUTRAL.
    """
    moves = np.where(np.arange(len(CLASSES)) == NEUTRAL, 0.0, np.maximum(probabilities, FLOOR))
    given: Floats = moves / moves.sum(axis=1, keepdims=True)
    return given


def fit_pool(forecasts: Forecasts, method: PoolMethod, *, tempered: bool) -> PoolFit:
    """The weight with the smallest negative log-likelihood, and, if `tempered`, the temperature along with it.

    Never worse than one of the two models alone (with a temperature of its own if `tempered`). Not tempered, the
    temperature is 1. Raises ValueError for labels that are not 0 … 2, or NEUTRAL where it is not known;
    RuntimeError with the optimiser's reason.
    """
    curve = tuple(_at_weight(forecasts, method, float(weight), tempered) for weight in GRID)
    lowest = int(np.argmin([point.nll for point in curve]))
    neighbours = GRID[max(lowest - 1, 0)], GRID[min(lowest + 1, len(GRID) - 1)]
    found = scipy.optimize.minimize_scalar(
        lambda weight: _at_weight(forecasts, method, float(weight), tempered).nll,
        bounds=neighbours,
        method="bounded",
        options={"xatol": TOLERANCE},
    )
    if not found.success:
        raise RuntimeError(f"pool weights: the search stopped after {found.nfev} evaluations: {found.message}")
    refined = _at_weight(forecasts, method, float(found.x), tempered)
    best = min(refined, curve[lowest], key=lambda point: point.nll)
    return PoolFit(method, best, curve, len(forecasts.labels))


def weight_interval(forecasts: Forecasts, fit: PoolFit, horizon: int, *, level: float = 0.95) -> Interval:
    """An interval for the fitted weight, by a block bootstrap of the windows, outwards to the next weight of GRID.

    horizon: bars that a label looks ahead; blocks are no shorter. Each weight keeps the temperature that the whole
    part gave it. Raises DataError for too few windows.
    """
    losses = np.stack([losses_of(forecasts, point, fit.method) for point in fit.curve], axis=1)  # (n, weights)

    def around_minimum(means: Floats) -> Floats:
        """Of each replicate the grid's weights on both sides of its likeliest, or of all that are as likely."""
        lowest = means <= means.min(axis=1, keepdims=True) + ROUNDING  # (rounds, weights)
        last = len(GRID) - 1
        before, after = lowest.argmax(axis=1) - 1, last - lowest[:, ::-1].argmax(axis=1) + 1
        around: Floats = GRID[np.concatenate([np.maximum(before, 0), np.minimum(after, last)])]
        return around

    return statistic_interval(losses, around_minimum, horizon, level=level)


def losses_of(forecasts: Forecasts, point: PoolPoint, method: PoolMethod) -> Floats:
    """Negative log-likelihood of each label under a pool, nats, (n,)."""
    said = pooled(forecasts.probabilities, point.weight, method, point.temperature)
    return log_losses(said if forecasts.knows_neutral else given_a_move(said), forecasts.labels)


def _at_weight(forecasts: Forecasts, method: PoolMethod, weight: float, tempered: bool) -> PoolPoint:
    """The pool with this weight, at T = 1 or at its own best temperature."""
    labels = forecasts.labels
    said = pooled(forecasts.probabilities, weight, method, 1.0)
    if not forecasts.knows_neutral:
        if (labels == NEUTRAL).any():
            raise ValueError("labels: expected DOWN and UP only, since a model knows no NEUTRAL, got NEUTRAL")
        said = given_a_move(said)
    if not tempered:
        return PoolPoint(weight, 1.0, float(log_losses(said, labels).mean()), None)
    logs = np.log(np.maximum(said, FLOOR))
    if not forecasts.knows_neutral:
        logs, labels = np.delete(logs, NEUTRAL, axis=1), labels // 2  # UP is 1 of two
    fit = fit_temperature(logs, labels, UNCLAMPED)
    return PoolPoint(weight, fit.temperature, float(fit.nll_after), fit.at_bound)
