"""The gates that a model passes before it may go live: their limits, and what was found beside them.

    settings     the limits, as the models' owners have them or as a file says
    predictions  what a model said on one set of windows, and what came
    figures      one number each, beside its limit, with an interval where it has one, passed or not

A gate is passed where all its figures are, on every set. The figure itself decides, never its interval: whoever reads
"0.67, interval 0.62 … 0.72, at least 0.68" sees a failure that the data cannot tell from a pass, and is told so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

import numpy as np
import numpy.typing as npt
import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from export.bootstrap import FEWEST_BLOCKS, mean_interval
from export.quality import judged_on
from export.shares import share_interval
from signalserve import CLASSES
from signalserve.errors import ConfigError
from signalserve.intervals import LEVEL, Interval

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

Gate = Literal["features", "logits", "overconfidence", "confidence", "balance", "finite", "accuracy"]
GATES: Final[tuple[Gate, ...]] = get_args(Gate)

NONE_FINITE: Final = "no prediction is finite"
NONE_JUDGED: Final = "no finite prediction has an outcome that the model can say"

# ---- settings


def _ascending(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] >= pair[1]:
        raise ValueError(f"expected a smaller and a larger share, got {pair[0]:g} and {pair[1]:g}")
    return pair


def _distinct(gates: tuple[Gate, ...]) -> tuple[Gate, ...]:
    if twice := [gate for i, gate in enumerate(gates) if gate in gates[:i]]:
        raise ValueError(f"expected each gate once, got {twice[0]} again: keep one of each")
    return gates


Number = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)]
Range = Annotated[tuple[Share, Share], AfterValidator(_ascending)]


class GateSettings(BaseModel):
    """The limits, and the windows they are judged on. Whatever a file leaves out is as the models' owners have it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    required: Annotated[tuple[Gate, ...], AfterValidator(_distinct)] = Field(
        GATES, min_length=1, description="gates that decide; others are only reported"
    )
    feature_mean: Number = Field(0.1, description="|mean| of every scaled feature is below this")
    feature_deviation: Number = Field(0.1, description="|standard deviation - 1| of every scaled feature is below this")
    raw_logit: Number = Field(15.0, description="no |raw logit| is larger: the clamp of the owners' checkpoints")
    share_over_90: Share = Field(0.10, description="fewer of the predictions have a confidence over 90 %")
    share_over_99: Share = Field(0.10, description="fewer of the predictions have a confidence over 99 %")
    average_confidence: Range = Field((0.60, 0.85), description="the mean confidence lies in here, ends included")
    class_share: Range = Field((0.15, 0.60), description="each class's share of the predictions, ends included")
    accuracy: Share = Field(0.68, description="at least this share of the predictions came true")
    windows: int = Field(
        1000, ge=300, description="windows of the fixed draw; with fewer unseen ones nothing is judged"
    )
    draw: int = Field(1, description="seed of the fixed draw: another number draws other windows")
    recent_days: Number = Field(
        7.0, description="length of the most recent stretch, at least 3 x (window + horizon) bars, as of the next"
    )
    volatile_hours: Number = Field(24.0, description="length of the most volatile stretch")


def read_gates(path: Path) -> GateSettings:
    """Settings from a YAML file. Raises ConfigError that names the file, the line and what was expected there."""
    try:
        text = path.read_text(encoding="utf-8")
        document, content = yaml.compose(text, Loader=yaml.SafeLoader), yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {getattr(error, 'strerror', None) or error}; name a file with --gates") from None
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}:{mark.line + 1}" if mark else str(path)
        raise ConfigError(f"{place}: not valid YAML: {getattr(error, 'problem', error)}") from None
    keys = [key for key, _ in document.value] if isinstance(document, yaml.MappingNode) else []
    lines = {key.value: key.start_mark.line + 1 for key in keys}
    if len(lines) < len(keys):
        raise ConfigError(
            f"{path}: expected every key once; {len(keys) - len(lines)} stand there again: keep one of each"
        )
    if not isinstance(content, dict | None):
        raise ConfigError(f"{path}:1: expected lines of a name and its limit, such as accuracy: 0.68, and got none")
    try:
        return GateSettings.model_validate(content or {})
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "the file"
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            message = f"unknown key; expected some of {', '.join(GateSettings.model_fields)}"
        raise ConfigError(f"{path}:{lines.get(name, 1)}: {name}: {message}") from None


# ---- figures


