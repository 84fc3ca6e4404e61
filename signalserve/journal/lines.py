"""What a process writes into its spool file: one JSON object a line, told apart by `kind`.

Written by workers (predictions, closes, bundles, configurations, guardrail events) and by `signalserve toggle`
(events); read by the watcher alone. A line is read strictly: what is not one of these, or of another version `v`, is
counted and set aside, never guessed at.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Final

import orjson
import uuid_utils

VERSION: Final = 1
"""Of the lines' fields and what they mean: a worker and a watcher of two versions must not misunderstand each other."""


@dataclass(frozen=True)
class ArmLine:
    """What one arm said of one window.

    answered: this is what the caller got.  out: a guardrail had taken the arm out by then.
    probabilities: (3,).  raw_logits: one for each class the network knows, 3 or 2; None for a pool.
    temperature: of the model, or of the pool.  bundles: sha256 of the manifest of each model that took part, with its
    weight in `weights`.  method: of the pool, None for one model.  warnings: about the input, and about those models.
    off_scale: share of the columns off the model's scale, 0 to 1.  largest_z: |z| of the value furthest from its mean,
    finite.  Both None for a pool, and in lines of workers that did not tell them yet.
    """

    arm: str
    answered: bool
    out: bool
    probabilities: Sequence[float]
    raw_logits: Sequence[float] | None
    temperature: float
    bundles: Sequence[str]
    weights: Sequence[float]
    method: str | None
    warnings: Sequence[str]
    off_scale: float | None = None
    largest_z: float | None = None


@dataclass(frozen=True)
class PredictionLine:
    """One window, and every arm that was computed for it so far; arms scored in the background follow in a second line
    of the same prediction_id.

    as_of_ms: closing time of the last bar, None where nobody said.  received_ms: the worker's clock.
    config: sha256 of the serving.yaml in force.  assigned: the arm that should have answered by the toggles.
    override: the caller chose variant or weights.  degraded: why another arm answered, else None.
    latency_ms: in the worker, from reading the request to writing this line; of arms scored in the background, what
    that took.  close: of the last bar.  feed: the series of prices that the close belongs to (`feeds.py`), None where
    there is none.
    """

    kind: ClassVar[str] = "prediction"
    prediction_id: str
    request_id: str | None
    endpoint: str
    symbol: str
    as_of_ms: int | None
    received_ms: int
    close: float | None
    feed: str | None
    config: str
    mode: str
    assigned: str
    override: bool
    degraded: str | None
    latency_ms: float
    arms: Sequence[ArmLine]


@dataclass(frozen=True)
class ClosesLine:
    """Closing prices that a caller's candles brought, of consecutive bars, the last of which closed at last_ms.

    feed: which series of prices they belong to (`feeds.py`).  begins: this is the first that is told of it, with all
    the bars that the caller sent; later lines hold what is new.
    """

    kind: ClassVar[str] = "closes"
    symbol: str
    feed: str
    begins: bool
    interval_ms: int
    last_ms: int
    closes: Sequence[float]


@dataclass(frozen=True)
class BundleLine:
    """A model as a worker loaded it; what its predictions' labels are made by. horizon_bars, neutral_band: None where
    nobody knows what it was taught.  base_rates: (3,) class shares of what it learned from, None where unknown."""

    kind: ClassVar[str] = "bundle"
    sha256: str
    generation: str
    symbol: str
    version: str
    temperature: float
    clamp: float
    interval_ms: int
    horizon_bars: int | None
    neutral_band: float | None
    base_rates: Sequence[float] | None


@dataclass(frozen=True)
class ConfigLine:
    """A serving.yaml that one worker looked at: in force from at_ms on, or refused with `error` in words.

    sha256, text: of what is in force after it, which for a refused file is the last good one.
    """

    kind: ClassVar[str] = "config"
    sha256: str
    text: str
    at_ms: int
    endpoint: str
    worker: int
    error: str | None


@dataclass(frozen=True)
class EventLine:
    """Something an operator did or a guardrail found. event: `toggle`, `guardrail_out`, `guardrail_clear`.

    who, why: of a person; a guardrail gives `who` as guardrail and `why` as the rules in words.  content: what belongs
    to the event, by its own names.
    """

    kind: ClassVar[str] = "event"
    event_id: str
    at_ms: int
    event: str
    who: str
    why: str | None
    content: dict[str, Any] = field(default_factory=dict)


Line = PredictionLine | ClosesLine | BundleLine | ConfigLine | EventLine

_KINDS: dict[str, type[Line]] = {
    cls.kind: cls for cls in (PredictionLine, ClosesLine, BundleLine, ConfigLine, EventLine)
}
_FIELDS = {kind: {one.name for one in fields(cls)} for kind, cls in _KINDS.items()}


def new_event(event: str, who: str, why: str | None, content: dict[str, Any]) -> EventLine:
    """An event that happens now."""
    return EventLine(str(uuid_utils.uuid7()), time.time_ns() // 1_000_000, event, who, why, content)


def encode_line(line: Line) -> bytes:
    """The line with its newline; the only newline in it."""
    # orjson writes a dataclass's fields at C speed, but not its class variables
    return b'{"v":%d,"kind":"%s",' % (VERSION, line.kind.encode()) + orjson.dumps(line)[1:] + b"\n"


def decode_line(raw: bytes) -> Line:
    """Raises ValueError that says what is wrong with a line which none of ours wrote, or which was torn."""
    content = orjson.loads(raw)  # its JSONDecodeError is a ValueError
    if not isinstance(content, dict) or content.pop("v", None) != VERSION:
        raise ValueError(f"expected an object of version {VERSION}, got {raw[:40]!r}: another signalserve wrote it")
    if content.get("kind") not in _KINDS:
        raise ValueError(f"expected a kind among {', '.join(_KINDS)}, got {content.get('kind')!r:.40}")
    cls = _KINDS[content.pop("kind")]
    if content.keys() != _FIELDS[cls.kind]:
        raise ValueError(f"expected the fields of a {cls.kind} line, got {sorted(content)}")
    try:
        if cls is PredictionLine:
            content["arms"] = [ArmLine(**arm) for arm in content["arms"]]
        return cls(**content)
    except TypeError as error:
        raise ValueError(str(error)) from None
