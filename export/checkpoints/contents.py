"""What a checkpoint's tree says of its network: tensors, symbol, generation, columns, temperature, clamp.

Each is taken from where it is surest; what the file does not say, or says twice, goes into `notes`, a sentence each,
which become the bundle's list of what was assumed.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from export.checkpoints.formats import Recognised
from export.checkpoints.pickle_values import printable, shown
from export.checkpoints.scalers import FoundScaler, columns_of, is_scaler
from export.feature_files import unnamed
from signalserve.candle_files import symbol_of_name
from signalserve.errors import CheckpointError
from signalserve.features import COLUMNS

Array = npt.NDArray[Any]

STATE_DICTS: Final = ("model_state_dict", "state_dict", "base_model_state_dict", "model")
"""Keys that hold a network's tensors, the one that was served first."""

USUAL_CLAMP: Final = 15.0
"""The owners' own limit."""

TEMPERATURES: Final = (1e-3, 1e4)
"""Beyond them probabilities are one class, or a third each, whatever the logits. The owners' went from 1 to 10."""

CLAMPS: Final = (1e-3, 1e6)
"""Below them every logit ties at the clamp; V6's unscaled logits of ±4 million are what a clamp is there to stop."""

SYMBOL: Final = re.compile(r"[A-Z0-9]{2,15}-[A-Z0-9]{2,6}")
LONGEST_SYMBOL: Final = 64
"""Characters in which a symbol is looked for, such as `Binance BTC/USDT perpetual`."""


def tensors_of(tree: Any, notes: list[str]) -> dict[str, Array]:
    """The state dict: under one of its usual keys, else the tree itself. Raises CheckpointError where there is none."""
    if is_scaler(tree):
        raise CheckpointError("expected a network, got a scaler; pass it as --scaler beside its checkpoint")
    if not isinstance(tree, dict):
        raise CheckpointError(
            f"expected a dict with model_state_dict, or a state dict, got {type(tree).__name__}; save the network "
            "again with torch.save(model.state_dict(), path)"
        )
    for key in STATE_DICTS:
        if tensors := weights_in(tree.get(key)):
            notes.extend(_left_out(tree[key], tensors, key))
            return tensors
    if tensors := weights_in(tree):
        return tensors
    held = ", ".join(printable(str(key), 60) for key in list(tree)[:8]) or "nothing"
    raise CheckpointError(
        f"expected weights, got a file without any: it holds {held}; its figures cannot be checked and nothing can be "
        "served: save the network again with its model_state_dict"
    )


def weights_in(value: Any) -> dict[str, Array]:
    """A state dict's tensors: all of a dict of arrays, of a mixed one those that are called as layers' are."""
    if not isinstance(value, dict):
        return {}
    arrays = {str(name): array for name, array in value.items() if isinstance(array, np.ndarray)}
    if len(arrays) < len(value):
        arrays = {name: array for name, array in arrays.items() if "." in name or name == "temperature"}
    return arrays if len(arrays) == len(value) or any("weight" in name for name in arrays) else {}


def _left_out(state: Mapping[Any, Any], tensors: Mapping[str, Array], key: str) -> list[str]:
    left = [printable(str(name), 60) for name in state if str(name) not in tensors]
    return [f"{key} holds more than tensors, which is left out: {', '.join(left[:6])}"] if left else []


def contradictions(tree: Mapping[str, Any], tensors: Mapping[str, Array], network: Recognised) -> list[str]:
    """Where the file speaks against its own tensors, each a sentence."""
    notes = []
    claimed = tree.get("input_size")
    if type(claimed) is int and claimed != network.config.inputs:
        notes.append(
            f"input_size says {printable(str(claimed), 20)} and the tensors read {network.config.inputs}: the tensors "
            "are right"
        )
    plain = weights_in(tree.get("base_model_state_dict"))
    if any(not np.array_equal(array, tensors.get(f"base_model.{name}", array)) for name, array in plain.items()):
        notes.append("base_model_state_dict holds other weights than model_state_dict, which is taken")
    return notes


def symbol_in(path: Path, tree: Mapping[str, Any], given: str | None, notes: list[str]) -> str:
    """given: the owner's word, before the file's own, before its name's. Raises CheckpointError where none tells it."""
    if given is not None:
        if normal := _normal_symbol(given):
            return normal
        raise CheckpointError(f"--symbol: expected a symbol such as BTC-USD, got {printable(given)}")
    claimed = tree.get("symbol")
    in_file, in_name = _normal_symbol(claimed), _short(symbol_of_name(path.stem))
    if claimed is not None and in_file is None:
        notes.append(f"the file's symbol is none: {shown(claimed)}")
    if in_file and in_name and in_file != in_name:
        notes.append(f"the file says {in_file} and its name {in_name}: {in_file} is taken")
    symbol = in_file or in_name
    if symbol is None:
        raise CheckpointError(
            "expected a symbol in the file or its name, such as lstm_BTC-USD.pt, got none; pass --symbol"
        )
    return symbol


