"""The closed table of what a checkpoint may refer to: dotted name -> a function of ours that builds a plain value.

The functions take the arguments that the file has for the real ones, check all of them, and raise ValueError or
TypeError in words; the machine adds the name. Their work is linear in the length of their arguments, which the machine
limits; and they compare a value only once its type is known, for to compare an array is to walk through it.
"""

import datetime
import re
from collections.abc import Callable, Mapping
from math import prod
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, Final

import numpy as np

from export.checkpoints.pickle_values import Array, ArrayShell, Dtype, Global, StandIn, check_shape, printable, shown

Builder = Callable[..., object]

SCALER_NAMES: Final = ("sklearn.preprocessing._data.StandardScaler", "sklearn.preprocessing.data.StandardScaler")
"""The second is its name until scikit-learn 0.22."""

PROCESSOR: Final = "V8FeatureProcessor"
"""Of any module: its owners saved it from whichever script they ran, as `__main__` mostly."""

KEY_TYPES: Final = (str, int, float, bool, bytes, type(None))
"""Of dictionary keys and members of sets: their hash costs no more than their length."""

DTYPE_CODE: Final = re.compile(r"b1|[iu][1248]|f[248]|c8|c16|O8|[SU][1-9]\d{0,3}")
"""As numpy writes them into pickles: booleans, numbers, text; O8 is object."""

ADVICE: Final = (
    ("joblib.", "It was written by joblib.dump: where it was made, save it with pickle.dump instead."),
    ("torch.nn.", "A whole model was pickled, code and all: where it was made, save model.state_dict() instead."),
    (
        "__main__.",
        "If a whole model was pickled, code and all: where it was made, save model.state_dict() instead.",
    ),
    (
        "torch._utils._rebuild_",
        "Its tensors were pickled without torch.save: where it was made, use torch.save instead.",
    ),
)


OWNERS_OWN: Final = (
    *(
        "joblib.numpy_pickle.",
        "pandas.",
        "pathlib.",
        "argparse.",
        "types.",
        "enum.",
        "omegaconf.",
        "numpy.random.",
        "numpy.ma.",
    ),
    *("fractions.", "decimal.", "uuid.", "zoneinfo.", "pytz.", "dateutil.", "builtins.range", "builtins.slice"),
    *("__builtin__.xrange", "__builtin__.slice"),
)
"""Beginnings of what owners keep beside their weights: no attack as a rule, and not read all the same."""


def is_stand_in(name: str) -> bool:
    """Is it a class whose objects are read as a StandIn?"""
    return name in SCALER_NAMES or name.rpartition(".")[2] == PROCESSOR


def refusal(name: str) -> str:
    """The words for a name that is not in the table: calm where owners are its likely source, and what they can do."""
    words = f"refers to {printable(name)}, which is "
    advice = next((advice for prefix, advice in ADVICE if name.startswith(prefix)), "")
    if name.startswith(OWNERS_OWN):
        advice = advice or "If the file is your own, save it again without it, as plain numbers, lists and text"
        return f"{words}not read here; nothing was executed. {advice}"
    words += "no part of a checkpoint; nothing was executed: do not load this file with torch.load or pickle"
    return f"{words}. {advice}" if advice else words


def check_key(key: object) -> None:
    """Raises ValueError for a dictionary key or a member of a set that is not short and plain."""
    if type(key) not in KEY_TYPES:
        raise ValueError(f"expected keys that are text or numbers, got a {type(key).__name__}")
    # Multiples of 2**61 - 1 all have the hash 0: a dictionary full of them takes minutes. 64 bits hold eight of them.
    if type(key) is int and not -(2**63) <= key < 2**64:
        raise ValueError("expected whole numbers of at most 64 bits as keys, got a larger one")


def set_state(target: object, state: object) -> None:
    """What BUILD does: gives an object its attributes, an array its data. Raises ValueError."""
    if type(target) is StandIn:
        if type(state) is not dict or not all(type(key) is str for key in state):
            raise ValueError(f"expected the attributes of {printable(target.name)} by name")
        target.state.update(state)
    elif type(target) is ArrayShell:
        target.contents = _array_contents(state)
    elif type(target) is Dtype:
        _check_dtype_state(state)
    elif type(target) is not dict:  # an OrderedDict's own attributes, torch's _metadata, are not weights: left out
        raise ValueError(f"expected an object that can have attributes, got a {type(target).__name__}")


