"""A stream of predictions -> endless streams that depend on their past as it does.

Each of a prediction's numbers becomes a normal score, whose past is an autoregression as long as a window: two
predictions share bars up to there. Where the means of days vary more than that explains, the rest moves from day to
day, as markets do. What is left is drawn anew, jointly, and everything goes back to the
stream's own values. That keeps how each number is spread, how slowly it moves, and how they move together.

Confidence has a series of its own. It is a function of the probabilities; but how sure a model is follows the market's
volatility, and need not move as the classes do that its probabilities say. Redrawn from the probabilities alone,
windows' mean confidences vary 0.20 to 1.87 times as much as those of a model's reference, with a series of its own 0.45
to 1.00, and 0.18 to 7.49 with a memory of one lag (bench/drift.py prints it, by model and window).

What it cannot know: how different the next months may be from the days of the reference. The mean confidences of a
day of the V6 of SOL-USD varied ten times as much in the week before its own.
Source: Cario and Nelson 1997, Numerical methods for fitting and simulating autoregressive-to-anything processes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from signalserve.drift import DAY
from signalserve.drift.stream import Floats, Integers, Stream

ORDER: Final = 60
"""Lags of the autoregressions: the bars that a window of the reference models holds."""

SLOW: Final = float(np.exp(-1 / DAY))
"""What is left of yesterday's level after a minute, of what moves from day to day."""

_SLOW_MEMORY: Final = np.array([SLOW])