@dataclass(frozen=True)
class Limit:
    """low, high: what a figure may be at least and at most; None where it may be anything.  strict: not even these."""

    low: float | None = None
    high: float | None = None
    strict: bool = False

    def holds(self, value: float) -> bool:
        if self.strict:
            return (self.low is None or value > self.low) and (self.high is None or value < self.high)
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)

    def crosses(self, interval: Interval) -> bool:
        """Whether a bound lies in an interval, so that nobody can tell on which side of it the truth is."""
        return any(bound is not None and interval.low <= bound <= interval.high for bound in (self.low, self.high))


@dataclass(frozen=True)
class Figure:
    """One number of one gate on one set.

    on: the set's name.  name: of the figure; a gate can have several.  value: a share 0 … 1 or a plain number, as
    `kind` says; None where it could not be judged, for the reason in `note`.  interval: None where there is none.
    """

    gate: Gate
    on: str
    name: str
    kind: Literal["share", "number"]
    value: float | None
    limit: Limit
    interval: Interval | None = None
    note: str = ""

    @property
    def passed(self) -> bool:
        """What could not be judged is not passed: a gate is there to be shown to hold, and silence shows nothing."""
        return self.value is not None and self.limit.holds(self.value)

    @property
    def undecided(self) -> bool:
        """Whether the data cannot tell the figure from its limit."""
        return self.interval is not None and self.limit.crosses(self.interval)

    def as_dict(self) -> dict[str, Any]:
        found = {"gate": self.gate, "on": self.on, "name": self.name, "value": self.value, "passed": self.passed}
        limit = {"limit": [self.limit.low, self.limit.high]}
        interval = {"interval": [self.interval.low, self.interval.high]} if self.interval else {}
        return {**found, **limit, **interval, **({"note": self.note} if self.note else {})}


# ---- what figures are made from


@dataclass(frozen=True)
class FeatureScale:
    """How far scaled features are from mean 0 and deviation 1.

    mean, deviation: the largest |mean| and |standard deviation - 1| of a column, and which column that is.
    beyond: columns of `columns` that break one of the two limits.
    """

    mean: float
    mean_column: str
    deviation: float
    deviation_column: str
    beyond: int
    columns: int


def feature_scale(scaled: Floats, columns: Sequence[str], settings: GateSettings) -> FeatureScale:
    """scaled: (n, features), n > 0, finite, by the model's own scaler."""
    means, deviations = np.abs(scaled.mean(axis=0)), np.abs(scaled.std(axis=0) - 1)  # (features,)
    beyond = (means >= settings.feature_mean) | (deviations >= settings.feature_deviation)
    worst_mean, worst_deviation = int(means.argmax()), int(deviations.argmax())
    return FeatureScale(
        mean=float(means[worst_mean]),
        mean_column=columns[worst_mean],
        deviation=float(deviations[worst_deviation]),
        deviation_column=columns[worst_deviation],
        beyond=int(beyond.sum()),
        columns=len(columns),
    )


@dataclass(frozen=True)
class Predictions:
    """What a model said on one set of windows, in time order, and what came.

    raw_logits: (m, classes known).  probabilities: (m, 3).  labels: (m,).  window, horizon: bars.
    spacing: bars between neighbours, 1 for windows in a row, the mean for a draw.
    """

    raw_logits: Floats
    probabilities: Floats
    labels: Labels
    window: int
    horizon: int
    spacing: float

    @cached_property
    def finite(self) -> Flags:
        """Which rows are answers at all, (m,)."""
        both = np.isfinite(self.raw_logits).all(axis=1) & np.isfinite(self.probabilities).all(axis=1)
        return np.asarray(both)

    @cached_property
    def known(self) -> tuple[int, ...]:
        """The classes that the model can say."""
        return (0, 1, 2) if self.raw_logits.shape[1] == len(CLASSES) else (0, 2)

    @cached_property
    def said(self) -> Labels:
        """The predicted class of each row, (m,); of no meaning where it is not finite."""
        return np.asarray(self.probabilities.argmax(axis=1))

    @cached_property
    def confidence(self) -> Floats:
        """(m,); 0 where a row is not finite."""
        return np.where(self.finite, self.probabilities.max(axis=1), 0.0)

    @cached_property
    def judged(self) -> Flags:
        """Which rows can be right or wrong, (m,): for a model of two classes those where UP or DOWN came."""
        return self.finite & judged_on(self.raw_logits, self.labels)

    @cached_property
    def hits(self) -> Flags:
        return np.asarray(self.said == self.labels)

    @property
    def sharing_bars(self) -> int:
        """Neighbours whose windows share bars."""
        return max(1, ceil(self.window / self.spacing))

    @property
    def sharing_labels(self) -> int:
        """Neighbours whose labels look at the same bars."""
        return max(1, ceil(self.horizon / self.spacing))


