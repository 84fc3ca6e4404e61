"""The bytes of an npy file -> shape and data, and nothing else: no pickle, no allocation that a header asks for."""

import ast
from functools import lru_cache
from typing import Any

from signalserve.errors import BadNpy
from signalserve.words import shown

MAGIC = b"\x93NUMPY"


def read_npy(body: bytes | bytearray) -> tuple[tuple[int, ...], memoryview]:
    """Shape and data of an npy body. Nothing is allocated or unpickled from what the header claims."""
    expected = "an npy file: float32 ('<f4'), C order"
    if body[:6] != MAGIC:
        raise BadNpy("body", expected=expected, got="an empty body" if not body else "bytes without the npy magic")
    major = body[6] if len(body) > 6 else 0
    width = {1: 2, 2: 4, 3: 4}.get(major)
    if width is None:
        raise BadNpy("body", expected="npy format 1, 2 or 3", got=f"format {major}")
    start = 8 + width
    end = start + int.from_bytes(body[8:start], "little")
    if end > min(len(body), 4096):  # a header of one array is under 200 bytes
        raise BadNpy("body", expected=expected, got="a truncated or oversized header")
    try:
        header = _header(bytes(body[start:end]))
        descr, fortran, shape = header["descr"], header["fortran_order"], header["shape"]
    except (ValueError, SyntaxError, KeyError, TypeError, MemoryError, RecursionError):
        raise BadNpy("body", expected=expected, got="a header that is not one") from None
    if descr != "<f4":
        hint = "a pickle" if descr == "|O" else f"type {shown(descr)}"
        raise BadNpy("body", expected=expected, got=f"{hint}; convert with array.astype('<f4')")
    if fortran is not False:
        raise BadNpy("body", expected=expected, got="Fortran order; convert with numpy.ascontiguousarray(array)")
    if not isinstance(shape, tuple) or not all(type(n) is int and 0 <= n < 2**63 for n in shape):
        raise BadNpy("body", expected="a shape of whole numbers", got=shown(shape))
    return shape, memoryview(body)[end:]


@lru_cache(maxsize=64)  # parsing compiles: 47 µs; a caller's header is the same every time
def _header(text: bytes) -> Any:
    return ast.literal_eval(text.decode("latin-1").strip())
