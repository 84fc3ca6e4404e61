"""What a call gives back: frozen, typed, and tolerant of fields that a newer service adds."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

Direction = Literal["DOWN", "NEUTRAL", "UP"]
DIRECTIONS: Final[tuple[Direction, ...]] = ("DOWN", "NEUTRAL", "UP")
"""The one order used everywhere, of raw logits too."""

Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]

_SUM_TOLERANCE = 1e-5  # the service promises 1e-6; the rest is for whoever re-encoded it on the way


class Result(BaseModel):
    """Unknown fields are left out rather than refused: a newer service must not stop an older bot.

    Generations, variants and warnings are plain strings for the same reason.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")


class ModelAnswer(Result):
    """What one model said.

    raw_logits: (3,), before the clamp, in the order DOWN, NEUTRAL, UP; None for NEUTRAL where it knows but two classes.
    """

    generation: str
    version: str
    sha256: str
    weight: Share
    temperature: Finite
    clamp: Finite
    raw_logits: tuple[Finite, Finite | None, Finite]
    clamped: bool
    probabilities: Mapping[Direction, Share]


class Pool(Result):
    """How several models' probabilities became one."""

    method: str
    temperature: Finite


class Prediction(Result):
    """The answer to one window.

    direction: the likeliest class.  confidence: its probability, from 1/3 to 1; how far such a number can be believed
    is a property of the model over many bars (its bundle's report), not of one prediction.
    as_of: closing time of the window's last bar, where the service was told or could derive it.
    variant: what answered.  mode: what serving.yaml says for the symbol.  arm: the A/B arm where mode is "ab".
    degraded: another answered than the one that should have, and degraded_reason says why.
    pool: only where more than one model answered.  warnings: names, in words by `explain`.
    """

    prediction_id: str
    request_id: str | None = None
    symbol: str
    as_of: AwareDatetime | None = None
    direction: Direction
    confidence: Share
    probabilities: Mapping[Direction, Share]
    variant: str
    mode: str
    arm: str | None = None
    degraded: bool = False
    degraded_reason: str | None = None
    pool: Pool | None = None
    models: tuple[ModelAnswer, ...]
    warnings: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        """A bot spends money on this: an answer whose parts contradict each other is none."""
        if set(self.probabilities) != set(DIRECTIONS):
            raise ValueError(f"expected probabilities of {', '.join(DIRECTIONS)}")
        total = sum(self.probabilities.values())
        if abs(total - 1) > _SUM_TOLERANCE:
            raise ValueError(f"expected probabilities that sum to 1, got {total:.6g}")
        top = max(self.probabilities.values())
        if self.confidence != top or self.probabilities[self.direction] != top:
            raise ValueError(f"expected the direction and confidence of the largest probability, {top:.6g}")
        return self

    def age(self, now: datetime | None = None) -> timedelta | None:
        """How long ago the window's last bar closed; None without an as_of. now: aware, by default the present."""
        return None if self.as_of is None else (now or datetime.now(UTC)) - self.as_of


class Predictions(Result):
    """The answer to a batch, in the order of its instances."""

    predictions: tuple[Prediction, ...]


class OutcomeTally(Result):
    """What became of the outcomes that were told; each counts once.

    joined: at least one prediction had none before.  already_known: told once more.  unknown: no such prediction is
    kept.  contradicting: another outcome is known, nothing was changed.  undecidable: told before its time, or as a
    price where the prediction's own close or its label's rule is not known, or is not one for all at that moment.
    """

    joined: Count
    already_known: Count
    unknown: Count
    contradicting: Count
    undecidable: Count

    def __add__(self, other: Self) -> Self:
        """Of two requests together."""
        return type(self)(**{name: getattr(self, name) + getattr(other, name) for name in type(self).model_fields})


NOTHING_TOLD: Final = OutcomeTally(joined=0, already_known=0, unknown=0, contradicting=0, undecidable=0)


class Readiness(Result):
    """Whether every endpoint and symbol answers correctly right now; true in an `if` where it is.

    not_ready: endpoint and symbol, as the watcher names them -> why not.
    """

    ready: bool
    not_ready: Mapping[str, str] = {}

    def __bool__(self) -> bool:
        return self.ready
