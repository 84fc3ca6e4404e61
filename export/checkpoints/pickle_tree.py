"""What the machine built -> a plain tree that can be walked, printed, copied and compared without surprises.

A pickle of 100 bytes can hold a tuple of a tuple of a tuple …, each twice: the memo keeps forty of them, whoever walks
them meets 2**40. So every value has a weight, shared ones count wherever they stand, and the sum has a limit.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from export.checkpoints.pickle_values import ArrayShell, Dtype, Global, StandIn, TensorView
from signalserve.errors import CheckpointError

MAX_DEPTH: Final = 50
"""Of containers in containers. A checkpoint has five or six; whoever walks the tree by recursion must come back."""

MAX_WEIGHT: Final = 64 * 2**20
"""Bytes of the whole tree, shared parts counted wherever they stand, beside WEIGHT_PER_BYTE for each of the file's."""

WEIGHT_PER_BYTE: Final = 4
"""A checkpoint that holds its weights twice (wrapped, and plain) and in 16 bits comes to 4."""

VALUE_WEIGHT: Final = 64
"""Of any value beside its text or its numbers: about what Python takes for one."""

Measured = tuple[Any, int, int]
"""A copy, its weight, and its height: how many containers stand in one another, itself included."""


def plain(value: object, file_bytes: int) -> Any:
    """A tree of plain values: new containers, the machine's values in the making replaced by what they became.

    file_bytes: of the whole file that the value came from; the larger, the more the tree may weigh.
    Raises CheckpointError for a tree that is too deep, too heavy, or contains itself.
    """
    return _Copier(MAX_WEIGHT + WEIGHT_PER_BYTE * file_bytes).copy(value, 0)[0]


class _Copier:
    """Copies each shared value once, and knows it by its id from then on (None: its copy is being made)."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.known: dict[int, Measured | None] = {}

    def copy(self, value: object, depth: int) -> Measured:
        if id(value) in self.known:
            known = self.known[id(value)]
            if known is None:
                raise CheckpointError("holds a value that contains itself: no checkpoint does")
        else:
            self._check_depth(depth)
            self.known[id(value)] = None
            known = self.known[id(value)] = self._measured(value, depth)
        _, weight, height = known
        self._check_depth(depth + height)
        if weight > self.limit:
            raise CheckpointError(f"expands to more than {self.limit:,} bytes, out of a far smaller file")
        return known

    def _check_depth(self, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise CheckpointError(f"expected at most {MAX_DEPTH} containers in one another, got more")

    def _measured(self, value: object, depth: int) -> Measured:
        split = _split(value)
        if split is None:
            leaf = _leaf(value)
            size = leaf.nbytes if isinstance(leaf, np.ndarray) else len(leaf) if isinstance(leaf, str | bytes) else 0
            return leaf, VALUE_WEIGHT + size, 0
        parts, join = split
        measured = [self.copy(part, depth + 1) for part in parts]
        weight = VALUE_WEIGHT + sum(weight for _, weight, _ in measured)
        height = 1 + max((height for _, _, height in measured), default=0)
        return join([copy for copy, _, _ in measured]), weight, height


def _split(value: object) -> tuple[list[Any], Callable[[list[Any]], Any]] | None:
    """A container's parts, and how their copies are put together again; None for what is no container."""
    match value:
        case ArrayShell(contents=list() as texts):
            return texts, list
        case StandIn(name=name, state=state):
            return [state], lambda parts: StandIn(name, parts[0])
        case dict():
            return [*value.keys(), *value.values()], _joined
        case list() | tuple() | set():
            return list(value), type(value)
    return None


def _joined(parts: list[Any]) -> dict[Any, Any]:
    half = len(parts) // 2
    return dict(zip(parts[:half], parts[half:], strict=True))


def _leaf(value: object) -> Any:
    match value:
        case str():
            _check_text(value)
            return value
        case None | bool() | int() | float() | bytes() | np.ndarray():
            return value
        case complex():  # strict JSON has none
            return str(value)
        case TensorView():
            return value.array()
        case ArrayShell(contents=np.ndarray() as array):
            return array
        case ArrayShell():
            raise CheckpointError("holds a numpy array without its data")
        case Global(name=name):  # such as torch.float32 in a configuration
            return name
        case Dtype(code=code):
            return code
    raise CheckpointError(f"holds a bare {type(value).__name__}: expected containers, numbers, text and arrays")


def _check_text(text: str) -> None:
    # Halves of surrogate pairs pass pickle's decoder, and fail where somebody prints them.
    try:
        text.isascii() or text.encode()
    except UnicodeEncodeError:
        raise CheckpointError("holds text that is no Unicode") from None
