"""Files that anybody may have put there: how messages name them, and what is no file at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from export.checkpoints.pickle_values import printable
from signalserve.errors import CheckpointError

LONGEST_PATH: Final = 4096
"""Linux's own limit; a path that is cut short would name nothing."""


def named(path: Path) -> str:
    """A path in a message."""
    return printable(str(path), LONGEST_PATH)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Around whatever opens a file: raises CheckpointError for what cannot be read, or is a folder, pipe or device."""
    try:
        if path.exists() and not path.is_file():  # reading a pipe or a device may never end
            kind = "a folder" if path.is_dir() else "a pipe or a device"
            raise CheckpointError(f"{named(path)}: expected a file, got {kind}")
        yield
    except OSError as error:
        raise CheckpointError(f"{named(path)}: cannot be read: {error.strerror}") from None
