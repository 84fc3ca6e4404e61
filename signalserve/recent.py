"""The last five observations of each model, shared by all workers of an endpoint.

Each worker sees a part of the requests: with a memory of its own, five saturated answers in a row would be ten before
any of two workers knew. So they keep them in one small file that all of them map into memory, under a lock that the
kernel releases when its holder dies.
"""

import fcntl
import mmap
import os
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from signalserve.invariants import LOOK_BACK, RULES

_RECORD = struct.Struct(f"<q{LOOK_BACK}B")  # observations ever taken in, and the signs of the last ones as bits
_BITS = {rule: 1 << position for position, rule in enumerate(RULES)}


class Recent:
    """Rings of LOOK_BACK observations, one for each model.

    >>> recent = Recent([("BTC-USD", "v8")])
    >>> recent.observe(("BTC-USD", "v8"), frozenset({"clamped"}))
    [frozenset({'clamped'})]
    """

    def __init__(self, models: Sequence[tuple[str, str]], path: Path | None = None) -> None:
        """models: (symbol, generation), the same in every worker that shares the file.

        path: the file; None keeps them in this process alone. Raises OSError where it can't be made.
        """
        self._at = {model: position * _RECORD.size for position, model in enumerate(sorted(models))}
        self._lock = threading.Lock()  # flock knows processes, and a process's threads share its file
        size = max(1, len(self._at)) * _RECORD.size
        self._file = None if path is None else os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        if self._file is None:
            self._memory: bytearray | mmap.mmap = bytearray(size)
        else:
            os.ftruncate(self._file, size)  # zeroes where it was shorter, nothing where another worker was first
            self._memory = mmap.mmap(self._file, size)

    def observe(self, model: tuple[str, str], signs: frozenset[str]) -> list[frozenset[str]]:
        """Take in what one prediction of a model showed; returns the signs of the last five, in no order.

        A bar asked twice counts twice: each answer is one that somebody may act on.
        """
        with self._alone():
            count, *slots = _RECORD.unpack_from(self._memory, self._at[model])
            slots[count % LOOK_BACK] = sum(_BITS[sign] for sign in signs)
            _RECORD.pack_into(self._memory, self._at[model], count + 1, *slots)
        seen = slots[: min(count + 1, LOOK_BACK)]
        return [frozenset(rule for rule, bit in _BITS.items() if bits & bit) for bits in seen]

    def forget(self, model: tuple[str, str]) -> None:
        """Start anew."""
        with self._alone():
            _RECORD.pack_into(self._memory, self._at[model], 0, *[0] * LOOK_BACK)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with self._lock:
            if self._file is None:
                yield
                return
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)