def _array_contents(state: object) -> Array | list[str]:
    """(version, shape, dtype, Fortran order?, data) -> the array; text kept in an object array comes back as a list."""
    if type(state) is not tuple or len(state) != 5:
        raise ValueError("expected the five parts of a numpy array's state")
    _, shape, dtype, fortran, data = state
    if type(dtype) is Dtype and dtype.code == "O8":
        # The names of the columns that a scaler was fitted on (feature_names_in_) are kept so.
        if type(data) is not list or check_shape(shape) != (len(data),) or not all(type(x) is str for x in data):
            raise ValueError("numpy array of dtype object: expected a row of texts, got other objects")
        return list(data)
    return _from_bytes(data, dtype, shape, "F" if fortran is True else "C")


def _check_dtype_state(state: object) -> None:
    if type(state) is not tuple or len(state) < 8:
        raise ValueError("expected the parts of a numpy dtype's state")
    _, order, subarray, names, fields = state[:5]
    if type(order) is not str or order not in ("<", "|", "="):
        raise ValueError(f"expected little-endian numbers, got byte order {shown(order)}")
    if any(part is not None for part in (subarray, names, fields)):
        raise ValueError("expected a plain dtype, got a structured one")


def _from_bytes(data: object, dtype: object, shape: object, order: object) -> Array:
    """The bytes of an array as one, read-only and without a copy."""
    if type(data) is not bytes or type(dtype) is not Dtype or type(order) is not str or order not in ("C", "F"):
        raise ValueError("expected bytes, a dtype, a shape and an order")
    kind, shape = dtype.numpy, check_shape(shape)
    if prod(shape) * kind.itemsize != len(data):
        raise ValueError(f"an array of shape {printable(str(shape))} and {kind}: {len(data)} bytes are not its size")
    if kind.kind == "U":
        data.decode("utf-32-le")  # numpy takes any four bytes for a character, and fails when somebody looks at it
    return np.ndarray(shape, kind, data, order="F" if order == "F" else "C")


def _reconstruct(array_type: object, _shape: object, _type_code: object) -> ArrayShell:
    if type(array_type) is not Global or array_type.name != "numpy.ndarray":
        raise ValueError(f"expected numpy.ndarray, got {shown(array_type)}")
    return ArrayShell()


def _frombuffer(data: object, dtype: object, shape: object, order: object) -> Array:
    return _from_bytes(data, dtype, shape, order)


def _scalar(dtype: object, data: object) -> object:
    return _from_bytes(data, dtype, (), "C").item()


def _dtype(code: object, _align: object = False, _copy: object = True) -> Dtype:
    if type(code) is not str or not DTYPE_CODE.fullmatch(code):
        raise ValueError(f"expected a dtype of numbers or text, got {shown(code)}")
    return Dtype(code)


def _encode(text: object, encoding: object) -> bytes:
    """How protocols 0 to 2 write bytes."""
    if type(text) is not str or type(encoding) is not str or encoding not in ("latin1", "latin-1"):
        raise ValueError("expected text in latin1")
    return text.encode("latin-1")


def _bytes(data: object = b"") -> bytes:
    if type(data) is not bytes:
        raise ValueError(f"expected bytes, got a {type(data).__name__}")
    return data


def _set(members: object = ()) -> set[Any]:
    if type(members) not in (list, tuple):
        raise ValueError(f"expected a list of members, got a {type(members).__name__}")
    return new_set(members)


def new_set(members: Any) -> set[Any]:
    """A set whose members were checked. Raises ValueError."""
    for member in members:
        check_key(member)
    return set(members)


def _ordered_dict() -> dict[Any, Any]:
    """Made empty; SETITEMS fills it."""
    return {}


def _default_dict(factory: object = None) -> dict[Any, Any]:
    """Made empty, as an OrderedDict; what it would make of a missing key is never made."""
    if factory is not None and not (type(factory) is Global and factory.name in FACTORIES):
        words = printable(factory.name) if type(factory) is Global else shown(factory)
        raise ValueError(f"expected to make lists, dictionaries, numbers or sets, got {words}")
    return {}


def _deque(members: object = (), _longest: object = None) -> list[Any]:
    """Made empty; APPENDS fills it."""
    if type(members) not in (list, tuple) or members:
        raise ValueError("expected a deque that is filled after it was made")
    return []


