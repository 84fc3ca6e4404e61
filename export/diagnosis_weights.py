"""A network's tensors -> what is in them: how they are spread, what is not a number, and what is dead."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

READS: Final[Mapping[str, tuple[str, ...]]] = {
    "lstm": ("lstm.weight_ih_l0", "lstm.weight_ih_l0_reverse"),
    "feed_forward": ("layers.0.weight",),
    "attention_lstm": ("lstm1.weight_ih_l0", "lstm1.weight_ih_l0_reverse"),
}
"""An architecture's kind -> its tensors that read the features, of shape (units, features)."""


@dataclass(frozen=True)
class TensorStatistics:
    """One tensor.

    mean, deviation, smallest, largest: of its finite numbers; None where it has none.  zeros: share, 0 … 1.
    nan, infinite: counts.  dead_units: rows that are all zero, which answer the same to every input; None where the
    tensor is no matrix.
    """

    name: str
    shape: tuple[int, ...]
    mean: float | None
    deviation: float | None
    smallest: float | None
    largest: float | None
    zeros: float
    nan: int
    infinite: int
    dead_units: int | None


@dataclass(frozen=True)
class Weights:
    """All tensors of a network.

    numbers: how many.  norm: Euclidean, of all finite ones.  unread: the columns that the first layer gives a weight
    of exactly 0, whatever they hold.
    """

    tensors: Sequence[TensorStatistics]
    numbers: int
    norm: float
    unread: Sequence[str]

    @property
    def not_finite(self) -> int:
        return sum(tensor.nan + tensor.infinite for tensor in self.tensors)

    @property
    def dead_units(self) -> int:
        return sum(tensor.dead_units or 0 for tensor in self.tensors)


def weights_of(tensors: Mapping[str, npt.NDArray[Any]], kind: str, columns: Sequence[str]) -> Weights:
    """tensors: name -> array, as a bundle keeps them.  kind: of the architecture.  columns: in the network's order."""
    arrays = {name: np.asarray(tensor, dtype=np.float64) for name, tensor in tensors.items()}
    readers = [arrays[name] for name in READS[kind] if name in arrays]
    read = np.any([np.any(reader != 0, axis=0) for reader in readers], axis=0)  # (features,)
    finite = [array[np.isfinite(array)] for array in arrays.values()]
    return Weights(
        tensors=[_statistics(name, array) for name, array in arrays.items()],
        numbers=sum(array.size for array in arrays.values()),
        norm=float(np.sqrt(sum(numbers @ numbers for numbers in finite))),
        unread=[column for column, is_read in zip(columns, read, strict=True) if not is_read],
    )


def _statistics(name: str, array: npt.NDArray[np.float64]) -> TensorStatistics:
    numbers = array[np.isfinite(array)]
    some = numbers.size > 0
    return TensorStatistics(
        name=name,
        shape=array.shape,
        mean=float(numbers.mean()) if some else None,
        deviation=float(numbers.std()) if some else None,
        smallest=float(numbers.min()) if some else None,
        largest=float(numbers.max()) if some else None,
        zeros=float((array == 0).mean()),
        nan=int(np.isnan(array).sum()),
        infinite=int(np.isinf(array).sum()),
        dead_units=int((array == 0).all(axis=1).sum()) if array.ndim == 2 else None,
    )
