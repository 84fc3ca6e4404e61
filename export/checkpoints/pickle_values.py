"""What a pickle may hold beside plain values: names, stand-ins for objects, and arrays in the making."""

from dataclasses import dataclass
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


@dataclass(frozen=True)
class Storage:
    """The numbers that tensors are views of: (n,), read-only; bytes (uint8) where torch left the type to the tensor."""

    values: Array
    type_name: str


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


def printable(text: str) -> str:
    """Text of a file in an error message: ASCII, and short."""
    text = ascii(text)[1:-1]
    return text if len(text) <= 160 else text[:159] + "…"
