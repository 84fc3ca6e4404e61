"""The zip that torch.save writes: looked over entry by entry before anything is read out of it.

It holds `<any name>/data.pkl`, and each storage raw and uncompressed as `<any name>/data/<key>`.
Source: torch/serialization.py, `_save` and `_load`.
"""

import io
import re
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from export.checkpoints.files import named, reading
from export.checkpoints.pickle_values import printable
from signalserve.errors import CheckpointError

MAX_FILE_BYTES: Final = 256 * 2**20
"""Of a checkpoint. The largest known network has 60 MB, and three times that with its optimizer's state."""

MAX_DIRECTORY_BYTES: Final = 2**20
"""Of a zip's directory: some ten thousand entries. A network with its optimizer's state has hundreds."""

ENCRYPTED: Final = 0x1
"""The bit in an entry's flags."""

OUTSIDE: Final = re.compile(r"^[/\\]|^[A-Za-z]:|(^|[/\\])\.\.([/\\]|$)|\0")
"""Names that lead out of the folder that somebody unpacks the archive in."""

_UNREADABLE: Final = (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError, EOFError, struct.error)
"""What zipfile raises for bytes that are no zip: its own errors, and those of what it decodes with."""


NO_DIRECTORY: Final = "File is not a zip file"
"""zipfile's words for a file without the mark that ends a zip."""


class Archive:
    """An archive whose directory was checked.

    pickle_name: the entry that holds everything but the numbers.  file_bytes: of the whole file.
    """

    def __init__(self, zipped: zipfile.ZipFile, path: Path, file_bytes: int) -> None:
        self._zip = zipped
        self._path = path
        self.file_bytes = file_bytes
        self._check_entries(zipped.infolist())
        self._sizes = {entry.filename: entry.file_size for entry in zipped.infolist()}
        self.pickle_name = self._find_pickle()
        self._folder = self.pickle_name.removesuffix("data.pkl")
        self._check_byte_order()

    def read_pickle(self, most: int) -> bytes:
        """At most one byte more than `most`."""
        return self._read(self.pickle_name, most + 1)

    def find_storage(self, key: str, length: int) -> Callable[[], bytes]:
        """What reads a storage. Raises CheckpointError where the archive has none of that key or of another length."""
        name = f"{self._folder}data/{key}"
        size = self._sizes.get(name)
        if size != length:
            there = "the archive has no such entry" if size is None else f"the archive has {size:,}"
            raise self._error(f"expected {length:,} bytes in {printable(name)}, {there}")
        return lambda: self._read(name, length)

    def _read(self, name: str, most: int) -> bytes:
        try:
            with self._zip.open(name) as entry:
                return entry.read(most)
        except _UNREADABLE as error:
            raise self._error(f"{printable(name)} is damaged: {printable(str(error))}") from None

    def _check_entries(self, entries: list[zipfile.ZipInfo]) -> None:
        names: set[str] = set()
        for entry in entries:
            name = printable(entry.orig_filename)
            if OUTSIDE.search(entry.orig_filename):
                raise self._error(f"entry {name} leads out of the archive; do not unpack this file")
            if entry.filename in names:
                raise self._error(f"entry {name} is there twice; torch.save writes each once")
            if entry.flag_bits & ENCRYPTED:
                raise self._error(f"entry {name} is encrypted; torch.save's never are")
            if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
                raise self._error(
                    f"entry {name} is compressed to {entry.compress_size:,} bytes; torch.save's never are"
                )
            names.add(entry.filename)
        # Entries can be made to overlap, so that a small file claims any number of large ones.
        if (claimed := sum(entry.file_size for entry in entries)) > self.file_bytes:
            raise self._error(f"its entries claim {claimed:,} bytes, the file has {self.file_bytes:,}")

    def _find_pickle(self) -> str:
        found = [name for name in self._sizes if re.fullmatch(r"[^/]+/data\.pkl", name)]
        if any(name.endswith("/constants.pkl") for name in self._sizes):
            raise self._error(
                "a TorchScript archive, which holds code; where it was made, save model.state_dict() with torch.save"
            )
        if len(found) != 1:
            raise self._error(f"expected a zip of torch.save with one data.pkl in its folder, got {len(found)} of them")
        return found[0]

    def _check_byte_order(self) -> None:
        name = f"{self._folder}byteorder"
        if name in self._sizes and (order := self._read(name, 16)) != b"little":
            raise self._error(
                f"expected little-endian numbers, got byte order {printable(order.decode('latin-1'))}; "
                "where it was made, save it on a little-endian machine"
            )

    def _error(self, words: str) -> CheckpointError:
        return CheckpointError(f"{named(self._path)}: {words}")


class _Limited(io.FileIO):
    """A file that gives no more at once than `limit`: zipfile reads a directory in one piece, as long as it claims."""

    limit: int | None = MAX_DIRECTORY_BYTES

    def read(self, size: int | None = -1, /) -> bytes:
        if self.limit is not None and size is not None and size > self.limit:
            raise zipfile.BadZipFile(f"its directory has {size:,} bytes, expected at most {self.limit:,}")
        return super().read(size) or b""


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """The archive of a file, open. Raises CheckpointError for a file that cannot be read or is no such archive."""
    with reading(path), _Limited(path) as file:
        if (size := file.seek(0, io.SEEK_END)) > MAX_FILE_BYTES:
            raise CheckpointError(
                f"{named(path)}: expected a checkpoint of at most {MAX_FILE_BYTES:,} bytes, got {size:,}; save it "
                "without its optimizer's state"
            )
        try:
            zipped = zipfile.ZipFile(file)
        except _UNREADABLE as error:
            words = f"a damaged zip archive: {printable(str(error))}"
            if str(error) == NO_DIRECTORY:
                words = "cut short: the zip's directory, at its end, is missing; copy the file again"
            raise CheckpointError(f"{named(path)}: {words}") from None
        file.limit = None  # a storage is longer
        with zipped:
            yield Archive(zipped, path, size)
