"""Logits and what came of them -> the temperature under which the probabilities are most likely, and how sure that is.

The search is in log T: the negative log-likelihood is convex in 1/T, so it has one minimum there too.
Source: Guo et al. 2017, On Calibration of Modern Neural Networks, section 4.2. On why it is fitted and not chosen:
a temperature set for a wished-for mean confidence gave errors of calibration of 0.17 to 0.27 where this gave 0.01.
For those who want it all the same there is `temperature_for_confidence`.
"""

from dataclasses import dataclass
from math import exp, log
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import scipy.optimize
import torch
from scipy.special import log_softmax, softmax

from export.bootstrap import block_length, resample_means, widening
from signalserve.errors import DataError
from signalserve.intervals import Interval
from signalserve.pipeline import clamp_logits, temper

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

LOWEST, HIGHEST = 0.05, 1000.0
"""Bounds of the search. At 1000, logits clamped to ±15 give a confidence of at most 0.343: the model says nothing."""

TOLERANCE: Final = 1e-5
"""Of log T: a hundred-thousandth of the temperature."""

GRID: Final = 200
"""Temperatures at which the bootstrap knows the likelihood, 5 % apart; a parabola finds the minimum between them."""


@dataclass(frozen=True)
class TemperatureFit:
    """A fitted temperature, and what the fit gained.

    nll_before, nll_after: mean negative log-likelihood in nats, clamped logits at T = 1 and at `temperature`.
    at_bound: the end of the search's range where it stopped, if it did; then the data has no best temperature in
    the range (upper: the logits know nothing of the labels; lower: they separate the classes).
    """

    temperature: float
    nll_before: float
    nll_after: float
    n: int
    evaluations: int
    at_bound: Literal["lower", "upper"] | None


def fit_temperature(logits: Floats, labels: Labels, clamp: float) -> TemperatureFit:
    """The temperature with the smallest negative log-likelihood, between LOWEST and HIGHEST.

    logits: (n, classes), raw, finite; clamped to ±clamp first, as the pipeline does.  labels: (n,), 0 … classes - 1,
    counted among the classes that the network knows: 0 DOWN and 1 UP where there are two.
    Never worse than T = 1.  Raises ValueError for input of another form, RuntimeError with the optimiser's reason.
    """
    _check(logits, labels)
    clamped = _clamped(logits, clamp)

    def nll(temperature: float) -> float:
        return float(_losses(clamped, labels, temperature).mean())

    found = scipy.optimize.minimize_scalar(
        lambda log_t: nll(exp(log_t)),
        bounds=(log(LOWEST), log(HIGHEST)),
        method="bounded",
        options={"xatol": TOLERANCE},
    )
    if not found.success:
        raise RuntimeError(f"temperature: the search stopped after {found.nfev} evaluations: {found.message}")
    nll_before = nll(1.0)
    # The search stops within its tolerance of the minimum: where that is at 1, 1 itself can be the better one.
    temperature = exp(found.x) if found.fun < nll_before else 1.0
    return TemperatureFit(
        temperature=temperature,
        nll_before=nll_before,
        nll_after=min(found.fun, nll_before),
        n=len(labels),
        evaluations=found.nfev + 1,
        at_bound=_bound_near(log(temperature)),
    )


def temperature_interval(
    logits: Floats,
    labels: Labels,
    clamp: float,
    horizon: int,
    *,
    level: float = 0.95,
    rounds: int = 1000,
    seed: int = 0,
) -> Interval:
    """An interval for the fitted temperature, by a circular block bootstrap of predictions and labels together.

    logits, labels, clamp: as for `fit_temperature`, one a bar, in time order.  horizon: bars that a label looks
    ahead; blocks are no shorter.  A replicate's temperature is the minimum of its mean loss over GRID temperatures
    from LOWEST to HIGHEST; deviations in log T are widened as `bootstrap.widening` says. An end of the interval at
    LOWEST or HIGHEST is open: the data does not bound T there.
    Raises DataError for too few bars (`bootstrap.block_length`), else as `fit_temperature`.
    """
    centre = log(fit_temperature(logits, labels, clamp).temperature)
    clamped = _clamped(logits, clamp)
    block = block_length(_slopes(clamped, labels, exp(centre)), horizon)
    grid = np.linspace(log(LOWEST), log(HIGHEST), GRID)
    losses = np.empty((len(labels), GRID))
    for i, log_t in enumerate(grid):
        losses[:, i] = _losses(clamped, labels, exp(log_t))
    minima = _minima(grid, resample_means(losses, block, rounds, seed))  # (rounds,)
    widened = centre + widening(len(labels), block, level) * (minima - centre)
    low, high = np.quantile(widened, [(1 - level) / 2, (1 + level) / 2])
    inside = np.clip([low, high], log(LOWEST), log(HIGHEST))
    return Interval(exp(inside[0]), exp(inside[1]), level)