# ---- the gates


def features_gate(scale: FeatureScale | None, settings: GateSettings, on: str, why_not: str = "") -> list[Figure]:
    """scale: on the bars that the scaler was fitted on; None where these are not at hand, for the reason `why_not`."""
    limits = {"largest |mean|": settings.feature_mean, "largest |deviation - 1|": settings.feature_deviation}
    found: list[tuple[float | None, str]] = [(None, why_not)] * 2
    if scale is not None:
        found = [(scale.mean, scale.mean_column), (scale.deviation, scale.deviation_column)]
    return [
        Figure("features", on, name, "number", value, Limit(high=high, strict=True), note=note)
        for (name, high), (value, note) in zip(limits.items(), found, strict=True)
    ]


def prediction_gates(seen: Predictions, damaged_weights: int, settings: GateSettings, on: str) -> list[Figure]:
    """All gates but the features', on one set. Where no prediction is finite, there is nothing to pass by.

    damaged_weights: numbers among the weights that are NaN or infinite. With any, no answer counts as one: ONNX
    Runtime's LSTM turns a NaN into plausible numbers.
    """
    return [
        _logits_gate(seen, settings, on),
        *_overconfidence_gate(seen, settings, on),
        _confidence_gate(seen, settings, on),
        *_balance_gate(seen, settings, on),
        _finite_gate(seen, damaged_weights, on),
        _accuracy_gate(seen, settings, on),
    ]


def _logits_gate(seen: Predictions, settings: GateSettings, on: str) -> Figure:
    name, limit = "largest |raw logit|", Limit(high=settings.raw_logit)
    if not seen.finite.any():
        return Figure("logits", on, name, "number", None, limit, note=NONE_FINITE)
    sizes = np.abs(seen.raw_logits[seen.finite]).max(axis=1)
    beyond = float((sizes > settings.raw_logit).mean())
    note = f"beyond it in {beyond:.1%} of the windows" if beyond else ""
    return Figure("logits", on, name, "number", float(sizes.max()), limit, note=note)


def _overconfidence_gate(seen: Predictions, settings: GateSettings, on: str) -> list[Figure]:
    figures = []
    for threshold, high in ((0.90, settings.share_over_90), (0.99, settings.share_over_99)):
        name, limit = f"over {100 * threshold:g} % confidence", Limit(high=high, strict=True)
        over = seen.confidence > threshold
        figures.append(_share("overconfidence", on, name, over, seen.finite, seen.sharing_bars, limit))
    return figures


def _confidence_gate(seen: Predictions, settings: GateSettings, on: str) -> Figure:
    name, limit = "mean confidence", Limit(*settings.average_confidence)
    confidence, block = seen.confidence[seen.finite], seen.sharing_bars
    if not len(confidence):
        return Figure("confidence", on, name, "share", None, limit, note=NONE_FINITE)
    enough = len(confidence) >= FEWEST_BLOCKS * block
    interval = mean_interval(confidence, block, level=LEVEL) if enough else None
    return Figure("confidence", on, name, "share", float(confidence.mean()), limit, interval)


def _balance_gate(seen: Predictions, settings: GateSettings, on: str) -> list[Figure]:
    limit = Limit(*settings.class_share)
    return [
        _share("balance", on, f"{CLASSES[k]} predicted", seen.said == k, seen.finite, seen.sharing_bars, limit)
        for k in seen.known
    ]


def _finite_gate(seen: Predictions, damaged_weights: int, on: str) -> Figure:
    lost = len(seen.finite) if damaged_weights else int((~seen.finite).sum())
    note = f"{damaged_weights:,} of its weights are NaN or infinite" if damaged_weights else ""
    return Figure("finite", on, "answers with NaN or infinity", "number", lost, Limit(high=0.0), note=note)


def _accuracy_gate(seen: Predictions, settings: GateSettings, on: str) -> Figure:
    return _share("accuracy", on, "accuracy", seen.hits, seen.judged, seen.sharing_labels, Limit(low=settings.accuracy))


def _share(gate: Gate, on: str, name: str, flags: Flags, among: Flags, block: int, limit: Limit) -> Figure:
    if not among.any():
        return Figure(gate, on, name, "share", None, limit, note=NONE_FINITE if gate != "accuracy" else NONE_JUDGED)
    return Figure(gate, on, name, "share", float(flags[among].mean()), limit, share_interval(flags, among, block))
