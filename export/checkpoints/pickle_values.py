"""What a pickle may hold beside plain values: names, stand-ins for objects, and arrays in the making."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

MAX_DIMENSIONS = 8
"""Of an array. The weights of LSTM and attention have at most three; a bound keeps every look at a shape short."""


@dataclass(frozen=True)
class StandIn:
    """An object of a known class, as its name and its attributes; the class itself was never imported.

    name: dotted, as the file has it, such as `sklearn.preprocessing._data.StandardScaler`.
    """

    name: str
    state: dict[str, Any]


@dataclass(frozen=True)
class Global:
    """A dotted name that the file refers to and the table knows."""

    name: str


@dataclass(frozen=True)
class Dtype:
    """A numpy dtype by its code, such as `f8`; `O8`, object, only for what feature names are kept in."""

    code: str

    @property
    def numpy(self) -> np.dtype[Any]:
        """Raises ValueError for object."""
        if self.code == "O8":
            raise ValueError("expected numbers or text, got dtype object")
        return np.dtype("<" + self.code)


@dataclass
class ArrayShell:
    """A numpy array between its making and the BUILD that brings its data.

    contents: None until then.
    """

    contents: Array | list[str] | None = None


@dataclass
class Storage:
    """The numbers that tensors are views of, read when the first tensor is asked for.

    length: how many.  type_name: dotted, as the file has it.  read: gives them, (length,), read-only; bytes (uint8)
    where torch left the type to the tensor.
    """

    length: int
    type_name: str
    read: Callable[[], Array]

    @cached_property
    def values(self) -> Array:
        return self.read()


@dataclass(frozen=True)
class TensorView:
    """A tensor: a part of its storage, checked against the storage's length. offset, stride: in numbers."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def array(self) -> Array:
        """Read-only, without a copy."""
        values = self.storage.values
        item = values.itemsize
        return np.ndarray(self.size, values.dtype, values, self.offset * item, [step * item for step in self.stride])


def check_shape(shape: object) -> tuple[int, ...]:
    """A shape that may be computed with. Raises ValueError for anything else."""
    if type(shape) is not tuple or len(shape) > MAX_DIMENSIONS:
        raise ValueError(f"expected a shape of at most {MAX_DIMENSIONS} dimensions, got {type(shape).__name__}")
    if not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError("expected a shape of whole numbers from 0")
    return shape


def shown(value: object) -> str:
    """A value of a file in an error message: text as it is, of others only the kind, for writing them may never end."""
    return printable(value) if type(value) is str else f"a {type(value).__name__}"


def printable(text: str, most: int = 160) -> str:
    """Text of a file in a message: short, and what would steer a terminal or turn a line round is shown as its code."""
    escaped = "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text[:most])
    return escaped if max(len(text), len(escaped)) <= most else escaped[: most - 1] + "…"