def temperature_for_confidence(logits: Floats, clamp: float, low: float, high: float) -> float:
    """The temperature whose mean confidence is the middle of low … high. It is not calibration: it asks no label.

    logits: (n, classes), raw, finite, n > 0; clamped first.  low, high: mean confidence, 0 < low <= high < 1.
    Raises DataError, with the range that can be reached, where no temperature from LOWEST to HIGHEST does.
    """
    _check(logits, np.zeros(len(logits), dtype=np.int64))
    if not 0 < low <= high < 1:
        raise ValueError(f"confidence: expected 0 < low <= high < 1, got {low} … {high}")
    clamped, target = _clamped(logits, clamp), (low + high) / 2

    def mean_confidence(log_t: float) -> float:
        return float(softmax(_tempered(clamped, exp(log_t)), axis=1).max(axis=1).mean())

    least, most = mean_confidence(log(HIGHEST)), mean_confidence(log(LOWEST))
    if not least <= target <= most:
        raise DataError(
            f"expected a temperature with a mean confidence of {target:.3g}, got none: between {LOWEST} and "
            f"{HIGHEST:g} these logits reach {least:.3g} … {most:.3g}; ask for a confidence in that range"
        )
    found = scipy.optimize.brentq(
        lambda log_t: mean_confidence(log_t) - target, log(LOWEST), log(HIGHEST), xtol=TOLERANCE
    )
    return exp(found)


def _check(logits: Floats, labels: Labels) -> None:
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not len(labels):
        raise ValueError(f"logits, labels: expected (n, classes) and (n,), n > 0, got {logits.shape}, {labels.shape}")
    if not np.isfinite(logits).all():
        raise ValueError("logits: expected finite numbers, got NaN or infinity")
    if labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise ValueError(f"labels: expected 0 … {logits.shape[1] - 1}, got {labels.min()} … {labels.max()}")


def _clamped(logits: Floats, clamp: float) -> torch.Tensor:
    return clamp_logits(torch.from_numpy(np.ascontiguousarray(logits, dtype=np.float64)), clamp)


def _tempered(clamped: torch.Tensor, temperature: float) -> Floats:
    # The pipeline's own order; what follows is numpy, which needs no threads for a few columns.
    tempered: Floats = temper(clamped, temperature).numpy()
    return tempered


def _losses(clamped: torch.Tensor, labels: Labels, temperature: float) -> Floats:
    """Negative log-likelihood of each label, nats, (n,)."""
    losses: Floats = -log_softmax(_tempered(clamped, temperature), axis=1)[np.arange(len(labels)), labels]
    return losses


def _slopes(clamped: torch.Tensor, labels: Labels, temperature: float) -> Floats:
    """d loss / d log T of each label, (n, 1): what decides where the minimum lies, so its dependence sets the block."""
    tempered = _tempered(clamped, temperature)  # (n, classes)
    expected = (softmax(tempered, axis=1) * tempered).sum(axis=1)
    slopes: Floats = tempered[np.arange(len(labels)), labels] - expected
    return slopes[:, None]


def _minima(grid: Floats, curves: Floats) -> Floats:
    """Where each curve is lowest, (rounds,), by the parabola through the lowest point and its neighbours.

    grid: (points,), evenly spaced.  curves: (rounds, points). A curve that is lowest at an end stays there.
    """
    lowest = curves.argmin(axis=1)
    inner = np.clip(lowest, 1, len(grid) - 2)
    before, at, after = (curves[np.arange(len(curves)), inner + step] for step in (-1, 0, 1))
    bend = before - 2 * at + after
    shift = np.divide(before - after, 2 * bend, out=np.zeros_like(bend), where=bend > 0)
    minima: Floats = np.where(lowest == inner, grid[inner] + shift * (grid[1] - grid[0]), grid[lowest])
    return minima


def _bound_near(log_t: float) -> Literal["lower", "upper"] | None:
    # The bounded search never evaluates the bounds themselves, only points within some tolerances of them.
    near = 10 * TOLERANCE
    if log_t - log(LOWEST) < near:
        return "lower"
    if log(HIGHEST) - log_t < near:
        return "upper"
    return None
