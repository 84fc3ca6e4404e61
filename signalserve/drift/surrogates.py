"""A stream of predictions -> endless streams that depend on their past as it does.

Each of a prediction's numbers becomes a normal score, whose past is an autoregression as long as a window: two
predictions share bars up to there. What is left of them is drawn anew, jointly, and everything goes back to the
stream's own values. That keeps how each number is spread, how slowly it moves, and how they move together.

Confidence has a series of its own. It is a function of the probabilities; but how sure a model is follows the market's
volatility, and need not move as the classes do that its probabilities say. Redrawn from the probabilities alone,
windows' mean confidences vary 0.23 to 1.57 times as much as those of a model's reference, with a series of its own 0.31
to 1.05, and 0.21 to 6.95 with a memory of one lag (bench/drift.py prints it, by model and window).

What it cannot know: how different the next months may be from the days of the reference. The mean confidences of a
day of the V6 of SOL-USD varied ten times as much in the week before its own.
Source: Cario and Nelson 1997, Numerical methods for fitting and simulating autoregressive-to-anything processes.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from signalserve.drift.stream import Floats, Integers, Stream

ORDER: Final = 60
"""Lags of the autoregressions: the bars that a window of the reference models holds."""

PER_LAG: Final = 20
"""Predictions that a lag takes, at least: a shorter stream gets a shorter memory."""


SHORTEST: Final = 2 * PER_LAG
"""Predictions, without which there is nothing to learn a dependence from."""


@dataclass(frozen=True)
class Drawn:
    """n drawn predictions: confidence (n,), classes (n,), largest_logit (n,) or None."""

    confidence: Floats
    classes: Integers
    largest_logit: Floats | None


class Surrogates:
    """Draws streams like one.

    The stream: at least SHORTEST predictions. Raises ValueError for a shorter one.
    """

    def __init__(self, stream: Stream) -> None:
        from scipy.signal import lfilter

        n = len(stream)
        order = min(ORDER, n // PER_LAG)
        if n < SHORTEST:
            raise ValueError(f"expected at least {SHORTEST} predictions to learn their dependence from, got {n}")
        with np.errstate(divide="ignore"):
            logs = np.log(stream.probabilities)  # a class that is never said stays -inf
        parts = [stream.confidence, *logs.T, *([] if stream.largest_logit is None else [stream.largest_logit])]
        self._sorted = [np.sort(part) for part in parts]
        self._moves = [part for part, values in enumerate(self._sorted) if values[0] < values[-1]]
        self._coefficients = []
        innovations = []
        for part in self._moves:
            scores = normal_scores(parts[part])
            coefficients = autoregression(scores, order)
            self._coefficients.append(coefficients)
            innovations.append(lfilter(np.concatenate([[1.0], -coefficients]), [1.0], scores)[order:])
        self._root = _square_root(np.atleast_2d(np.corrcoef(innovations))) if innovations else np.empty((0, 0))

    def draw(self, n: int, rng: np.random.Generator) -> Drawn:
        """n predictions in time order, of the stream's dependence from the first on."""
        from scipy.fft import irfft, next_fast_len, rfft
        from scipy.special import ndtr

        # The spectrum gives a circle, whose end leads into its beginning: what is cut off keeps the two apart.
        size = next_fast_len(n + n // 4 + 10 * ORDER, real=True)
        noise = self._root @ rng.standard_normal((len(self._moves), size))
        values = [np.full(n, held[0]) for held in self._sorted]
        for part, shocks, coefficients in zip(self._moves, noise, self._coefficients, strict=True):
            response = rfft(np.concatenate([[1.0], -coefficients]), size)
            power = 1 / np.abs(response) ** 2
            variance = (2 * power.sum() - power[0] - (power[-1] if size % 2 == 0 else 0)) / size
            scores = irfft(rfft(shocks) / response, size)[:n] / np.sqrt(variance)
            held = self._sorted[part]
            values[part] = np.interp(ndtr(scores) * len(held) - 0.5, np.arange(len(held)), held)
        return Drawn(values[0], np.argmax(values[1:4], axis=0), values[4] if len(values) > 4 else None)

    def design_effect(self, window: int) -> float:
        """How many times the variance of a window's mean confidence is that of independent ones, >= 1.

        window: predictions. Of the normal scores, whose spread stands for the confidences'.
        """
        if not self._moves or self._moves[0] != 0:
            return 1.0
        lags = np.arange(1, window)
        correlations = _autocorrelations(self._coefficients[0], window)
        return max(1.0, float(1 + 2 * ((1 - lags / window) * correlations[1:window]).sum()))


def normal_scores(values: Floats) -> Floats:
    """Ranks as quantiles of a standard normal, (n,); equal values share the mean of their ranks."""
    from scipy.stats import norm, rankdata

    scores: Floats = norm.ppf((rankdata(values) - 0.5) / len(values))
    return scores


def autoregression(values: Floats, order: int) -> Floats:
    """Coefficients of the lags 1 … order, (order,), by Yule and Walker, which are always stable.

    values: (n,), not constant, n > order.
    """
    from scipy.linalg import solve_toeplitz

    from signalserve.dependence import autocovariances

    covariances = autocovariances((values - values.mean())[:, None], order)
    covariances[0] *= 1 + 1e-9  # a series that repeats itself exactly would leave nothing to draw anew
    coefficients: Floats = solve_toeplitz(covariances[:-1], covariances[1:])
    return coefficients


def _autocorrelations(coefficients: Floats, lags: int) -> Floats:
    """Of an autoregression, at lags 0 … lags - 1, from its spectrum."""
    from scipy.fft import irfft, rfft

    size = 1 << max(17, (8 * lags).bit_length())
    covariances = irfft(1 / np.abs(rfft(np.concatenate([[1.0], -coefficients]), size)) ** 2, size)
    correlations: Floats = covariances[:lags] / covariances[0]
    return correlations


def _square_root(correlation: Floats) -> Floats:
    """A matrix R with R Rᵀ = correlation, which may be singular: of two classes, one probability gives the other."""
    values, vectors = np.linalg.eigh(correlation)
    root: Floats = vectors * np.sqrt(values.clip(0))
    return root
