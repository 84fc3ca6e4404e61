"""torch's part of the table: tensors as views of their storages, in numpy alone.

bfloat16, which numpy lacks, becomes float32; quantised, sparse and 8-bit types are not in the table. A storage is read
when the first of its tensors is asked for: what is left out of a file costs nothing.
"""

from collections.abc import Callable, Mapping
from math import prod
from typing import Final

import numpy as np

from export.checkpoints.pickle_globals import BUILDERS, Builder
from export.checkpoints.pickle_values import Array, Global, Storage, TensorView, check_shape, printable

UNTYPED: Final = "torch.storage.UntypedStorage"

STORAGE_TYPES: Final = {
    "torch.DoubleStorage": "f8",
    "torch.FloatStorage": "f4",
    "torch.HalfStorage": "f2",
    "torch.BFloat16Storage": "bf16",
    "torch.LongStorage": "i8",
    "torch.IntStorage": "i4",
    "torch.ShortStorage": "i2",
    "torch.CharStorage": "i1",
    "torch.ByteStorage": "u1",
    "torch.BoolStorage": "b1",
    "torch.ComplexFloatStorage": "c8",
    "torch.ComplexDoubleStorage": "c16",
    UNTYPED: "u1",
}
"""Their name in the file -> numpy's code for their numbers."""

UNTYPED_DTYPES: Final = {"torch.uint16": "u2", "torch.uint32": "u4", "torch.uint64": "u8"}
"""Have no storage of their own: bytes, and the type stands in the tensor."""

DTYPES: Final = (
    *("torch.float64", "torch.float32", "torch.float16", "torch.bfloat16", "torch.complex64", "torch.complex128"),
    *("torch.int64", "torch.int32", "torch.int16", "torch.int8", "torch.uint8", "torch.bool"),
    *UNTYPED_DTYPES,
)
"""May stand in a configuration, and are read as their names."""


def item_bytes(code: str) -> int:
    return 2 if code == "bf16" else np.dtype(code).itemsize


def numbers(data: bytes, code: str) -> Array:
    """Little-endian bytes -> (n,), read-only; float32 from bfloat16."""
    if code == "bf16":
        halves = np.zeros((len(data) // 2, 2), "<u2")  # of n float32, the lower one first
        halves[:, 1] = np.frombuffer(data, "<u2")
        values: Array = halves.view("<f4")[:, 0]
    else:
        values = np.frombuffer(data, "<" + code)
    values.setflags(write=False)
    return values


def storage_reader(find: Callable[[str, int], Callable[[], bytes]]) -> Callable[[object], Storage]:
    """What a persistent id of torch's stands for.

    find: (a storage's key, its length in bytes) -> a function that reads exactly these bytes; raises where there are
    none such.  The returned function raises ValueError for an id of another form, and finds each storage once.
    """
    storages: dict[str, Storage] = {}

    def storage(identifier: object) -> Storage:
        match identifier:
            case (str() as kind, Global(name=type_name), str() as key, str(), int() as length) if (
                kind == "storage" and type_name in STORAGE_TYPES and length >= 0
            ):
                pass
            case _:
                raise ValueError("expected a storage as persistent id: its type, key, place and length")
        code = STORAGE_TYPES[type_name]
        if key not in storages:
            read = find(key, length * item_bytes(code))
            storages[key] = Storage(length, type_name, lambda: numbers(read(), code))
        known = storages[key]
        if (known.type_name, known.length) != (type_name, length):
            raise ValueError(f"storage {printable(key)}: referred to once with one type or length, once with another")
        return known

    return storage


def _view(storage: object, offset: object, size: object, stride: object) -> TensorView | Array:
    """A tensor; an empty one at once, which needs nothing of its storage, whatever its other dimensions say."""
    if type(storage) is not Storage:
        raise ValueError("expected a storage")
    size, stride = check_shape(size), check_shape(stride)
    if type(offset) is not int or offset < 0 or len(size) != len(stride):
        raise ValueError("expected an offset from 0, and a stride for each dimension")
    count = prod(size)
    if not count:
        return np.empty(size, storage.values.dtype)
    needed = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) + 1
    if needed > storage.length:
        shape = printable(f"shape {size}, stride {stride}, offset {offset}")
        raise ValueError(f"a tensor of {shape} needs {needed:,} numbers, its storage has {storage.length:,}")
    if count > storage.length:  # a few bytes of file would become any number of weights
        shape = printable(f"shape {size}, stride {stride}")
        raise ValueError(
            f"a tensor of {shape} overlaps itself: {count:,} numbers out of the {storage.length:,} of its storage; "
            "save tensor.contiguous()"
        )
    return TensorView(storage, offset, size, stride)


def _tensor_v2(
    storage: object,
    offset: object,
    size: object,
    stride: object,
    _requires_grad: object = False,
    _hooks: object = None,
    metadata: object = None,
) -> TensorView | Array:
    if metadata:
        raise ValueError("expected a tensor as it is, got a conjugate or negative view; save tensor.resolve_conj()")
    return _view(storage, offset, size, stride)


def _tensor_v3(
    storage: object,
    offset: object,
    size: object,
    stride: object,
    _requires_grad: object,
    _hooks: object,
    dtype: object,
    metadata: object = None,
) -> TensorView | Array:
    """As v2, of the types that have no storage of their own."""
    code = UNTYPED_DTYPES.get(dtype.name) if type(dtype) is Global else None
    if code is None or type(storage) is not Storage or storage.type_name != UNTYPED:
        raise ValueError("expected an untyped storage and an unsigned type")
    item = np.dtype(code).itemsize
    if storage.length % item:
        raise ValueError(f"{storage.length:,} bytes are no whole number of {code}")
    typed = Storage(storage.length // item, UNTYPED, lambda: storage.values.view("<" + code))
    return _tensor_v2(typed, offset, size, stride, metadata=metadata)


def _parameter(data: object, _requires_grad: object = True, _hooks: object = None) -> TensorView | Array:
    if not isinstance(data, TensorView | np.ndarray):
        raise ValueError(f"expected a tensor, got a {type(data).__name__}")
    return data


def _size(size: object = ()) -> tuple[int, ...]:
    return check_shape(size)


def _device(kind: object, index: object = None) -> str:
    if type(kind) is not str or not (index is None or type(index) is int):
        raise ValueError("expected a device and its number")
    return kind if index is None else f"{kind}:{index}"


TORCH_BUILDERS: Final[Mapping[str, Builder | None]] = {
    **BUILDERS,
    **dict.fromkeys([*STORAGE_TYPES, *DTYPES]),
    "torch._utils._rebuild_tensor_v2": _tensor_v2,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_parameter": _parameter,
    "torch.Size": _size,
    "torch.device": _device,
}
