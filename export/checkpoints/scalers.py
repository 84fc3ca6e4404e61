"""Which scaler belongs to a checkpoint: the one that is named, else the file's own, else one that lies beside it.

A forgotten scaler is what sent V6's logits to ±4 million, so that nothing here is silent: where it comes from, what
contradicts it, and that there is none.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from export.checkpoints.pickle_values import StandIn
from export.checkpoints.torch_files import read_file
from signalserve.bundle import ScalerValues
from signalserve.candle_files import symbol_of_name
from signalserve.errors import CheckpointError

Floats = npt.NDArray[np.float64]

SUFFIXES: Final = (".pkl", ".pickle")

UNSCALED: Final = (
    "NO SCALER was found: features go in unscaled, which is how V6's logits reached ±4 million; pass the scaler it was "
    "trained with by --scaler, or run signalserve fix"
)


@dataclass(frozen=True)
class FoundScaler:
    """mean, scale: (features,), scale > 0.  columns: in its order, where it names them.  source: in words."""

    mean: Floats
    scale: Floats
    columns: tuple[str, ...] | None
    source: str

    @property
    def values(self) -> ScalerValues:
        return ScalerValues(mean=self.mean.tolist(), scale=self.scale.tolist())

    def same_as(self, other: "FoundScaler") -> bool:
        return np.array_equal(self.mean, other.mean) and np.array_equal(self.scale, other.scale)


def is_scaler(tree: Any) -> bool:
    """Whether a file's content is a scaler, or a processor around one, and no network."""
    if isinstance(tree, StandIn):
        return True
    return _is_means(tree) and not any(isinstance(value, dict) for value in tree.values())


def scaler_in(tree: Any, source: str) -> FoundScaler | None:
    """The scaler that a file's content is or holds; None where there is none.

    source: the file, for the words.  Raises CheckpointError where it is there and cannot be used.
    """
    if is_scaler(tree):
        return _scaler_of(tree, source)
    for key in ("scaler_params", "normalization_params", "processor", "scaler"):
        if isinstance(tree, dict) and tree.get(key) is not None:
            return _scaler_of(tree[key], f"{source}'s {key}")
    return None


def read_scaler(path: Path) -> FoundScaler:
    """Raises CheckpointError for a file that holds no scaler."""
    found = scaler_in(read_file(path), path.name)
    if found is None:
        raise CheckpointError(
            f"{path}: expected a pickled StandardScaler, a V8 processor, or means and deviations, got none of them"
        )
    return found


def scalers_beside(path: Path, symbol: str, generation: str) -> list[Path]:
    """Files beside a checkpoint whose names pair them with it, the likeliest first.

    <stem>_scaler.pkl and scaler_<stem>.pkl, then scaler_<symbol>_<generation>.pkl and scaler_<symbol>.pkl, each also
    with `processor`; the symbol in any spelling.
    """
    by_stem: list[Path] = []
    by_generation: list[Path] = []
    by_symbol: list[Path] = []
    for file in sorted(path.parent.iterdir()):
        if file.suffix.lower() not in SUFFIXES or file == path:
            continue
        named = re.fullmatch(r"(?:scaler|processor)_(.+)|(.+)_(?:scaler|processor)", file.stem, re.IGNORECASE)
        if not named:
            continue
        whose = named[1] or named[2]
        without_generation = whose.removesuffix(f"_{generation}")
        if whose == path.stem:
            by_stem.append(file)
        elif _spells(without_generation, symbol):
            (by_symbol if without_generation == whose else by_generation).append(file)
    return by_stem + by_generation + by_symbol


def _spells(name: str, symbol: str) -> bool:
    """Whether a name is the symbol and nothing else: BTC, BTCUSDT, BTC-USD."""
    return symbol_of_name(re.sub(r"[^A-Za-z0-9]+", "", name)) == symbol


def _scaler_of(value: Any, source: str) -> FoundScaler:
    state = _state(value)
    if "scaler" in state:
        inner = _scaler_of(state["scaler"], source)
        names = state.get("feature_columns")
        return FoundScaler(
            inner.mean, inner.scale, inner.columns if names is None else columns_of(names, source), source
        )
    if _name_of(value).endswith("StandardScaler"):  # either of its two steps can be switched off
        scale = state.get("scale_") if state.get("with_std", True) else None
        mean = state.get("mean_") if state.get("with_mean", True) else None
        if scale is None and mean is None:
            raise CheckpointError(
                f"{source}: expected a fitted StandardScaler, got one without means and scales; pass the fitted one by "
                "--scaler"
            )
        width = len(_numbers(scale if mean is None else mean, source))
        mean = np.zeros(width) if mean is None else mean
        scale = np.ones(width) if scale is None else scale
        names = state.get("feature_names_in_")
        return _checked(mean, scale, None if names is None else columns_of(names, source), source)
    if _is_means(value):
        return _checked(value["mean"], value["scale"] if "scale" in value else value["std"], None, source)
    raise CheckpointError(
        f"{source}: expected a StandardScaler, or `mean` with `scale` or `std`, got {_name_of(value)}; "
        "pass the scaler by --scaler"
    )


def _state(value: Any) -> Mapping[str, Any]:
    return value.state if isinstance(value, StandIn) else {}


def _is_means(value: Any) -> bool:
    return isinstance(value, dict) and "mean" in value and ("scale" in value or "std" in value)


def _name_of(value: Any) -> str:
    return value.name if isinstance(value, StandIn) else type(value).__name__


def _checked(mean: Any, scale: Any, columns: tuple[str, ...] | None, source: str) -> FoundScaler:
    means, scales = _numbers(mean, source), _numbers(scale, source)
    if len(means) != len(scales):
        raise CheckpointError(f"{source}: expected as many means as scales, got {len(means)} and {len(scales)}")
    if not (np.isfinite(means).all() and np.isfinite(scales).all() and (scales >= 0).all()):
        raise CheckpointError(f"{source}: expected finite means and scales of at least 0; fit the scaler again")
    if columns is not None and len(columns) != len(means):
        raise CheckpointError(f"{source}: expected a name for each of {len(means)} columns, got {len(columns)}")
    # a constant column is left as it is, as StandardScaler does
    return FoundScaler(means, np.where(scales == 0, 1.0, scales), columns, source)


def _numbers(values: Any, source: str) -> Floats:
    try:
        numbers = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        numbers = np.empty((0, 0))
    if numbers.ndim != 1:
        raise CheckpointError(f"{source}: expected one mean and one scale a column, got {type(values).__name__}")
    return numbers


def columns_of(names: Any, source: str) -> tuple[str, ...]:
    """Column names as a file holds them. Raises CheckpointError where they are no names, or one comes twice."""
    columns = tuple(names) if isinstance(names, list | tuple | np.ndarray) else ()
    if not columns or not all(isinstance(name, str) and name for name in columns):
        raise CheckpointError(f"{source}: expected the columns' names, got {names!r:.60}")
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise CheckpointError(
            f"{source}: expected distinct columns, got {', '.join(twice[:5])} more than once; save it again"
        )
    return tuple(str(name) for name in columns)
