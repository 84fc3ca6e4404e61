"""Spool files: how a prediction gets from a worker to the watcher, though either may be killed at any moment.

    spool/<owner>-<time>-<random>-<number>.ndjson     a segment: whole lines, written once, in order, by one process

A process holds an exclusive lock on the segment it writes for as long as it lives, so the kernel itself tells a reader
which segments are finished: those whose lock is free, because their owner rotated, closed or died. No process ids,
which recur.

    spool/refused.txt     lines that could not be taken in, as they were, for people
"""

import contextlib
import errno
import fcntl
import os
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from signalserve.journal.lines import Line, encode_line

SUFFIX: Final = ".ndjson"
ROTATE_BYTES: Final = 4 * 2**20
REFUSED: Final = "refused.txt"
REFUSED_MOST_BYTES: Final = 64 * 2**20
RETRY_S: Final = 1.0
"""After a failure the disk is left alone for this long, so that a dead one costs a prediction nothing."""


def _no_lines() -> Sequence[Line]:
    return ()


class SpoolWriter:
    """One process's way into the journal; any of its threads may use it. Nothing here raises into a prediction.

    error: why the last lines were lost, None when all is well.
    """

    def __init__(
        self,
        folder: Path,
        owner: str,
        *,
        header: Callable[[], Sequence[Line]] = _no_lines,
        rotate_bytes: int = ROTATE_BYTES,
        now: Callable[[], float] = time.time,
    ) -> None:
        """folder: made where it is missing, at the first append.  owner: leads the names of the segments, for people.

        header: the lines each segment begins with, so that it can be understood alone; it must not append.
        rotate_bytes: a segment that has reached this size is finished, and another one begun.
        """
        self._folder = folder
        self._name = f"{owner}-{time.time_ns()}-{secrets.token_hex(4)}"
        self._header = header
        self._rotate_bytes = rotate_bytes
        self._now = now
        self._lock = threading.Lock()
        self._number = 0
        self._path = folder
        self._descriptor: int | None = None
        self._size = 0
        self._failed_at = float("-inf")
        self.error: str | None = None

    def append(self, lines: Sequence[Line]) -> bool:
        """Hand lines to the kernel with one write, after which they outlive this process. False: they are lost, see
        `error`."""
        try:
            data = b"".join(map(encode_line, lines))
            with self._lock:
                return self._append(data)
        except Exception as error:  # the caller's values or its header: a prediction matters more than its record
            self.error = f"cannot be written as a journal line: {error}"
            return False

    def close(self) -> None:
        """Finish the segment. A later append begins another."""
        with self._lock:
            self._finish()

    def _append(self, data: bytes) -> bool:
        if self._descriptor is None and 0 <= self._now() - self._failed_at < RETRY_S:
            return False
        try:
            if self._descriptor is None or self._size >= self._rotate_bytes or self._is_gone(self._descriptor):
                self._finish()
                data = b"".join(map(encode_line, self._header())) + data
                self._descriptor = self._begin()
            self._write(self._descriptor, data)
        except OSError as error:
            self._finish()
            self._failed_at = self._now()
            self.error = f"{self._path}: {error.strerror}; lines are lost until it can be written again"
            return False
        self.error = None
        return True

    def _begin(self) -> int:
        """A new segment, locked before a reader can see it: an unlocked one would look finished."""
        self._number += 1
        self._path = self._folder / f"{self._name}-{self._number:06d}{SUFFIX}"
        self._folder.mkdir(parents=True, exist_ok=True)
        hidden = self._path.with_name(f".{self._path.name}")
        descriptor = os.open(hidden, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            os.fchmod(descriptor, 0o644)  # an operator's umask must not keep the watcher's user from reading it
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            hidden.rename(self._path)
        except OSError:
            os.close(descriptor)
            raise
        self._size = 0
        return descriptor

    def _write(self, descriptor: int, data: bytes) -> None:
        written = 0
        try:
            while written < len(data):  # more than once only on a disk that is full: the second write tells its errno
                written += os.write(descriptor, data[written:] if written else data)
        except OSError:
            if written:  # should this fail too, a torn line ends the segment, which is finished now in any case
                os.ftruncate(descriptor, self._size)
            raise
        self._size += written

    def _is_gone(self, descriptor: int) -> bool:
        """Whether somebody has deleted or moved away the file, or its folder: nobody would read what is written."""
        try:
            return not os.path.samestat(os.fstat(descriptor), self._path.stat())
        except FileNotFoundError:
            return True

    def _finish(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


@dataclass(frozen=True)
class Segment:
    """A spool file as a reader found it. finished: nothing will be added to it."""

    path: Path
    finished: bool
    size: int

    @property
    def name(self) -> str:
        return self.path.name


def sizes(folder: Path) -> dict[str, int]:
    """The bytes of every spool file in a folder by its name, those of one process in the order they were written; empty
    where it is missing. None is opened, so that it costs little and needs no right to read them. Raises OSError where
    the folder can't be listed."""
    found = {}
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(SUFFIX) and not entry.name.startswith("."):
                with contextlib.suppress(FileNotFoundError):  # stored and deleted meanwhile
                    found[entry.name] = entry.stat().st_size
    return dict(sorted(found.items()))


def segments(folder: Path) -> list[Segment]:
    """Every spool file in a folder, in the order of `sizes`."""
    found = (look_at(folder / name) for name in sizes(folder))
    return [segment for segment in found if segment is not None]


def look_at(path: Path) -> Segment | None:
    """A spool file as it is now, None where there is none any more. Raises OSError where it can't be opened."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:  # stored and deleted meanwhile
        return None
    try:
        finished = _is_unlocked(descriptor)
        size = os.fstat(descriptor).st_size  # after the lock: a finished segment's size is its last
    finally:
        os.close(descriptor)
    return Segment(path, finished, size)


def _is_unlocked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two readers do not look like an owner
    except OSError as error:
        if error.errno == errno.EWOULDBLOCK:
            return False
        raise
    return True


def read_from(segment: Segment, offset: int, most_bytes: int) -> tuple[list[bytes], int]:
    """The whole lines from an offset on, each with its newline, and the offset after them.

    A live segment is read up to its last newline. What follows the last newline of a finished one was torn off by its
    owner's end, and is given as a line, without a newline; so are most_bytes without any newline, which no owner
    writes. Nothing where the file was stored and deleted meanwhile.
    """
    try:
        with segment.path.open("rb") as file:
            file.seek(offset)
            data = file.read(most_bytes)
    except FileNotFoundError:
        return [], offset
    end = data.rfind(b"\n") + 1
    at_the_end = segment.finished and offset + len(data) >= segment.size
    if at_the_end or (end == 0 and len(data) == most_bytes):
        end = len(data)
    return data[:end].splitlines(keepends=True), offset + end


def keep_refused(folder: Path, lines: Sequence[bytes]) -> None:
    """Append lines to the folder's refused.txt, each on one of its own. Raises OSError where the disk refuses, or the
    file would be larger than REFUSED_MOST_BYTES."""
    path = folder / REFUSED
    data = b"".join(line.rstrip(b"\n") + b"\n" for line in lines)
    with path.open("ab") as file:
        if file.tell() + len(data) > REFUSED_MOST_BYTES:
            raise OSError(
                errno.EFBIG, f"it would be larger than {REFUSED_MOST_BYTES >> 20} MiB; move it away", str(path)
            )
        file.write(data)
