"""Are the bundles on disk still what the archives in force were built from? Their files are hashed again and again.

Workers load from the archives, also those that start anew, so a damaged file changes no answer now: it is what the next
start of the whole service would stumble over.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from signalserve.bundle import MANIFEST, Manifest, archived_bundles, sha256_of
from signalserve.log import event

CHECK_S: Final = 10.0
"""Between two looks, at which a file is read if its times, size or inode say that it may have changed."""
REHASH_S: Final = 600.0
"""Between two looks at which every file is read: a failing disk changes bytes and none of these."""

Stamp = tuple[int, int, int, int]


@dataclass(frozen=True)
class _File:
    """A file of the bundle of this (symbol, generation), and the sha256 that it must have."""

    bundle: tuple[str, str]
    path: Path
    sha256: str


class BundlesIntact(Collector):
    """Looks once when it is made. Let `look` be repeated in a thread: neither scrapes nor probes wait for a disk."""

    def __init__(self, store: Path, manifests: Sequence[Manifest], clock: Callable[[], float] = time.monotonic) -> None:
        """store: the model store.  manifests: of the bundles that its archives hold, but for those that could
        not be read: of these only the manifest is looked at.  clock: s.
        """
        self._files = list(_expected(store, manifests))
        self._clock = clock
        self._rehash_at = clock()
        self._stamps: dict[Path, Stamp] = {}
        self._faults: Mapping[Path, str] = {}
        self.look()

    def look(self) -> None:
        """Read what may have changed since the last time, and log what is other than it was."""
        now = self._clock()
        if now >= self._rehash_at:
            self._stamps.clear()
            self._rehash_at = now + REHASH_S
        faults = {file.path: fault for file in self._files if (fault := self._fault_of(file)) is not None}
        for path, fault in faults.items():
            if fault != self._faults.get(path):
                event(logging.ERROR, "bundle_not_intact", file=str(path), reason=fault)
        for path in self._faults.keys() - faults.keys():
            event(logging.WARNING, "bundle_intact_again", file=str(path))
        self._faults = faults  # replaced as a whole: other threads read it

    def words(self) -> str:
        """How the bundles stand, for people."""
        faults = self._faults
        if not faults:
            return "intact"
        files = "; ".join(f"{path}: {fault}" for path, fault in faults.items())
        return (
            f"not intact: {files}; workers load from the archives and go on, but a start of the whole service would "
            "refuse the bundle, or take what a changed manifest says: restore the files, or write a new version"
        )

    def collect(self) -> Iterator[Metric]:
        intact = GaugeMetricFamily(
            "signalserve_bundle_intact",
            "1 while every file of the bundle on disk has the sha256 that it had when the archives were built",
            labels=["symbol", "generation"],
        )
        faults = self._faults
        damaged = {file.bundle for file in self._files if file.path in faults}
        for bundle in dict.fromkeys(file.bundle for file in self._files):
            intact.add_metric(bundle, bundle not in damaged)
        yield intact

    def _fault_of(self, file: _File) -> str | None:
        """What is wrong with a file; what was found before where it can't have changed."""
        try:
            stamp = _stamp(file.path)  # before the reading: a change during it shows at the next look
            if stamp == self._stamps.get(file.path):
                return self._faults.get(file.path)
            got = sha256_of(file.path)
        except OSError as error:
            self._stamps.pop(file.path, None)
            return f"expected sha256 {file.sha256[:12]}…, got no readable file: {error.strerror or error}"
        self._stamps[file.path] = stamp
        return None if got == file.sha256 else f"expected sha256 {file.sha256[:12]}…, got {got[:12]}…"


def _expected(store: Path, manifests: Sequence[Manifest]) -> Iterator[_File]:
    """The manifests as the index of the archives knows them, and every file as its manifest does."""
    files = {(one.generation, one.symbol, one.version): one.files for one in manifests}
    for name, archived in archived_bundles(store).items():
        generation, symbol, version = name.split("/")
        for file, sha256 in {MANIFEST: archived, **files.get((generation, symbol, version), {})}.items():
            yield _File((symbol, generation), store / "bundles" / name / file, sha256)


def _stamp(path: Path) -> Stamp:
    """What changes with the file's content; its ctime also where somebody has put its mtime back."""
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino
