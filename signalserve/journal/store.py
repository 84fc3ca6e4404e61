"""The only writer of the journal's database: spool lines in, exactly once; old rows out.

    segments ──read, decode──▶ ONE transaction: rows + how far each segment is taken in ──▶ finished segments deleted

Killed before the commit, neither rows nor offsets are there, and the next start reads the same lines again; killed
after it, the offsets say what is in; killed between deleting a segment and forgetting its offset, a name without a file
is left, which is forgotten at the next drain: names never recur.
"""

import contextlib
import fcntl
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from signalserve.errors import JournalError
from signalserve.journal import database_of, spool_of
from signalserve.journal.counts import bump
from signalserve.journal.rows import Rows
from signalserve.journal.schema import migrate
from signalserve.journal.spool import REFUSED, SUFFIX, Segment, keep_refused, look_at, read_from, sizes
from signalserve.log import event

LOCK: Final = "watcher.lock"
READ_BYTES: Final = 4 * 2**20
ABANDONED_S: Final = 3600.0
"""A segment that is still hidden after this long was left by a process killed while it began it; it is empty."""
BATCH: Final = 2_000
RETIRE_MOST: Final = 100_000
"""Rows that one call retires, in transactions of BATCH: the drain waits meanwhile, and goes on within seconds."""
DAY_MS: Final = 86_400_000
LOOK_AGAIN_S: Final = 5.0
"""Between two looks at the segments of which all is taken in: whether their owners have finished them."""


