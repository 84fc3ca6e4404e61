"""A scaler as a file holds it -> means and scales. Which file's it is: `pairing.py`."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from export.checkpoints.files import named
from export.checkpoints.pickle_values import StandIn, printable
from export.checkpoints.torch_files import read_file
from signalserve.bundle import ScalerValues
from signalserve.errors import CheckpointError

Floats = npt.NDArray[np.float64]

SCALER_KEYS: Final = ("scaler_params", "normalization_params", "processor", "scaler")
"""Under which a checkpoint holds its own."""

LONGEST_NAME: Final = 100
"""Characters of a column's name; the longest known one has 25."""

FLOAT32: Final = np.finfo(np.float32)
"""Features come as float32: a mean or a scale beyond it is of no feature."""

LARGEST_INTEGER: Final = 2**53
"""Up to which every whole number is a float64."""


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
    return _is_means(tree) and not any(_is_network(key, value) for key, value in tree.items())


def _is_network(key: Any, value: Any) -> bool:
    """Whether an entry beside `mean` is a weight, or a state dict."""
    if isinstance(value, np.ndarray):
        return isinstance(key, str) and key.endswith(".weight")
    return isinstance(value, dict) and any(isinstance(inner, np.ndarray) for inner in value.values())


def read_scaler(path: Path) -> FoundScaler:
    """Raises CheckpointError for a file that holds no scaler."""
    found = scaler_in(read_file(path), printable(path.name))
    if found is None:
        raise CheckpointError(
            f"{named(path)}: expected a pickled StandardScaler, a V8 processor, or means and deviations, got none of "
            "them"
        )
    return found


def scaler_in(tree: Any, source: str) -> FoundScaler | None:
    """The scaler that a file's content is or holds; None where there is none.

    source: the file, for the words.  Raises CheckpointError where it is there and cannot be used.
    """
    order = tree.get("feature_columns") if isinstance(tree, dict) else None
    if is_scaler(tree):
        return _scaler_of(tree, source, order)
    for key in SCALER_KEYS:
        if isinstance(tree, dict) and tree.get(key) is not None:
            return _scaler_of(tree[key], f"{source}'s {key}", order)
    return None


def columns_of(names: Any, count: int, source: str) -> tuple[str, ...]:
    """Column names as a file holds them. Raises CheckpointError for others than `count` distinct texts that print."""
    is_row = isinstance(names, list | tuple) or (isinstance(names, np.ndarray) and names.ndim == 1)
    columns = tuple(names) if is_row else ()
    if len(columns) != count:
        raise CheckpointError(f"{source}: expected the names of {count:,} columns, got {len(columns):,}")
    if not all(isinstance(name, str) and 0 < len(name) <= LONGEST_NAME and name.isprintable() for name in columns):
        raise CheckpointError(f"{source}: expected names of printable text, of at most {LONGEST_NAME} characters")
    twice = sorted(name for name, times in Counter(columns).items() if times > 1)
    if twice:
        raise CheckpointError(
            f"{source}: expected distinct columns, got {', '.join(twice[:5])} more than once; save it again"
        )
    return tuple(str(name) for name in columns)


def _scaler_of(value: Any, source: str, order: Any = None) -> FoundScaler:
    """order: the file's own names of its columns, for means that are kept by name."""
    state = value.state if isinstance(value, StandIn) else {}
    if "scaler" in state:
        inner = _scaler_of(state["scaler"], source, state.get("feature_columns"))
        names = state.get("feature_columns")
        columns = inner.columns if names is None else columns_of(names, len(inner.mean), source)
        return FoundScaler(inner.mean, inner.scale, columns, source)
    if _kind_of(value).endswith("StandardScaler"):
        return _standard_scaler(state, source)
    if _is_means(value):
        mean, scale = value["mean"], value["scale"] if "scale" in value else value["std"]
        if isinstance(mean, dict) or isinstance(scale, dict):
            return _by_name(mean, scale, order, source)
        return _checked(mean, scale, None, source)
    raise CheckpointError(
        f"{source}: expected a StandardScaler, or `mean` with `scale` or `std`, got {_kind_of(value)}; "
        "pass the scaler by --scaler"
    )


def _standard_scaler(state: Mapping[str, Any], source: str) -> FoundScaler:
    # either of its two steps can be switched off
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
    return _checked(mean, scale, None if names is None else columns_of(names, width, source), source)


def _by_name(mean: Any, scale: Any, order: Any, source: str) -> FoundScaler:
    """Of {column: number}, as pandas' to_dict gives them."""
    if not (isinstance(mean, dict) and isinstance(scale, dict) and mean.keys() == scale.keys()):
        raise CheckpointError(f"{source}: expected a mean and a scale of the same columns")
    columns = columns_of(list(mean) if order is None else order, len(mean), source)
    if mean.keys() != set(columns):
        raise CheckpointError(f"{source}: expected means by the names in feature_columns, got others")
    return _checked([mean[name] for name in columns], [scale[name] for name in columns], columns, source)


def _is_means(value: Any) -> bool:
    return isinstance(value, dict) and "mean" in value and ("scale" in value or "std" in value)


def _kind_of(value: Any) -> str:
    return printable(value.name) if isinstance(value, StandIn) else type(value).__name__


def _checked(mean: Any, scale: Any, columns: tuple[str, ...] | None, source: str) -> FoundScaler:
    means, scales = _numbers(mean, source), _numbers(scale, source)
    if len(means) != len(scales):
        raise CheckpointError(f"{source}: expected as many means as scales, got {len(means)} and {len(scales)}")
    fit = (np.abs(means) <= FLOAT32.max) & ((scales == 0) | ((scales >= FLOAT32.tiny) & (scales <= FLOAT32.max)))
    if not fit.all():
        raise CheckpointError(
            f"{source}: expected finite means and scales of at least 0, in float32's range; fit the scaler again"
        )
    # a constant column is left as it is, as StandardScaler does
    return FoundScaler(means, np.where(scales == 0, 1.0, scales), columns, source)


def _numbers(values: Any, source: str) -> Floats:
    """One number a column: (n,), or the one row of (1, n), as means that kept their dimensions are."""
    if isinstance(values, list | tuple) and len(values) == 1 and isinstance(values[0], list | tuple):
        values = values[0]
    if isinstance(values, list | tuple) and all(_is_number(value) for value in values):
        return np.array(values, dtype=np.float64)
    if isinstance(values, np.ndarray) and values.dtype.kind in "fiu":
        row = values[0] if values.ndim == 2 and len(values) == 1 else values
        if row.ndim == 1:
            return row.astype(np.float64)
    raise CheckpointError(f"{source}: expected one mean and one scale a column, as numbers, got {_kind_of(values)}")


def _is_number(value: Any) -> bool:
    return type(value) is float or (type(value) is int and abs(value) <= LARGEST_INTEGER)
