"""Counts of dead workers: kept, in one file instead of one for each process that ever lived.

prometheus_client leaves the files of dead processes behind: a worker that is restarted a thousand times would leave
thousands, and every scrape reads them all.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from prometheus_client.mmap_dict import MmapedDict

from signalserve.watcher.worker_counts import read_values

KEPT = ("counter", "histogram")  # these add up over processes; a dead process's gauges mean nothing
FOLDED = "folded"


def fold_dead(folder: Path) -> int:
    """Add the counts of processes that have ended to <kind>_folded.db and delete their files; returns how many files.

    folder: PROMETHEUS_MULTIPROC_DIR. Called by one process only.
    """
    dead = [path for path in folder.glob("*.db") if not _is_alive(path)]
    for kind in KEPT:
        files = [path for path in dead if path.name.startswith(f"{kind}_")]
        if files:
            _add_up(files, folder / f"{kind}_{FOLDED}.db")
    for path in dead:
        path.unlink(missing_ok=True)
    return len(dead)


def _is_alive(path: Path) -> bool:
    """A file's name is <kind>_<pid>.db, or for gauges gauge_<mode>_<pid>.db; the folded file counts as alive."""
    owner = path.stem.rpartition("_")[2]
    if not owner.isdecimal():
        return True
    try:
        os.kill(int(owner), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _add_up(files: Sequence[Path], target: Path) -> None:
    """target + files -> target. The new file replaces the old one as a whole, before the dead ones are deleted: an end
    between the two counts their events twice in the first scrape after it, the other order would lose them."""
    sums: dict[str, float] = {}
    for path in (*files, *([target] if target.exists() else [])):
        for key, value in read_values(path):
            sums[key] = sums.get(key, 0.0) + value
    fresh = target.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    folded = MmapedDict(str(fresh))  # type: ignore[no-untyped-call]
    for key, value in sums.items():
        folded.write_value(key, value, 0.0)  # type: ignore[no-untyped-call]
    folded.close()  # type: ignore[no-untyped-call]
    fresh.replace(target)