MOST_SLOW: Final = 0.9
"""Of the variance: a reference of a week is too short to tell more from a trend."""

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
        if len(stream) < SHORTEST:
            raise ValueError(
                f"expected at least {SHORTEST} predictions to learn their dependence from, got {len(stream)}"
            )
        with np.errstate(divide="ignore"):
            logs = np.log(stream.probabilities)  # a class that is never said stays -inf
        self._fit([stream.confidence, *logs.T, *([] if stream.largest_logit is None else [stream.largest_logit])])

    def _fit(self, parts: Sequence[Floats]) -> None:
        """parts: confidence, three log-probabilities, and the largest logit where there is one, (n,) each."""
        order = min(ORDER, len(parts[0]) // PER_LAG)
        self._sorted = [np.sort(part) for part in parts]
        self._moves = [part for part, values in enumerate(self._sorted) if values[0] < values[-1]]
        self._coefficients = []
        self._slow = []
        scores = [normal_scores(parts[part]) for part in self._moves]
        for one in scores:
            coefficients = autoregression(one, order)
            self._coefficients.append(coefficients)
            self._slow.append(slow_share(one, coefficients))
        levels = np.corrcoef(scores).reshape(len(scores), len(scores)) if scores else np.empty((0, 0))
        self._slow_root = _square_root(levels)
        self._root = _square_root(shock_correlation(levels, self._coefficients))

    def redrawn(self, rng: np.random.Generator) -> "Surrogates":
        """What another stream, as long and of the same dependence, would have taught: how far off this one may be."""
        other = object.__new__(Surrogates)
        other._fit(self._parts(len(self._sorted[0]), rng))
        return other

    def draw(self, n: int, rng: np.random.Generator) -> Drawn:
        """n predictions in time order, of the stream's dependence from the first on."""
        confidence, *logs = self._parts(n, rng)
        return Drawn(confidence, np.argmax(logs[:3], axis=0), logs[3] if len(logs) > 3 else None)

    def _parts(self, n: int, rng: np.random.Generator) -> list[Floats]:
        from scipy.fft import next_fast_len
        from scipy.special import ndtr

        # The spectrum gives a circle, whose end leads into its beginning: what is cut off keeps the two apart.
        size = next_fast_len(n + n // 4 + (6 * DAY if any(self._slow) else 10 * ORDER), real=True)
        noise = self._root @ rng.standard_normal((len(self._moves), size))
        slow_noise = self._slow_root @ rng.standard_normal((len(self._moves), size))
        values = [np.full(n, held[0]) for held in self._sorted]
        for i, part in enumerate(self._moves):
            fast, slow = _filtered(noise[i], self._coefficients[i])[:n], _filtered(slow_noise[i], _SLOW_MEMORY)[:n]
            scores = np.sqrt(1 - self._slow[i]) * fast + np.sqrt(self._slow[i]) * slow
            held = self._sorted[part]
            values[part] = np.interp(ndtr(scores) * len(held) - 0.5, np.arange(len(held)), held)
        return values

    def design_effect(self, window: int) -> float:
        """How many times the variance of a window's mean confidence is that of independent ones, >= 1.

        window: predictions. Of the normal scores, whose spread stands for the confidences'.
        """
        if not self._moves or self._moves[0] != 0:
            return 1.0
        slow = self._slow[0]
        fast = _autocorrelations(self._coefficients[0], window)
        return max(1.0, _design_effect((1 - slow) * fast + slow * _slow_correlations(window)))


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


def shock_correlation(levels: Floats, coefficients: Sequence[Floats]) -> Floats:
    """How shocks must move together for autoregressions driven by them to move as `levels` says, (k, k).

    levels: (k, k), correlations of the autoregressions themselves.  coefficients: k times (order,). Two of different
    memories keep less of a shock that both share, so that the shocks' correlations are larger than the levels'.
    """
    from scipy.fft import rfft

    if not len(levels):
        return levels
    size = 1 << 15
    responses = np.stack([1 / rfft(np.concatenate([[1.0], -one]), size) for one in coefficients])
    weights = np.full(responses.shape[1], 2.0)
    weights[[0, -1]] = 1.0
    shared = ((responses * weights) @ responses.conj().T).real
    norms = np.sqrt(shared.diagonal())
    correlation: Floats = levels / (shared / np.outer(norms, norms))
    return correlation


def slow_share(scores: Floats, coefficients: Floats) -> float:
    """How much of the variance moves from day to day, beyond what the autoregression knows, 0 … MOST_SLOW.

    scores: (n,).  From how much the means of days vary; 0 for a stream of less than three.
    """
    n = len(scores)
    if n < 3 * DAY:
        return 0.0
    sums = np.concatenate([[0.0], np.cumsum(scores)])
    seen = float(((sums[DAY:] - sums[:-DAY]) / DAY).var() / scores.var())
    kept = 1 - DAY / n  # of independent days' variance, when it is measured from their own mean
    fast = _design_effect(_autocorrelations(coefficients, DAY)) / DAY
    slow = _design_effect(_slow_correlations(DAY)) / DAY
    return float(np.clip((seen / kept - fast) / (slow - fast), 0, MOST_SLOW))


def _slow_correlations(lags: int) -> Floats:
    correlations: Floats = np.exp(-np.arange(lags) / DAY)
    return correlations


def _design_effect(correlations: Floats) -> float:
    """How many times the variance of a mean is that of independent values. correlations: at lags 0 … n - 1, (n,)."""
    n = len(correlations)
    return float(1 + 2 * ((1 - np.arange(1, n) / n) * correlations[1:]).sum())


def _filtered(shocks: Floats, coefficients: Floats) -> Floats:
    """An autoregression of unit variance, (n,), round a circle."""
    from scipy.fft import irfft, rfft

    size = len(shocks)
    response = rfft(np.concatenate([[1.0], -coefficients]), size)
    power = 1 / np.abs(response) ** 2
    variance = (2 * power.sum() - power[0] - (power[-1] if size % 2 == 0 else 0)) / size
    filtered: Floats = irfft(rfft(shocks) / response, size) / np.sqrt(variance)
    return filtered


def _autocorrelations(coefficients: Floats, lags: int) -> Floats:
    """Of an autoregression, at lags 0 … lags - 1, from its spectrum."""
    from scipy.fft import irfft, rfft

    size = 1 << max(14, (8 * lags).bit_length())
    covariances = irfft(1 / np.abs(rfft(np.concatenate([[1.0], -coefficients]), size)) ** 2, size)
    correlations: Floats = covariances[:lags] / covariances[0]
    return correlations


def _square_root(correlation: Floats) -> Floats:
    """A matrix R, rows of length 1, with R Rᵀ = correlation, or the nearest to it that numbers can have.

    It may be singular: of two classes, one probability gives the other.
    """
    if not len(correlation):
        return correlation
    values, vectors = np.linalg.eigh(correlation)
    root = vectors * np.sqrt(values.clip(0))
    rows: Floats = root / np.linalg.norm(root, axis=1, keepdims=True)
    return rows