class JournalStore:
    """A journal's folder, held by one process, used by the one thread that made it.

    connection: for the outcomes and statistics of that same thread.  unreadable: the spool files that were passed over,
    by name, and why.
    """

    def __init__(
        self,
        folder: Path,
        *,
        keep_days: float = 400,
        keep_bytes: int = 4 * 2**30,
        now: Callable[[], float] = time.time,
    ) -> None:
        """folder: made where it is missing.  keep_days, keep_bytes: what `retire` leaves.  now: s since the epoch.

        Raises JournalError where another watcher holds the folder, or the database is corrupt or a newer version's;
        OSError or sqlite3.Error where the disk refuses.
        """
        self._path = database_of(folder)
        self._lock_path = folder / LOCK
        self._spool = spool_of(folder)
        self._keep_days = keep_days
        self._keep_bytes = keep_bytes
        self._now = now
        self._looked_at = float("-inf")
        self.unreadable: dict[str, str] = {}
        self._spool.mkdir(parents=True, exist_ok=True)
        self._lock = hold(folder)
        try:
            with self._corruption_in_words():
                self.connection = _connect(self._path)
                self._offsets: dict[str, int] = dict(self.connection.execute("SELECT name, offset FROM spools"))
            self._rows = Rows(self.connection)
            self._opened = _identity(self._path), _identity(self._lock_path)
            self._sweep()
        except BaseException:
            os.close(self._lock)
            raise

    def drain(self, most_lines: int = 5000) -> int:
        """Take in what waits; returns how many lines that was, 0 when nothing waits that can be read.

        Raises sqlite3.Error or OSError where the disk refuses, JournalError where the database is corrupt or was taken
        away; the lines wait on in their spools.
        """
        self._expect_same_files()
        there = sizes(self._spool)
        found = self._look(there)
        lines, offsets = self._read(found, most_lines)
        gone = self._offsets.keys() - there.keys()
        if offsets or gone:
            with self._transaction():
                self._put(lines)
                self.connection.executemany("INSERT OR REPLACE INTO spools VALUES (?, ?)", offsets.items())
                self.connection.executemany("DELETE FROM spools WHERE name = ?", ((name,) for name in gone))
            self._offsets = {name: end for name, end in (self._offsets | offsets).items() if name not in gone}
        for segment in found:
            if segment.finished and not self._waiting(segment.name, segment.size):
                with self._passing_over(segment.name):
                    segment.path.unlink(missing_ok=True)
        self.unreadable = {name: why for name, why in self.unreadable.items() if name in there and name not in offsets}
        return len(lines)

    def waiting_bytes(self) -> int:
        """What lies in the spools and is not taken in. Any thread may ask, also while this one's is busy."""
        return sum(self._waiting(name, size) for name, size in sizes(self._spool).items())

    def retire(self) -> int:
        """Delete what is older than keep_days, and the oldest while the database is larger than keep_bytes; returns
        how many rows. At most RETIRE_MOST or so at once: call it every minute.

        Freed pages are used again by later rows, so the file stops growing at its limit without being rewritten; only
        where the limit was lowered are pages given back to the disk.
        """
        retired = 0
        too_old_ms = int(self._now() * 1000 - self._keep_days * DAY_MS)
        while retired < RETIRE_MOST and (batch := self._delete_before(too_old_ms)):
            retired += batch
        while retired < RETIRE_MOST and self._pages_over(with_free=False) > 0:
            batch = self._delete_before(self._end_of_oldest_batch())
            if batch == 0:
                break
            retired += batch
        excess = self._pages_over(with_free=True)
        if excess > 0:
            self.connection.executescript(f"PRAGMA incremental_vacuum({excess})")  # `execute` would stop at one page
        return retired

    def close(self) -> None:
        """Let the database and the folder go."""
        try:
            self.connection.close()
        finally:
            os.close(self._lock)

    # --- taking in -----------------------------------------------------------------------------------------------

    def _expect_same_files(self) -> None:
        """SQLite would go on writing into a file that was deleted or moved away, and nobody would ever read it."""
        if (_identity(self._path), _identity(self._lock_path)) != self._opened:
            raise JournalError(
                f"{self._path}: the database or {LOCK} was moved, deleted or replaced while it was open; it is opened "
                "anew, without the rows that were taken away"
            )

    def _look(self, there: Mapping[str, int]) -> list[Segment]:
        """The segments that something waits in; now and then all of them, to find those that their owners finished."""
        now = self._now()
        all_of_them = not 0 <= now - self._looked_at < LOOK_AGAIN_S
        if all_of_them:
            self._looked_at = now
        found = []
        for name, size in there.items():
            if all_of_them or self._waiting(name, size):
                with self._passing_over(name):
                    segment = look_at(self._spool / name)
                    found += [segment] if segment else []
        return found

    def _read(self, found: Sequence[Segment], most_lines: int) -> tuple[list[bytes], dict[str, int]]:
        """The next lines, and for each segment they are from, the offset after them."""
        lines: list[bytes] = []
        offsets = {}
        for segment in found:
            room = most_lines - len(lines)
            if room <= 0:
                break
            if self._waiting(segment.name, segment.size):
                start = self._offsets.get(segment.name, 0)
                with self._passing_over(segment.name):
                    read, _ = read_from(segment, start, READ_BYTES)
                    if read:
                        lines += read[:room]
                        offsets[segment.name] = start + sum(map(len, read[:room]))
        return lines, offsets

    @contextlib.contextmanager
    def _passing_over(self, name: str) -> Iterator[None]:
        """One file that can't be opened, read or deleted keeps nobody else's lines waiting."""
        try:
            yield
        except OSError as error:
            if name not in self.unreadable:
                path = str(self._spool / name)
                event(
                    logging.ERROR, "journal_spool_unreadable", file=path, reason=error.strerror, until="it is readable"
                )
            self.unreadable[name] = error.strerror or str(error)

    def _put(self, lines: Sequence[bytes]) -> None:
        now_ms = int(self._now() * 1000)
        refused: list[bytes] = []
        reasons: list[str] = []
        for raw in lines:
            try:
                self._rows.put(raw, now_ms)
            except ValueError as error:
                refused.append(raw)
                reasons.append(str(error))
        if refused:
            bump(self.connection, "torn_lines", len(refused))
            event(
                logging.WARNING,
                "journal_line_refused",
                lines=len(refused),
                first_reason=reasons[0],
                kept_in=self._keep_refused(refused),
            )

    def _keep_refused(self, lines: Sequence[bytes]) -> str:
        """Where the lines are from now on, or why nowhere. Before the commit: rather there twice than never."""
        try:
            keep_refused(self._spool, lines)
        except OSError as error:  # what was refused must not keep the others waiting
            return f"nowhere: {self._spool / REFUSED}: {error.strerror}"
        return str(self._spool / REFUSED)

    def _waiting(self, name: str, size: int) -> int:
        """Bytes of a segment that are not taken in; none where its owner took back the half of a line."""
        return max(0, size - self._offsets.get(name, 0))

    def _sweep(self) -> None:
        for path in self._spool.glob(f".*{SUFFIX}"):
            with contextlib.suppress(FileNotFoundError):  # its owner has given it its name meanwhile
                if self._now() - path.stat().st_mtime > ABANDONED_S:
                    path.unlink()

    # --- retention -----------------------------------------------------------------------------------------------

    def _delete_before(self, end_ms: int) -> int:
        """Delete at most BATCH rows of each kind from before a moment, the oldest first; returns how many."""
        with self._transaction():
            # the first rows are the oldest but for late spools, whose turn comes when those before them are old too
            deleted = self.connection.execute(
                "DELETE FROM predictions WHERE row_id IN (SELECT row_id FROM predictions ORDER BY row_id LIMIT ?) "
                "AND received_ms < ?",
                (BATCH, end_ms),
            ).rowcount
            deleted += self.connection.execute(
                "DELETE FROM events WHERE event_id IN "
                "(SELECT event_id FROM events WHERE at_ms < ? ORDER BY at_ms LIMIT ?)",
                (end_ms, BATCH),
            ).rowcount
            for symbol in self._close_symbols():
                deleted += self.connection.execute(
                    "DELETE FROM closes WHERE symbol = ? AND (at_ms, feed) IN "
                    "(SELECT at_ms, feed FROM closes WHERE symbol = ? AND at_ms < ? AND told_ms < ? "
                    "ORDER BY at_ms, feed LIMIT ?)",
                    (symbol, symbol, end_ms, end_ms, BATCH),
                ).rowcount
            if deleted:
                bump(self.connection, "retired", deleted)
        return deleted

    def _end_of_oldest_batch(self) -> int:
        [end_ms] = self.connection.execute(
            "SELECT max(received_ms) + 1 FROM (SELECT received_ms FROM predictions ORDER BY row_id LIMIT ?)", (BATCH,)
        ).fetchone()
        return end_ms or 0

    def _close_symbols(self) -> Iterator[str]:
        """One step of the index for each symbol, where DISTINCT would walk over every close."""
        symbol = ""
        while True:
            [symbol] = self.connection.execute("SELECT min(symbol) FROM closes WHERE symbol > ?", (symbol,)).fetchone()
            if symbol is None:
                return
            yield symbol

    def _pages_over(self, *, with_free: bool) -> int:
        """Pages by which the database is larger than its limit: the whole file, or without what later rows will use."""
        [page_size] = self.connection.execute("PRAGMA page_size").fetchone()
        [pages] = self.connection.execute("PRAGMA page_count").fetchone()
        [free] = self.connection.execute("PRAGMA freelist_count").fetchone()
        used = pages if with_free else pages - free
        return int(used - self._keep_bytes // page_size)

    # --- the database --------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._corruption_in_words():
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.connection.execute("COMMIT")
            except BaseException:
                self._rows.forget()
                if self.connection.in_transaction:  # on a full disk SQLite may have rolled back by itself
                    self.connection.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _corruption_in_words(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise
            raise JournalError(
                f"{self._path}: {error}; move it aside together with its -wal and -shm files, a new one is made at the "
                "next start; what waits in the spools is kept"
            ) from error


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells a file from any other one, None where there is none."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_dev, stat.st_ino


def hold(folder: Path) -> int:
    """Lock a journal's folder against a second watcher; the lock lasts until the returned descriptor is closed.

    Raises JournalError where another process holds it, OSError where the disk refuses.
    """
    path = folder / LOCK
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise JournalError(
            f"{path}: another watcher keeps this journal; stop its service, or name another folder with --journal"
        ) from None
    return descriptor


def _connect(path: Path) -> sqlite3.Connection:
    """The database at this version's schema, made where it is missing."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # only a new file takes it: pages can be given back
        connection.execute("PRAGMA journal_mode = WAL").fetchone()
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA journal_size_limit = {64 * 2**20}")  # what a long reader made the log grow to
        connection.execute(f"PRAGMA cache_size = -{32 * 2**10}")  # KiB
        migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection
