"""The data's way: raw features -> scale -> network -> clamp -> temperature -> softmax -> probabilities.

This is the one place where that order stands. The engines run this module, the ONNX files are exported from it, the
calibration reads its logits, and the tests compare it with a float64 reference that shares no code with it.

The scaling and everything after the network are computed in float64: a BTC price near 100,000 loses 0.004 USD to
float32, and nothing of what follows the network costs any time.
"""

from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Scaler:
    """A fitted StandardScaler: mean and scale, each of shape (features,), in the features' own units; scale > 0."""

    mean: npt.NDArray[np.float64]
    scale: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.mean.shape != self.scale.shape or self.mean.ndim != 1:
            raise ValueError(f"scaler: expected two arrays of one length, got {self.mean.shape} and {self.scale.shape}")
        if not (np.isfinite(self.mean).all() and np.isfinite(self.scale).all() and (self.scale > 0).all()):
            raise ValueError("scaler: expected finite means and scales above 0 (a constant column has scale 1)")


@dataclass(frozen=True)
class Calibration:
    """What happens to a logit: it is clamped to ±clamp, then divided by the temperature.

    The usual clamp is 15: e^-30 is less than float32 can tell from 0 beside 1.
    """

    clamp: float
    temperature: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.clamp) and self.clamp > 0):
            raise ValueError(f"clamp: expected a finite number above 0, got {self.clamp}")
        if not (np.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"temperature: expected a finite number above 0, got {self.temperature}")


def clamp_logits(raw_logits: Tensor, limit: float) -> Tensor:
    """Limit logits to ±limit. raw_logits: (batch, classes). Two that both exceed the limit tie there."""
    return raw_logits.clamp(-limit, limit)


def temper(logits: Tensor, temperature: float) -> Tensor:
    """Divide logits by a temperature: above 1 lowers confidence, the argmax stays.

    logits: (batch, classes), finite.  temperature: > 0, no unit.  Returns (batch, classes).
    Raises ValueError if temperature <= 0.  Source: Guo et al. 2017, On Calibration of Modern Neural Networks, 4.2.
    """
    if not temperature > 0:
        raise ValueError(f"temperature: expected a number above 0, got {temperature}")
    return logits / temperature


def class_logits(outputs: Tensor) -> Tensor:
    """What a network gives -> one raw logit for each class that it knows.

    (batch, 3) stays.  (batch, 1), the log-odds of UP against DOWN, becomes (batch, 2): 0 for DOWN and itself for UP,
    whose softmax is the sigmoid that such a network was trained with.
    """
    if outputs.shape[-1] == 1:
        return torch.cat([torch.zeros_like(outputs), outputs], dim=-1)
    return outputs


def probabilities_of(raw_logits: Tensor, calibration: Calibration) -> Tensor:
    """Clamp, temperature, softmax, in float64.

    raw_logits: (batch, 3), or (batch, 2) of a network that knows only DOWN and UP.  Returns (batch, 3), in the latter
    case with 0 for NEUTRAL.
    """
    clamped = clamp_logits(raw_logits.double(), calibration.clamp)
    known = torch.softmax(temper(clamped, calibration.temperature), dim=-1)
    if known.shape[-1] == 3:
        return known
    return torch.stack([known[..., 0], torch.zeros_like(known[..., 0]), known[..., 1]], dim=-1)


class CalibratedModel(nn.Module):
    """A network with the scaler before it and the calibration after it."""

    mean: Tensor
    scale: Tensor

    def __init__(self, network: nn.Module, scaler: Scaler, calibration: Calibration) -> None:
        super().__init__()
        self.network = network
        self.calibration = calibration
        self.register_buffer("mean", torch.as_tensor(scaler.mean, dtype=torch.float64))
        self.register_buffer("scale", torch.as_tensor(scaler.scale, dtype=torch.float64))

    def forward(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """windows: (batch, window, features), raw, float32 or float64.

        Returns raw logits (batch, classes the network knows: 3, or DOWN and UP) and probabilities (batch, 3), float64.
        """
        scaled = (windows.double() - self.mean) / self.scale  # (batch, window, features)
        network_dtype = next(self.network.parameters()).dtype
        raw_logits = class_logits(cast(Tensor, self.network(scaled.to(network_dtype)))).double()  # (batch, classes)
        return raw_logits, probabilities_of(raw_logits, self.calibration)
