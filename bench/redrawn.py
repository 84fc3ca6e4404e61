"""Other ways to draw a stream anew than `signalserve.drift.surrogates`, and how much windows' means vary in each."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from signalserve.drift.stream import Floats, Stream
from signalserve.drift.surrogates import ORDER, Surrogates, autoregression, normal_scores

SETTLED: Final = 5000
"""Drawn and left out, until the first values are forgotten."""

Redraw = Callable[[int, np.random.Generator], Floats]
"""(n, rng) -> confidences, (n,)."""


def ways(stream: Stream) -> dict[str, Redraw]:
    """How confidences can be drawn like a stream's. One of them is ours."""
    surrogates = Surrogates(stream)
    said = stream.probabilities.T[stream.probabilities.any(axis=0)]  # a class that is never said has no logarithm

    def through_probabilities(n: int, rng: np.random.Generator) -> Floats:
        raised = np.exp(redraw(list(np.log(said)), ORDER, n, rng))
        confidence: Floats = (raised / raised.sum(axis=0)).max(axis=0)
        return confidence

    return {
        "ours": lambda n, rng: surrogates.draw(n, rng).confidence,
        "order 1": lambda n, rng: redraw([stream.confidence], 1, n, rng)[0],
        "through the probabilities": through_probabilities,
    }


def redraw(parts: Sequence[Floats], order: int, n: int, rng: np.random.Generator) -> Floats:
    """Autoregressions of normal scores with shocks that move together, (parts, n). parts: (m,) each, not constant."""
    from scipy.signal import lfilter
    from scipy.special import ndtr

    scores = [normal_scores(part) for part in parts]
    filters = [np.concatenate([[1.0], -autoregression(each, order)]) for each in scores]
    residuals = [lfilter(f, [1.0], each)[order:] for f, each in zip(filters, scores, strict=True)]
    values, vectors = np.linalg.eigh(np.atleast_2d(np.corrcoef(residuals)))
    shocks = vectors * np.sqrt(values.clip(0)) @ rng.standard_normal((len(parts), SETTLED + n))
    drawn = np.stack([lfilter([1.0], f, each)[SETTLED:] for f, each in zip(filters, shocks, strict=True)])
    levels = ndtr(drawn / [[np.sqrt(gain(f))] for f in filters])  # (parts, n)
    return np.stack(
        [
            np.interp(level * len(part) - 0.5, np.arange(len(part)), np.sort(part))
            for level, part in zip(levels, parts, strict=True)
        ]
    )


def gain(denominator: Floats) -> float:
    """Variance of an autoregression with shocks of variance 1: the mean of its spectrum."""
    return float((1 / np.abs(np.fft.fft(denominator, 1 << 17)) ** 2).mean())


def variance_of_means(values: Floats, window: int) -> float:
    """Of the means of all windows, (n,) values."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    return float(((sums[window:] - sums[:-window]) / window).var())
