"""What a checkpoint's owners say of it beside its weights: figures that nobody can check, kept as their claims."""

from collections.abc import Collection, Mapping
from typing import Any, Final

import numpy as np

from export.checkpoints.contents import STATE_DICTS
from export.checkpoints.pickle_values import printable
from export.checkpoints.scalers import SCALER_KEYS
from export.checkpoints.torch_files import TRAINING_ONLY

READ: Final = frozenset(
    {*STATE_DICTS, *TRAINING_ONLY, *SCALER_KEYS, "feature_columns", "temperature", "logit_clip", "symbol"}
)
"""Keys whose values are read for what they are, or serve training alone."""

MOST: Final = 32
"""Of the claims, and of the members of each; a page holds no more."""

LONGEST_KEY: Final = 60
LONGEST_TEXT: Final = 200
DEEPEST: Final = 2


def claims_in(tree: Mapping[Any, Any], weights: Collection[str]) -> dict[str, Any]:
    """Each claim as strict JSON, by its key. weights: names that are the network's where the tree is its state dict."""
    claimed = {key: value for key, value in tree.items() if key not in READ and key not in weights}
    claims = {_key(key): _plain(value, DEEPEST) for key, value in list(claimed.items())[:MOST]}
    if len(claimed) > MOST:
        claims["further claims"] = f"and {len(claimed) - MOST:,} more"
    return claims


def _key(key: object) -> str:
    return printable(str(key), LONGEST_KEY)


def _plain(value: Any, depth: int) -> Any:
    """A value as strict JSON; what would not fit a page is told by its size. depth: of containers that are opened."""
    if isinstance(value, str):
        return printable(value, LONGEST_TEXT)
    if isinstance(value, bool | int) or value is None:
        return value
    if isinstance(value, float):
        return value if np.isfinite(value) else str(value)
    if isinstance(value, np.ndarray) and value.size <= 16:
        return _plain(value.tolist(), depth)
    if isinstance(value, dict) and len(value) <= MOST and depth:
        return {_key(key): _plain(inner, depth - 1) for key, inner in value.items()}
    if isinstance(value, list | tuple) and len(value) <= MOST and depth:
        return [_plain(inner, depth - 1) for inner in value]
    return f"{type(value).__name__} of {len(value)}" if hasattr(value, "__len__") else type(value).__name__
