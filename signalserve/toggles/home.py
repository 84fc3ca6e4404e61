"""The folder that a service shares with its operators: its journal's, or the run's of a service without a journal.

A folder that was mistyped must never look like a service in which all is well.
"""

from pathlib import Path
from typing import Final

from signalserve.environment import LAST_GOOD
from signalserve.errors import JournalError
from signalserve.journal import DATABASE, LATCHES, SPOOL

_JOURNAL: Final = {DATABASE, SPOOL}
_RUN: Final = {LATCHES, LAST_GOOD}
"""What a run's folder holds too, where nothing is recorded."""


def names_in(folder: Path) -> frozenset[str]:
    """What a folder holds; empty where it is missing. Raises JournalError where nobody can look, which a glob takes
    for empty."""
    try:
        return frozenset(path.name for path in folder.iterdir())
    except FileNotFoundError:
        return frozenset()
    except OSError as error:
        raise JournalError(
            f"{folder}: {error.strerror}; name the service's journal with --journal, or run this as the service's user"
        ) from None


def check_home(folder: Path) -> None:
    """Raises JournalError where a folder is no service's, or cannot be read."""
    names = names_in(folder)
    if not names & (_JOURNAL | _RUN):
        got = "one without them" if folder.is_dir() else "none"
        raise JournalError(
            f"{folder}: expected a folder with {DATABASE}, {SPOOL} or {LATCHES}, got {got}: name the service's journal "
            "with --journal (its run folder where it keeps no journal), or run this in the folder where it was "
            "started, with its PORT"
        )


def is_run_folder(folder: Path) -> bool:
    """Whether it belongs to a service that keeps no journal. Raises JournalError where nobody can look."""
    names = names_in(folder)
    return bool(names & _RUN) and not names & _JOURNAL
