"""torch.save's zip -> plain values and numpy arrays; and any file -> whichever reader its content asks for."""

import io
from pathlib import Path
from typing import Any, Final

from export.checkpoints.files import named, reading
from export.checkpoints.pickle_tensors import TORCH_BUILDERS, storage_reader
from export.checkpoints.pickle_values import printable
from export.checkpoints.pickles import MAX_PICKLE_BYTES, read_pickle, unpickle
from export.checkpoints.torch_archive import open_archive
from signalserve.errors import CheckpointError

OTHER_KINDS: Final = {
    b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.": (
        "a file of torch.save from before torch 1.6, or saved without its zip; where it was made, save it again "
        "with torch.save(torch.load(PATH, weights_only=True), PATH)"
    ),
    b"\x1f\x8b": "a gzip file; decompress it first",
    b"BZh": "a bzip2 file; decompress it first",
    b"\xfd7zXZ": "an xz file; decompress it first",
    b"x\x5e": "a compressed file of joblib.dump; where it was made, save it with pickle.dump instead",
    b"x\x9c": "a compressed file of joblib.dump; where it was made, save it with pickle.dump instead",
    b"\x93NUMPY": "a numpy file; save a dictionary of tensors with torch.save",
    b"\x89HDF": "an HDF5 file; save a dictionary of tensors with torch.save",
    b"version https://git-lfs": "a pointer of Git LFS, not the file itself; run git lfs pull",
}
"""How files begin that are taken for checkpoints -> what they are and what to do."""

TRAINING_ONLY: Final = ("optimizer_state_dict", "scheduler_state_dict")
"""Keys that nothing is read of; an optimizer keeps two or three numbers for each weight."""

SAFETENSORS_HEADER: Final = 100_000_000
"""Bytes that the format allows its header; the header's length are the file's first eight bytes."""


def read_file(path: Path) -> Any:
    """A checkpoint, a scaler or a processor, told apart by content, never by name; as read_torch and read_pickle.

    Raises CheckpointError that says what a file of another kind is, and what to do.
    """
    with reading(path), path.open("rb") as file:
        head = file.read(4096)
        file.seek(max(0, file.seek(0, io.SEEK_END) - 1))
        last = file.read(1)
    if head.startswith(b"PK\x03\x04"):
        return read_torch(path)
    other = _other_kind(head)
    # Protocols 0 and 1 have no first mark; all protocols have the last one.
    if other is None and (head.startswith(b"\x80") or last == b"."):
        return read_pickle(path)
    kind = other or ("a text file" if _is_text(head) else "bytes of no known kind")
    raise CheckpointError(f"{named(path)}: expected a file of torch.save or pickle.dump, got {kind}")


def _other_kind(head: bytes) -> str | None:
    if not head:
        return "an empty file"
    if len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= SAFETENSORS_HEADER:
        return (
            "a safetensors file; save what it holds with "
            'torch.save({"model_state_dict": safetensors.torch.load_file(PATH)}, NEW_PATH)'
        )
    return next((kind for magic, kind in OTHER_KINDS.items() if head.startswith(magic)), None)


def _is_text(head: bytes) -> bool:
    return head.isascii() and head.translate(None, b"\t\r\n").decode("ascii").isprintable()


def read_torch(path: Path) -> Any:
    """What torch.save wrote into its zip: tensors become read-only numpy arrays, float32 those of bfloat16.

    The keys of TRAINING_ONLY are left out. Tensors that shared a storage share memory. torch.tensor(array) copies one,
    torch.from_numpy warns. Otherwise as read_pickle; raises CheckpointError.
    """
    with open_archive(path) as archive:
        pickled = archive.read_pickle(MAX_PICKLE_BYTES)
        label = f"{named(path)}, {printable(archive.pickle_name)}"
        storages = storage_reader(archive.find_storage)
        return unpickle(pickled, label, TORCH_BUILDERS, storages, archive.file_bytes, TRAINING_ONLY)
