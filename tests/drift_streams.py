"""Streams whose dependence is known, and a PSI of plain loops to check all others against."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.signal import lfilter

from signalserve.drift.stream import Floats, Stream

BAR_MS = 60_000


def autoregressive(phi: float, shape: tuple[int, ...], seed: int = 0) -> Floats:
    """Gaussian, of variance 1, autoregressive of order 1 along the first axis."""
    shocks = np.random.default_rng(seed).standard_normal(shape)
    shocks[1:] *= math.sqrt(1 - phi**2)
    series: Floats = lfilter([1.0], [1.0, -phi], shocks, axis=0)
    return series


def softmax(logits: Floats) -> Floats:
    raised = np.exp(logits)
    probabilities: Floats = raised / raised.sum(axis=1, keepdims=True)
    return probabilities


def stream_of(logits: Floats, temperature: float = 3.0) -> Stream:
    """logits: (n, 3)."""
    n = len(logits)
    return Stream(np.arange(n) * BAR_MS, softmax(logits / temperature), np.abs(logits).max(axis=1), np.zeros(n))


def weak_stream(n: int, phi: float = 0.9, seed: int = 0) -> Stream:
    """Three logits that move by themselves, and confidences like a weak model's, 0.34 to 0.5."""
    return stream_of(0.5 * autoregressive(phi, (n, 3), seed))


def one_sided_stream(scores: Floats) -> Stream:
    """Confidence rises with the score, (n,), and every class is DOWN."""
    down = 0.4 + 0.05 * np.tanh(scores)
    probabilities = np.stack([down, np.full(len(down), 0.3), 0.7 - down], axis=1)
    return Stream(np.arange(len(down)) * BAR_MS, probabilities, np.abs(scores), np.zeros(len(down)))


def pool_of(stream: Stream) -> Stream:
    """The same without what a pool has not."""
    return Stream(stream.time_ms, stream.probabilities, None, None)


def plain_psi(window: Sequence[int], reference: Sequence[int]) -> float:
    k, n, m = len(reference), sum(window), sum(reference)
    total = 0.0
    for count, before in zip(window, reference, strict=True):
        p, q = (count + 0.5) / (n + 0.5 * k), (before + 0.5) / (m + 0.5 * k)
        total += (p - q) * math.log(p / q)
    return total


def plain_counts(values: Sequence[float], edges: Sequence[float]) -> list[int]:
    """How many values have none, one, two … of the edges at or below them; what is no number has all."""
    counts = [0] * (len(edges) + 1)
    for value in values:
        counts[sum(not value < edge for edge in edges)] += 1
    return counts
