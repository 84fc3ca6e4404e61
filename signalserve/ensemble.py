"""Pooling: several models' probabilities -> one forecast."""

from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
PoolMethod = Literal["linear", "log"]

# below the smallest probability that a clamp of 15 leaves (e^-30), and far above where log would reach -inf
FLOOR = 1e-300


def pool(probabilities: Floats, weights: Floats, method: PoolMethod, temperature: float) -> Floats:
    """Pool forecasts by their weights, then temper the pooled forecast.

    probabilities: (models, batch, classes), each row summing to 1.  weights: (models,), non-negative, sum 1.
    method: 'linear' averages probabilities, 'log' their logarithms (the normalised weighted geometric mean).
    temperature: > 0; fitted to the pooled forecast, since a linear pool of calibrated forecasts is never calibrated
    (Ranjan and Gneiting 2010, Combining probability forecasts).  Returns (batch, classes).
    """
    if not temperature > 0:
        raise ValueError(f"pool temperature: expected a number above 0, got {temperature}")
    mixed = np.einsum("m,mbc->bc", weights, probabilities)  # (batch, classes)
    if method == "linear":
        pooled = np.log(np.maximum(mixed, FLOOR))
    elif method == "log":
        pooled = np.einsum("m,mbc->bc", weights, np.log(np.maximum(probabilities, FLOOR)))
    else:
        raise ValueError(f"pool method: expected linear or log, got {method!r}")
    # what every model holds impossible (NEUTRAL, where none knows it) stays so at any temperature
    impossible = (mixed <= 0) & (mixed.sum(axis=-1, keepdims=True) > 0)
    return _softmax(np.where(impossible, -np.inf, pooled), temperature)


def _softmax(logits: Floats, temperature: float) -> Floats:
    # the largest becomes 0 before the division, which no temperature can then make infinite minus infinite
    exponentials = np.exp((logits - logits.max(axis=-1, keepdims=True)) / temperature)
    normalised: Floats = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return normalised
