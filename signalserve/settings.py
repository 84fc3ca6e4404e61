"""`serving.yaml`: which model answers, in what mode and with what weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from signalserve.errors import ConfigError

Generation = Literal["v6_fixed", "v8"]
GENERATIONS: tuple[Generation, ...] = ("v6_fixed", "v8")
Variant = Literal["v6_fixed", "v8", "ensemble"]
VARIANTS: tuple[Variant, ...] = ("v6_fixed", "v8", "ensemble")
Mode = Literal["v6_fixed", "v8", "ensemble", "ab"]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]

SUM_TOLERANCE = 1e-6 + 1e-12  # weights and splits written with six decimals still add up


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _sums_to_one(what: str, shares: dict[Any, float]) -> None:
    total = sum(shares.values())
    if abs(total - 1) > SUM_TOLERANCE:
        raise ValueError(f"{what} must sum to 1, got {total:.10g}")


class Pool(Strict):
    """How several forecasts become one."""

    method: Literal["linear", "log"] = Field("linear", description="weighted mean of probabilities, or of their logs")
    temperature: float = Field(1.0, gt=0, allow_inf_nan=False, description="divides the pooled log-probabilities")


class SymbolSettings(Strict):
    """What a symbol may set for itself; what it leaves out comes from `defaults`."""

    mode: Mode | None = Field(None, description="who answers: one generation, the pool, or an arm of the experiment")
    weights: dict[Generation, Share] | None = Field(None, description="each generation's share in the pool, sum 1")
    pool: Pool | None = Field(None, description="method and temperature of the pool")

    @field_validator("weights")
    @classmethod
    def _weights_sum(cls, weights: dict[Any, float] | None) -> dict[Any, float] | None:
        if weights is not None:
            _sums_to_one("weights", weights)
        return weights


class Defaults(SymbolSettings):
    """What holds for every symbol that does not say otherwise."""

    mode: Mode = "ensemble"
    weights: dict[Generation, Share] = Field(default={"v6_fixed": 0.5, "v8": 0.5})
    pool: Pool = Pool()


class Experiment(Strict):
    """The A/B test, used where a symbol's mode is `ab`."""

    name: str = Field(min_length=1, description="part of the hash: another name deals the arms anew")
    split: dict[Variant, Share] = Field(description="share of time blocks that each arm answers, sum 1")
    control: Variant = Field(description="the arm that the others are compared with")
    block_minutes: int = Field(60, ge=1, le=10080, description="a symbol keeps its arm for this long, by as_of")
    salt: str = Field(description="part of the hash, chosen by the operator")

    @model_validator(mode="after")
    def _split_is_whole(self) -> Self:
        _sums_to_one("split", dict(self.split))
        if self.control not in self.split:
            raise ValueError(f"control {self.control!r} must be one of the split's arms {sorted(self.split)}")
        return self


class Settings(Strict):
    """`serving.yaml`, whole."""

    defaults: Defaults = Field(default_factory=Defaults)
    symbols: dict[str, SymbolSettings] = Field(default_factory=dict)
    experiment: Experiment | None = None
    score_all_arms: bool = Field(
        False, description="compute and record every arm, answer with one: paired, in the shadow"
    )
    shadow_budget_ms: float = Field(
        20.0, gt=0, le=10_000, allow_inf_nan=False, description="arms that only get recorded are dropped past this"
    )
    allow_failed_gates: bool = Field(False, description="serve bundles whose quality gates failed, with a warning")
    bundles: dict[str, dict[Generation, str]] = Field(default_factory=dict, description="symbol -> pinned versions")

    @model_validator(mode="after")
    def _ab_needs_an_experiment(self) -> Self:
        modes = {"defaults": self.defaults.mode} | {f"symbols.{s}": own.mode for s, own in self.symbols.items()}
        waiting = [place for place, mode in modes.items() if mode == "ab"]
        if waiting and self.experiment is None:
            raise ValueError(f"mode ab in {', '.join(waiting)} needs an `experiment:` section")
        return self

    def of(self, symbol: str) -> Defaults:
        """The settings in force for a symbol: its own where it has any, else the defaults."""
        own = self.symbols.get(symbol)
        if own is None:
            return self.defaults
        return Defaults(
            mode=own.mode or self.defaults.mode,
            weights=own.weights or self.defaults.weights,
            pool=own.pool or self.defaults.pool,
        )


def parse_settings(text: str, source: str) -> Settings:
    """Raises ConfigError that names the file, the line and what was expected there."""
    try:
        document = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except Exception as error:  # beside YAMLError whatever its constructors make of `!!float ""` or an alias in itself
        mark = getattr(error, "problem_mark", None)
        place = f"{source}:{mark.line + 1}" if mark else source
        raise ConfigError(f"{place}: not valid YAML: {getattr(error, 'problem', error)}") from None
    try:
        twice = _repeated_key(document)
    except RecursionError:
        raise ConfigError(f"{source}: not valid YAML: it refers to itself; write it out") from None
    if twice is not None:
        raise ConfigError(f"{source}:{twice.start_mark.line + 1}: the key {twice.value!r} a second time; keep one")
    try:
        settings = Settings.model_validate({} if content is None else content)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"] if part != "[key]") or "the file"
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            message = "unknown key; remove it or correct its spelling"
        raise ConfigError(f"{source}:{_line_of(document, first['loc'])}: {path}: {message}") from None
    missing = {"mode", "weights", "pool"} - settings.defaults.model_fields_set
    if missing:  # an editor that saves in place shows an empty and a half file first
        raise ConfigError(
            f"{source}: defaults: expected mode, weights and pool, got no {' and no '.join(sorted(missing))}"
        )
    return settings


def load_settings(path: Path) -> Settings:
    """Raises ConfigError where the file is missing, unreadable or wrong."""
    return parse_settings(read_text(path), str(path))


def read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{path}: {reason}; run in the project's folder, or name the file with --settings") from None


def _line_of(node: yaml.Node | None, location: Sequence[int | str]) -> int:
    """The line (from 1) of the deepest node on the way to a location that the file really holds."""
    line = 1
    for part in location:
        if isinstance(node, yaml.MappingNode):
            match = [(key, value) for key, value in node.value if key.value == str(part)]
            if not match:
                break
            line, node = match[0][0].start_mark.line + 1, match[0][1]
        else:
            break
    return line


def _repeated_key(node: yaml.Node | None) -> yaml.Node | None:
    """The first key that a mapping holds twice, of which YAML would silently take the last."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                return cast(yaml.Node, key)
            seen.add(key.value)
    children = [value for _, value in node.value] if isinstance(node, yaml.MappingNode) else []
    found = (_repeated_key(child) for child in children)
    return next((key for key in found if key is not None), None)
