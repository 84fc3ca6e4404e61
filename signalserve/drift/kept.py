"""A model's predictions on its reference bars, as its bundle keeps them: `stream.safetensors`.

Kept whole, not only described: limits can be computed anew without the bars, and two models' streams of the same bars
give the reference of any pool of them.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from signalserve.drift.stream import Floats, Integers, Stream
from signalserve.errors import BundleError

if TYPE_CHECKING:
    from signalserve.bundle import Bundle, CalibrationValues

NAMES = ("as_of_ms", "raw_logits", "off_scale")


@dataclass(frozen=True)
class KeptStream:
    """One prediction a bar, in time order.

    as_of_ms: (n,), closing times of the windows' last bars.  raw_logits: (n, classes that the network knows: 3, or DOWN
    and UP).  off_scale: (n,), share of the columns off scale in each window.
    """

    as_of_ms: Integers
    raw_logits: Floats
    off_scale: Floats

    def __post_init__(self) -> None:
        n = len(self.as_of_ms)
        shapes = (self.raw_logits.shape, self.off_scale.shape)
        if self.raw_logits.ndim != 2 or shapes[0] not in ((n, 2), (n, 3)) or shapes[1] != (n,):
            raise ValueError(f"expected raw logits ({n}, 2 or 3) and off_scale ({n},), got {shapes[0]} and {shapes[1]}")
        if not (np.isfinite(self.raw_logits).all() and np.isfinite(self.off_scale).all()):
            raise ValueError("expected finite logits and shares, got NaN or infinity")
        if (np.diff(self.as_of_ms) <= 0).any():
            raise ValueError("expected times in ascending order")

    def stream(self, calibration: "CalibrationValues") -> Stream:
        """What these logits say with this clamp and temperature."""
        size: Floats = np.abs(self.raw_logits).max(axis=1)
        return Stream(self.as_of_ms, probabilities(self.raw_logits, calibration), size, self.off_scale)

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """For the file: float32, as the network gave them."""
        return {
            "as_of_ms": self.as_of_ms.astype(np.int64),
            "raw_logits": self.raw_logits.astype(np.float32),
            "off_scale": self.off_scale.astype(np.float32),
        }


def read_kept(bundle: "Bundle") -> KeptStream | None:
    """The stream of a bundle; None where it keeps none. Raises BundleError for a file that is none of ours."""
    tensors = bundle.stream
    if tensors is None:
        return None
    try:
        as_of_ms, raw_logits, off_scale = (np.asarray(tensors[name]) for name in NAMES)
        return KeptStream(as_of_ms, raw_logits.astype(np.float64), off_scale.astype(np.float64))
    except (KeyError, ValueError) as error:
        raise BundleError(
            f"{bundle.path}: stream.safetensors: {error}; restore the folder or remove the version"
        ) from None


def probabilities(raw_logits: Floats, calibration: "CalibrationValues") -> Floats:
    """`pipeline.probabilities_of` on arrays: (n, 2 or 3) -> (n, 3). The watcher has no room for torch."""
    scaled = raw_logits.clip(-calibration.clamp, calibration.clamp) / calibration.temperature
    raised = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    known: Floats = raised / raised.sum(axis=1, keepdims=True)
    return known if known.shape[1] == 3 else np.insert(known, 1, 0.0, axis=1)
