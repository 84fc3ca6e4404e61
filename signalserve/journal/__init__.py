"""The durable record: every prediction, toggle and guardrail event, and the outcome that found it.

    worker ──one write before each reply──▶ spool files ──drained exactly once──▶ journal.sqlite ◀──read── people
                                            (one a process)     by the watcher, its only writer

`lines.py`    what stands in a spool file: one JSON object a line
`spool.py`    writing spool files, and reading them again
`schema.py`   the tables, their version and its migrations
`store.py`    the only writer: spool lines -> rows, retention
`outcomes.py` closes and callers' outcomes -> the label of each earlier prediction
`reading.py`  what is asked of the journal, read-only: by `signalserve journal`, by the watcher's statistics

TorchServe ends its workers with SIGKILL, so nothing may wait in a worker's memory: what was written with one `write`
belongs to the kernel and survives the process (not the machine's power).
"""

from pathlib import Path

DATABASE = "journal.sqlite"
SPOOL = "spool"
LATCHES = "latches"


def database_of(folder: Path) -> Path:
    """The SQLite file of a journal's folder."""
    return folder / DATABASE


def spool_of(folder: Path) -> Path:
    """Where the workers of a journal's folder write."""
    return folder / SPOOL
