"""The journal's folder before anything is started: there, nobody else's, and writable, or it is said why not."""

import errno
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from signalserve.errors import ConfigError
from signalserve.journal import default_folder
from signalserve.journal.store import hold

NONE = "none"
PASSING = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""What may pass while the service runs: the journal goes on by itself as soon as it can."""


def prepare(wanted: str | None, environ: Mapping[str, str], warn: Callable[[str], None]) -> Path | None:
    """The folder, absolute; None where nothing is to be recorded.

    wanted: a folder, `none`, or None for the default of these variables.  warn: told of a full or read-only disk, on
    which the service starts nevertheless.  Raises ConfigError where there can't be a journal, JournalError where
    another service has it.
    """
    if wanted == NONE:
        return None
    folder = (Path(wanted) if wanted else default_folder(environ)).resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.close(hold(folder))  # free for our own watcher, which takes it in a moment
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(4096))
    except OSError as error:
        if error.errno not in PASSING:
            raise ConfigError(
                f"{folder}: can't hold the journal: {error.strerror}; name another folder with --journal, or "
                f"--journal {NONE} to record nothing"
            ) from None
        warn(
            f"NOTHING IS RECORDED: {folder}: {error.strerror}. Predictions go on, and what the journal misses is "
            "counted; it begins by itself once the disk can be written."
        )
    return folder
