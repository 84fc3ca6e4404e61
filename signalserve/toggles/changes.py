"""What each command writes into serving.yaml: values at their places. Pure."""

from collections.abc import Mapping
from typing import Any

from signalserve.errors import ConfigError
from signalserve.settings import Settings
from signalserve.toggles.edit import KeyPath, Scalar

Values = dict[KeyPath, Scalar]

_NEEDED = ("name", "split", "control", "salt")
"""What an experiment cannot be without; its block_minutes have a default."""


def mode(mode: str, symbol: str | None) -> Values:
    """symbol: whose own mode it is; None for the defaults."""
    return {(*_owner(symbol), "mode"): mode}


def weights(settings: Settings, shares: Mapping[str, float], symbol: str | None) -> Values:
    """A generation that is not named gets 0 where the file has it."""
    own = settings.symbols.get(symbol) if symbol else settings.defaults
    return _shares((*_owner(symbol), "weights"), (own and own.weights) or {}, shares)


def pool(method: str, temperature: float, symbol: str | None) -> Values:
    place = (*_owner(symbol), "pool")
    return {(*place, "method"): method, (*place, "temperature"): temperature}


def experiment(
    settings: Settings,
    *,
    name: str | None = None,
    split: Mapping[str, float] | None = None,
    control: str | None = None,
    block_minutes: int | None = None,
    salt: str | None = None,
) -> Values:
    """What is None stays as it is; of the split, an arm that is not named gets 0 where the file has it.

    Raises ConfigError where the first experiment is not given whole.
    """
    given: dict[str, Scalar | Mapping[Any, float] | None] = {
        "name": name,
        "split": split,
        "control": control,
        "block_minutes": block_minutes,
        "salt": salt,
    }
    missing = [key for key in _NEEDED if given[key] is None]
    if settings.experiment is None and missing:
        raise ConfigError(
            f"experiment: there is none yet, and a first one needs --name, --split, --control and --salt; got no "
            f"{' and no '.join(f'--{key}' for key in missing)}: signalserve toggle experiment --name v8-rollout "
            "--split v6_fixed=0.9,v8=0.1 --control v6_fixed --salt SALT"
        )
    before = settings.experiment.split if settings.experiment else {}
    values: Values = {}
    for key, value in given.items():
        if isinstance(value, Mapping):
            values |= _shares(("experiment", key), before, value)
        elif value is not None:
            values["experiment", key] = value
    return values


def shadow(score_all_arms: bool, budget_ms: float | None) -> Values:
    values: Values = {("score_all_arms",): score_all_arms}
    return values if budget_ms is None else {**values, ("shadow_budget_ms",): budget_ms}


def _owner(symbol: str | None) -> KeyPath:
    return ("symbols", symbol) if symbol else ("defaults",)


def _shares(place: KeyPath, before: Mapping[Any, float], shares: Mapping[Any, float]) -> Values:
    # 0 rather than gone: it means the same, and the key keeps its comment
    return {(*place, name): share for name, share in {**dict.fromkeys(before, 0.0), **shares}.items()}