def _complex(real: object, imaginary: object) -> complex:
    if type(real) is not float or type(imaginary) is not float:
        raise ValueError("expected two numbers")
    return complex(real, imaginary)


def _posix_path(*parts: object) -> str:
    return str(PurePosixPath(*_texts(parts)))


def _windows_path(*parts: object) -> str:
    return str(PureWindowsPath(*_texts(parts)))


def _texts(parts: tuple[object, ...]) -> list[str]:
    texts = [part for part in parts if type(part) is str]
    if len(texts) < len(parts):
        raise ValueError("expected the parts of a path as text")
    return texts


def _counter(counts: object = None) -> dict[Any, Any]:
    if type(counts) is not dict:
        raise ValueError(f"expected a dictionary of counts, got a {type(counts).__name__}")
    return dict(counts)


def _datetime(state: object, zone: object = None) -> str:
    """The ten bytes of a datetime -> ISO 8601."""
    if type(state) is not bytes or len(state) != 10 or not (zone is None or type(zone) is datetime.timezone):
        raise ValueError("expected the ten bytes of a time, and a fixed offset from UTC or none")
    year, micros = int.from_bytes(state[:2], "big"), int.from_bytes(state[7:], "big")
    month = state[2] % 128  # the high bit says which of two equal hours in autumn
    day, hour, minute, second = state[3:7]
    return datetime.datetime(year, month, day, hour, minute, second, micros, zone).isoformat()


def _date(state: object) -> str:
    if type(state) is not bytes or len(state) != 4:
        raise ValueError("expected the four bytes of a date")
    return datetime.date(int.from_bytes(state[:2], "big"), state[2], state[3]).isoformat()


def _time(state: object, zone: object = None) -> str:
    """The six bytes of a time of day -> ISO 8601."""
    if type(state) is not bytes or len(state) != 6 or not (zone is None or type(zone) is datetime.timezone):
        raise ValueError("expected the six bytes of a time of day, and a fixed offset from UTC or none")
    hour = state[0] % 128  # the high bit as in _datetime
    return datetime.time(hour, state[1], state[2], int.from_bytes(state[3:], "big"), zone).isoformat()


def _timedelta(days: object, seconds: object, micros: object) -> datetime.timedelta:
    if type(days) is not int or type(seconds) is not int or type(micros) is not int:
        raise ValueError("expected whole days, seconds and microseconds")
    return datetime.timedelta(days, seconds, micros)


def _timezone(offset: object) -> datetime.timezone:
    if type(offset) is not datetime.timedelta:
        raise ValueError("expected an offset from UTC")
    return datetime.timezone(offset)


BUILT_IN: Final = ("builtins", "__builtin__")
"""The module of Python's own names, in protocols from 3 on and before."""

FACTORIES: Final = tuple(f"{module}.{name}" for module in BUILT_IN for name in ("list", "dict", "int", "float", "set"))
"""What a defaultdict may say that it makes."""

BUILDERS: Final[Mapping[str, Builder | None]] = {
    # None: named as an argument of others, never called.
    "numpy.ndarray": None,
    **dict.fromkeys(FACTORIES),
    "numpy.dtype": _dtype,
    **{f"numpy.{core}.multiarray._reconstruct": _reconstruct for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _frombuffer for core in ("core", "_core")},
    "_codecs.encode": _encode,
    **{f"{module}.bytes": _bytes for module in BUILT_IN},
    **{f"{module}.bytearray": _bytes for module in BUILT_IN},
    **{f"{module}.set": _set for module in BUILT_IN},
    **{f"{module}.frozenset": _set for module in BUILT_IN},
    **{f"{module}.complex": _complex for module in BUILT_IN},
    "collections.OrderedDict": _ordered_dict,
    "collections.Counter": _counter,
    "collections.defaultdict": _default_dict,
    "collections.deque": _deque,
    "datetime.datetime": _datetime,
    "datetime.date": _date,
    "datetime.time": _time,
    "datetime.timedelta": _timedelta,
    "datetime.timezone": _timezone,
    # pathlib._local: Python 3.13's
    **{f"{m}.{kind}PosixPath": _posix_path for m in ("pathlib", "pathlib._local") for kind in ("", "Pure")},
    **{f"{m}.{kind}WindowsPath": _windows_path for m in ("pathlib", "pathlib._local") for kind in ("", "Pure")},
}