def _normal_symbol(value: Any) -> str | None:
    if not isinstance(value, str) or len(value) > LONGEST_SYMBOL:
        return None
    upper = value.strip().upper()
    return _short(symbol_of_name(upper) or upper)


def _short(symbol: str | None) -> str | None:
    """A symbol that can be a folder's name; None for what is no symbol."""
    return symbol if symbol and SYMBOL.fullmatch(symbol) else None


def generation_in(network: Recognised, tree: Mapping[str, Any]) -> str:
    """By its tensors; V6's are those of its mend too, which left a temperature or a clamp in the file."""
    is_mended = network.temperature is not None or "temperature" in tree or "logit_clip" in tree
    return "v6_fixed" if network.generation == "v6" and is_mended else network.generation


def columns_in(
    tree: Mapping[str, Any], network: Recognised, scaler: FoundScaler | None, notes: list[str]
) -> tuple[tuple[str, ...], str]:
    """Column names in the network's order, and where they come from.

    Raises CheckpointError where they are not the network's, or the scaler's are others.
    """
    inputs = network.config.inputs
    listed = tree.get("feature_columns")
    own = None if listed is None else columns_of(listed, inputs, "feature_columns")
    of_scaler = scaler.columns if scaler else None
    if own and of_scaler and own != of_scaler:
        place = next(i for i, (a, b) in enumerate(zip(own, of_scaler, strict=True)) if a != b)
        raise CheckpointError(
            f"feature_columns and those of {scaler.source if scaler else ''} differ from column {place} on: the scaler "
            "belongs to another order or other columns; pass the right one by --scaler"
        )
    columns = own or of_scaler
    if columns is not None:
        return columns, f"{inputs}, as the file names them" + (" (the usual 72)" if columns == COLUMNS else "")
    if inputs == len(COLUMNS):
        notes.append(f"the {inputs} columns are V6's, in the model's order")
        return COLUMNS, f"{inputs}, without names"
    notes.append(f"the columns have no names: they are called {unnamed(0)} … {unnamed(inputs - 1)}, by position")
    return tuple(unnamed(i) for i in range(inputs)), f"{inputs}, without names"


def temperature_in(tree: Mapping[str, Any], network: Recognised, notes: list[str]) -> tuple[float, str]:
    """What the network itself divides by, else what the file says beside it, else 1; and in words."""
    key, tensor = _number(tree, "temperature"), network.temperature
    if tensor is not None and key is not None and not np.isclose(tensor, key, rtol=1e-6):
        notes.append(f"the network's own temperature is {tensor:g} and the file says {key:g}: {tensor:g} is taken")
    temperature = key if tensor is None else tensor
    if temperature is None:
        notes.append("no temperature was found: 1 is taken, which changes nothing")
        return 1.0, "none"
    _check_range("temperature", temperature, TEMPERATURES)
    return temperature, f"{temperature:g}" + (" (a tensor)" if tensor is not None else "")


def clamp_in(tree: Mapping[str, Any], notes: list[str]) -> tuple[float, str]:
    """The file's own limit of the logits, else the usual one; and in words."""
    clip = _number(tree, "logit_clip")
    if clip is None:
        notes.append(f"no clamp was found: ±{USUAL_CLAMP:g} is taken, the owners' own; it binds beyond that alone")
        return USUAL_CLAMP, "none"
    _check_range("logit_clip", clip, CLAMPS)
    return clip, f"±{clip:g}"


def _number(tree: Mapping[str, Any], key: str) -> float | None:
    """A number, alone or in an array or a list of one; None where there is none."""
    value = tree.get(key)
    if value is None:
        return None
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.item()
    elif isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    if type(value) not in (int, float):
        raise CheckpointError(f"{key}: expected a number, got {shown(value)}")
    try:
        return float(value)
    except OverflowError:
        return float("inf")


def _check_range(key: str, value: float, limits: tuple[float, float]) -> None:
    lowest, highest = limits
    if not lowest <= value <= highest:
        raise CheckpointError(f"{key}: expected a number from {lowest:g} to {highest:,.0f}, got {value:g}")
