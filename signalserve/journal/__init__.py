"""The durable record: every prediction, toggle and guardrail event, and the outcome that found it.

    worker ──one write before each reply──▶ spool files ──drained exactly once──▶ journal.sqlite ◀──read── people
                                            (one a process)     by the watcher, its only writer

`lines.py`    what stands in a spool file: one JSON object a line
`spool.py`    writing spool files, and reading them again
`schema.py`   the tables, their version and its migrations
`rows.py`     what each line becomes: rows, and which of them statistics leave out
`store.py`    the only writer: drains the spools into the tables, retires what is old
`outcomes.py` closes and callers' outcomes -> the label of each earlier prediction
`reading.py`  what is asked of the journal, read-only: by `signalserve journal`, by the watcher's statistics
`tables.py`   whole tables, or a span of one, in short reads
`files.py`    their rows -> parquet and csv
`replay.py`   the arms that the toggles assigned, worked out again

TorchServe ends its workers with SIGKILL, so nothing may wait in a worker's memory: what was written with one `write`
belongs to the kernel and survives the process (not the machine's power).
"""

from collections.abc import Mapping
from pathlib import Path

from signalserve.environment import JOURNAL_VARIABLE

DATABASE = "journal.sqlite"
SPOOL = "spool"
LATCHES = "latches"


def default_folder(environ: Mapping[str, str]) -> Path:
    """The journal that is meant where nobody names one: $SIGNALSERVE_JOURNAL, else the one of the service on $PORT."""
    named = environ.get(JOURNAL_VARIABLE)
    return Path(named) if named else Path("var", "journal", environ.get("PORT") or "8080")


def database_of(folder: Path) -> Path:
    """The SQLite file of a journal's folder."""
    return folder / DATABASE


def spool_of(folder: Path) -> Path:
    """Where the workers of a journal's folder write."""
    return folder / SPOOL
