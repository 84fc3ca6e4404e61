"""Which models a guardrail has taken out: one small file each, in a folder that all workers of a service share.

A file is there from the moment a worker creates it until `signalserve toggle clear` removes it, so that a model stays
out whatever restarts in between; one glance into the folder tells an operator what is out and why. A latch belongs to
the bundle that broke the rule: another version of the model starts with none.
"""

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import orjson

SETTLED_S: Final = 1.0
"""A folder's time is only as fine as the kernel's tick: a listing made this soon after it may miss a second change."""


DAMAGED: Final = "its latch file is damaged"
"""In place of the rules, of a model that is known to be out by the name of the file alone."""


@dataclass(frozen=True)
class Latch:
    """A model that is out. rules: the invariants it broke.  request_id: of the request at which it did, or None."""

    endpoint: str
    symbol: str
    generation: str
    sha256: str
    rules: tuple[str, ...]
    at_ms: int
    request_id: str | None

    @property
    def file_name(self) -> str:
        return latch_name(self.endpoint, self.symbol, self.generation, self.sha256)


class Latches:
    """The folder as one process sees it; never older than one look."""

    def __init__(self, folder: Path) -> None:
        """folder: made where it is missing, if not now then at the first latch."""
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._stamp = -1
        self._latches: Mapping[str, Latch] = {}

    def all(self) -> Mapping[str, Latch]:
        """Every latch there is now, by the name of its file. Raises OSError where the folder can't be read."""
        try:
            stamp = os.stat(self._folder).st_mtime_ns  # noqa: PTH116  # asked for every answer: half of Path.stat's time
        except FileNotFoundError:
            if self._latches:  # it was there, and nobody clears models by removing folders
                raise
            return {}
        if stamp != self._stamp or time.time_ns() - stamp < SETTLED_S * 1e9:
            self._latches = {latch.file_name: latch for latch in read_latches(self._folder)}
            self._stamp = stamp
        return self._latches

    def trip(self, latch: Latch) -> bool:
        """Take a model out; True in the one process that was first to. Raises OSError where the disk refuses."""
        self._folder.mkdir(parents=True, exist_ok=True)  # somebody may have tidied up
        path = self._folder / latch.file_name
        staged = self._folder / f".{latch.file_name}.{os.getpid()}"
        try:
            staged.write_bytes(orjson.dumps(asdict(latch)))
            os.link(staged, path)  # whole or not at all, and an error where another worker was first
        except FileExistsError:
            return False
        finally:
            staged.unlink(missing_ok=True)
            self._stamp = -1
        self._latches = {**self._latches, latch.file_name: latch}
        return True


def read_latches(folder: Path) -> list[Latch]:
    """Every model that is out, the earliest first; empty where the folder is missing."""
    found: list[Latch] = []
    for path in sorted(folder.glob("[!.]*.json")):
        try:
            found.append(_read(path.read_bytes()))
        except FileNotFoundError:  # cleared meanwhile
            continue
        except (OSError, ValueError, TypeError, KeyError):
            found.extend(_by_name(path))
    return sorted(found, key=lambda latch: latch.at_ms)


def _read(text: bytes) -> Latch:
    content = orjson.loads(text)
    latch = Latch(**{**content, "rules": tuple(content["rules"])})
    if not isinstance(latch.at_ms, int) or not all(isinstance(rule, str) for rule in latch.rules):
        raise ValueError("not a latch of ours")
    return latch


def _by_name(path: Path) -> Iterator[Latch]:
    """What the name of a damaged file still says: a model that is out stays so. Nothing for a file that is no latch."""
    parts = path.stem.split(".")
    try:
        is_ours, changed_ms = len(parts) == 4 and not path.is_dir(), int(path.stat().st_mtime * 1000)
    except FileNotFoundError:  # cleared meanwhile
        return
    except PermissionError:
        is_ours, changed_ms = len(parts) == 4, 0
    if is_ours:
        endpoint, symbol, generation, sha256 = parts
        yield Latch(endpoint, symbol, generation, sha256, (DAMAGED,), changed_ms, None)


def latch_name(endpoint: str, symbol: str, generation: str, sha256: str) -> str:
    """The file of a model that is out. sha256: of its bundle's manifest."""
    return f"{endpoint}.{symbol}.{generation}.{sha256[:12]}.json"


def clear(folder: Path, latch: Latch) -> bool:
    """Let a model answer again; False where somebody else has done so already."""
    try:
        (folder / latch.file_name).unlink()
    except FileNotFoundError:
        return False
    return True
