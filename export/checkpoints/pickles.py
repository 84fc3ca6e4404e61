"""A plain pickle, such as a fitted StandardScaler -> plain values, without running anything that it asks for."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Final

from export.checkpoints import pickle_machine
from export.checkpoints.files import named, reading
from export.checkpoints.pickle_globals import BUILDERS, Builder
from export.checkpoints.pickle_tree import plain
from export.checkpoints.pickle_values import StandIn
from signalserve.errors import CheckpointError

__all__ = ["MAX_PICKLE_BYTES", "StandIn", "no_persistent_ids", "read_pickle", "unpickle"]

MAX_PICKLE_BYTES: Final = 8 * 2**20
"""Of a plain pickle, or of the one in torch's zip, whose numbers lie beside it. Text may take four times its bytes."""


def read_pickle(path: Path) -> Any:
    """What a plain pickle holds, of any protocol.

    Returns dict, list, tuple, set, str, bytes, int, float, bool, None, read-only numpy arrays in them, and a StandIn
    for each StandardScaler and V8FeatureProcessor. numpy's scalars become numbers, OrderedDict and Counter dict,
    datetime its ISO 8601 text, a path and a complex number their text, a deque and an object array of text a list.
    Raises CheckpointError, naming what the file refers to where that is no part of a checkpoint.
    """
    with reading(path), path.open("rb") as file:
        data = file.read(MAX_PICKLE_BYTES + 1)
    return unpickle(data, named(path), BUILDERS, no_persistent_ids, len(data))


def unpickle(
    data: bytes,
    label: str,
    builders: Mapping[str, Builder | None],
    persistent: Callable[[object], object],
    file_bytes: int,
    unread: Collection[str] = (),
) -> Any:
    """The plain tree that a pickle's bytes build.

    label: what an error calls them.  builders, persistent: as in pickle_machine.run.
    file_bytes: of the whole file that they are part of; it limits what the tree may weigh.  unread: keys that are left
    out where the file is a dictionary; tensors that stand there alone are never read.
    """
    if len(data) > MAX_PICKLE_BYTES:
        raise CheckpointError(
            f"{label}: expected a pickle of at most {MAX_PICKLE_BYTES:,} bytes, got more; "
            "where it was made, save weights with torch.save, which keeps them beside the pickle"
        )
    try:
        value = pickle_machine.run(data, builders, persistent)
        if type(value) is dict:
            value = {key: inner for key, inner in value.items() if key not in unread}
        return plain(value, file_bytes)
    except CheckpointError as error:
        raise CheckpointError(f"{label}: {error}") from None


def no_persistent_ids(_identifier: object) -> object:
    """For pickles that stand alone."""
    raise ValueError("refers to a value outside the file, which only torch.save's files may")
