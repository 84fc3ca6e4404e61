"""torch's part of the table: tensors as views of their storages, in numpy alone.

16-bit floats become float32, once for each storage; quantised, sparse and 8-bit types are not in the table.
"""

from collections.abc import Callable, Mapping
from math import prod
from typing import Final

import numpy as np

from export.checkpoints.pickle_globals import BUILDERS, Builder
from export.checkpoints.pickle_values import Array, Global, Storage, check_shape, printable

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
    """Little-endian bytes -> (n,), read-only; float32 from 16-bit floats."""
    if code == "bf16":  # the upper half of a float32
        values: Array = (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    elif code == "f2":
        values = np.frombuffer(data, "<f2").astype(np.float32)
    else:
        values = np.frombuffer(data, "<" + code)
    values.setflags(write=False)
    return values


def storage_reader(read: Callable[[str, int], bytes]) -> Callable[[object], Storage]:
    """What a persistent id of torch's stands for.

    read: (a storage's key, its bytes) -> exactly these bytes, or raises.
    The returned function raises ValueError for an id of another form, and reads each storage once.
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
            storages[key] = Storage(numbers(read(key, length * item_bytes(code)), code), type_name)
        known = storages[key]
        if (known.type_name, len(known.values)) != (type_name, length):
            raise ValueError(f"storage {printable(key)}: referred to once with one type or length, once with another")
        return known

    return storage


def _view(storage: object, offset: object, size: object, stride: object) -> Array:
    """A tensor, read-only. offset, stride: in elements."""
    if type(storage) is not Storage:
        raise ValueError("expected a storage")
    values, size, stride = storage.values, check_shape(size), check_shape(stride)
    if type(offset) is not int or offset < 0 or len(size) != len(stride):
        raise ValueError("expected an offset from 0, and a stride for each dimension")
    # An empty tensor needs nothing of its storage, whatever its other dimensions say.
    needed = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) + 1 if prod(size) else 0
    if needed > len(values):
        shape = printable(f"shape {size}, stride {stride}, offset {offset}")
        raise ValueError(f"a tensor of {shape} needs {needed:,} numbers, its storage has {len(values):,}")
    if not needed:
        return np.empty(size, values.dtype)
    item = values.itemsize
    return np.ndarray(size, values.dtype, values, offset * item, [step * item for step in stride])


def _tensor_v2(
    storage: object,
    offset: object,
    size: object,
    stride: object,
    _requires_grad: object = False,
    _hooks: object = None,
    metadata: object = None,
) -> Array:
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
) -> Array:
    """As v2, of the types that have no storage of their own."""
    code = UNTYPED_DTYPES.get(dtype.name) if type(dtype) is Global else None
    if code is None or type(storage) is not Storage or storage.type_name != UNTYPED:
        raise ValueError("expected an untyped storage and an unsigned type")
    typed = Storage(storage.values.view("<" + code), UNTYPED)
    return _tensor_v2(typed, offset, size, stride, metadata=metadata)


def _parameter(data: object, _requires_grad: object = True, _hooks: object = None) -> Array:
    if not isinstance(data, np.ndarray):
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
