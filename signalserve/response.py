"""Decision + predictions -> the JSON that the bot reads. Strict JSON: never NaN, never Infinity."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from signalserve import CLASSES
from signalserve.bundle import Manifest
from signalserve.candles import iso
from signalserve.errors import RequestError
from signalserve.invariants import RULES
from signalserve.routing import Decision
from signalserve.settings import Generation

Floats = npt.NDArray[np.float64]

WARNINGS = (
    "clamped",  # a raw logit of an answering model lay beyond the clamp
    "clamp_tie",  # two did: which class is largest is arbitrary
    "features_off_scale",  # more than a sixth of the columns beyond 10 standard deviations
    "stale_input",  # as_of older than three intervals
    "uncalibrated_weights",  # the pool's temperature was fitted for other weights
    "failed_gates",  # a bundle that failed its quality gates, or was never judged, answers
    "degraded",  # another arm answered than the one that should have
    *(f"invariant_{rule}" for rule in RULES),  # broken over the last five predictions of an answering model
)


MAX_ERRORS = 200  # of up to 300 bytes each


@dataclass(frozen=True)
class ModelAnswer:
    """What one model said of one window, finite, float64.

    raw_logits: (classes that it knows,): 3, or DOWN and UP.  probabilities: (3,).
    """

    generation: Generation
    manifest: Manifest
    sha256: str
    raw_logits: Floats
    probabilities: Floats
    clamped: bool

    def as_dict(self, weight: float) -> dict[str, Any]:
        """The contract's object. weight: its share in the answer."""
        calibration = self.manifest.calibration
        return {
            "generation": self.generation,
            "version": self.manifest.version,
            "sha256": self.sha256,
            "weight": weight,
            "temperature": calibration.temperature,
            "clamp": calibration.clamp,
            "raw_logits": by_known_class(self.raw_logits.tolist()),
            "clamped": self.clamped,
            "probabilities": by_class(self.probabilities),
        }


def prediction(
    *,
    prediction_id: str,
    request_id: str | None,
    symbol: str,
    as_of_ms: int | None,
    decision: Decision,
    probabilities: Floats,
    answers: Sequence[ModelAnswer],
    warnings: Sequence[str],
) -> dict[str, Any]:
    """The contract's response. probabilities: (classes,), of the answer as a whole."""
    top = int(probabilities.argmax())
    content: dict[str, Any] = {
        "prediction_id": prediction_id,
        "request_id": request_id,
        "symbol": symbol,
        "as_of": None if as_of_ms is None else iso(as_of_ms),
        "direction": CLASSES[top],
        "confidence": float(probabilities[top]),
        "probabilities": by_class(probabilities),
        "variant": decision.variant,
        "mode": decision.mode,
        "arm": decision.arm,
        "degraded": decision.degraded is not None,
    }
    if decision.degraded is not None:
        content["degraded_reason"] = decision.degraded
    if len(answers) > 1:
        content["pool"] = {"method": decision.pool.method, "temperature": decision.pool.temperature}
    content["models"] = [answer.as_dict(decision.weights[answer.generation]) for answer in answers]
    content["warnings"] = list(warnings)
    return content


def by_known_class(raw_logits: list[float]) -> list[float | None]:
    """One logit a class; null for NEUTRAL where the model knows only DOWN and UP."""
    return [*raw_logits] if len(raw_logits) == len(CLASSES) else [raw_logits[0], None, raw_logits[1]]


def by_class(probabilities: Floats) -> dict[str, float]:
    return dict(zip(CLASSES, probabilities.tolist(), strict=True))


def error_body(errors: Sequence[RequestError]) -> dict[str, Any]:
    """The contract's error object: the first fault, and all of them where there are several.

    TorchServe closes the connection after an error, and of an answer over 100 KB the end is lost with it: what goes
    beyond MAX_ERRORS is counted in `omitted`.
    """
    content: dict[str, Any] = {"error": errors[0].as_dict()}
    if len(errors) > 1:
        content["errors"] = [error.as_dict() for error in errors[:MAX_ERRORS]]
    if len(errors) > MAX_ERRORS:
        content["omitted"] = len(errors) - MAX_ERRORS
    return content


def encode(content: object) -> bytes:
    return orjson.dumps(content)
