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

_RECORD = struct.Struct(f"<q{LOOK_BACK}B")  # how many were ever taken in, and the signs of the last ones as bits
_NEWS = struct.Struct("<q")
_SLOTS = struct.calcsize("<q")  # where in a record the signs begin
_CALM = bytes(LOOK_BACK)
_BITS = {rule: 1 << position for position, rule in enumerate(RULES)}


class Recent:
    """Rings of LOOK_BACK observations, one for each name.

    >>> recent = Recent(["v8"])
    >>> recent.observe("v8", frozenset({"clamped"}))
    [frozenset({'clamped'})]
    """

    def __init__(self, names: Sequence[str], path: Path | None = None) -> None:
        """names: the same in every worker that shares the file.

        path: the file; None keeps them in this process alone. Raises OSError where it can't be made.
        """
        self._at = {name: position * _RECORD.size for position, name in enumerate(sorted(names))}
        self._lock = threading.Lock()  # flock knows processes, and a process's threads share its file
        self._news_at = len(self._at) * _RECORD.size
        size = self._news_at + _NEWS.size
        self._file = None if path is None else os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        if self._file is None:
            self._memory: bytearray | mmap.mmap = bytearray(size)
        else:
            os.ftruncate(self._file, size)  # zeroes where it was shorter, nothing where another worker was first
            self._memory = mmap.mmap(self._file, size)

    def observe(self, name: str, signs: frozenset[str]) -> list[frozenset[str]]:
        """Take in what one prediction showed; returns the signs of the last five, in no order.

        A bar asked twice counts twice: each answer is one that somebody may act on.
        """
        start = self._at[name] + _SLOTS
        if not signs and self._memory[start : start + LOOK_BACK] == _CALM:  # the usual case, which changes nothing
            return [signs]
        with self._alone():
            count, *slots = _RECORD.unpack_from(self._memory, self._at[name])
            slots[count % LOOK_BACK] = sum(_BITS[sign] for sign in signs)
            _RECORD.pack_into(self._memory, self._at[name], count + 1, *slots)
        return _signs(count + 1, slots)

    def seen(self, name: str) -> list[frozenset[str]]:
        """The signs of the last five as they are."""
        count, *slots = _RECORD.unpack_from(self._memory, self._at[name])
        return _signs(count, slots)

    def forget(self, name: str) -> None:
        """Start anew."""
        with self._alone():
            _RECORD.pack_into(self._memory, self._at[name], 0, *[0] * LOOK_BACK)

    def news(self) -> int:
        """How often `tell` was called, by any worker: a look at memory, where a look at a folder is a system call."""
        told: int = _NEWS.unpack_from(self._memory, self._news_at)[0]
        return told

    def tell(self) -> None:
        """Have every worker notice that there is something to look at."""
        with self._alone():
            _NEWS.pack_into(self._memory, self._news_at, self.news() + 1)

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


def _signs(count: int, slots: Sequence[int]) -> list[frozenset[str]]:
    return [frozenset(rule for rule, bit in _BITS.items() if bits & bit) for bits in slots[: min(count, LOOK_BACK)]]
