"""The one thread that writes the journal: drains the spools, retires what is old, joins outcomes, reads statistics.

A disk or a database that fails never ends the watcher: readiness and metrics go on, the workers' lines wait in their
spools, and the store is opened anew every second until it works.
"""

import asyncio
import contextlib
import logging
import sqlite3
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from signalserve.errors import JournalError
from signalserve.journal import database_of, outcomes, spool_of
from signalserve.journal.counts import read_counts
from signalserve.journal.outcomes import Tally
from signalserve.journal.spool import sizes
from signalserve.journal.store import JournalStore
from signalserve.log import event
from signalserve.outcome_request import OutcomeClaim

EVERY_S = 0.25
"""Between two looks into empty spools."""
BUSY_S = 5.0
"""Without the end of a drain or round: the journal is not kept up with then, whatever the thread does or waits for."""
REOPEN_S = 1.0
LOOK_S = 1.0
STATISTICS_S = 10.0
RETIRE_S = 60.0
STOP_S = 2.5
"""How long the end of the watcher may be put off by lines that still wait; the supervisor's patience is longer."""

R = TypeVar("R")


class Statistics(Protocol):
    """What is computed from the database: read in the keeper's thread, shown from any. What `refresh` raises is taken
    for a fault of the journal; `Rendered` raises nothing."""

    def refresh(self, connection: sqlite3.Connection) -> None: ...


@dataclass(frozen=True)
class Snapshot:
    """The database at the last look that it allowed.

    database_bytes: on disk, with the log that SQLite has not merged yet.  rows: predictions, by their first and last
    row_id: counting a million takes too long, and only rows deleted out of their order make it too high.
    overdue: predictions whose outcome should be known for a day.  unreadable: spool files that were passed over, by
    name, and why.
    """

    database_bytes: int
    rows: int
    overdue: int
    unreadable: Mapping[str, str]
    counts: Mapping[str, int]


class Keeper:
    """Owns the JournalStore of one folder. `run` until the end, then `close`; everything else may be read at any time.

    snapshot: None before the first look.
    """

    def __init__(
        self,
        folder: Path,
        statistics: Sequence[Statistics],
        *,
        open_store: Callable[[], JournalStore],
        statistics_every_s: float = STATISTICS_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """folder: of the journal.  open_store: its JournalStore, or raises what a store raises.  statistics_every_s:
        between two refreshes of the statistics; a replay of days in minutes wants less than the usual.
        """
        self.snapshot: Snapshot | None = None
        self._fault: str | None = "it is being opened"
        self._folder = folder
        self._statistics = statistics
        self._open_store = open_store
        self._clock = clock
        self._store: JournalStore | None = None
        self._logged: str | None = None
        self._moved_at = clock()
        self._kept_up_at = clock()
        self._overdue = 0
        self._retire_due = _Due(RETIRE_S, clock)
        self._statistics_due = _Due(statistics_every_s, clock)
        self._look_due = _Due(LOOK_S, clock)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")

    @property
    def fault(self) -> str | None:
        """Why the journal is not written now, in words; None while it is. Also true of a thread that hangs."""
        busy_s = self._clock() - self._moved_at
        if self._fault is None and busy_s > BUSY_S:
            return f"the watcher has been busy with it for {busy_s:.0f} s"
        return self._fault

    @property
    def waiting_bytes(self) -> int:
        """What lies in the spools now and is not in the database; all that lies there while the database is shut."""
        store = self._store
        with contextlib.suppress(OSError):
            return store.waiting_bytes() if store else sum(sizes(spool_of(self._folder)).values())
        return 0

    @property
    def behind_s(self) -> float:
        """Seconds since the database last held all that could be read, 0 while nothing waits."""
        return self._clock() - self._kept_up_at if self.waiting_bytes else 0.0

    async def run(self) -> None:
        """Rounds for ever; ends only by being cancelled."""
        while True:
            await asyncio.sleep(await self._in_thread(self._round))

    async def tell(self, claims: Sequence[OutcomeClaim]) -> Tally:
        """Join outcomes that a caller told, with everything that was predicted before the call.

        All or nothing. Raises JournalError where the journal can't be written now.
        """
        return await self._in_thread(lambda: self._tell(claims))

    async def close(self) -> None:
        """Take in what still waits, for STOP_S at most, and let the database go."""
        await self._in_thread(self._finish)
        self._thread.shutdown()

    async def _in_thread(self, work: Callable[[], R]) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _round(self) -> float:
        """One round of the thread; returns the seconds until the next."""
        try:
            store = self._opened()
            taken = self._drain(store)
            if self._retire_due():
                store.retire()
                self._overdue = outcomes.overdue(store.connection, _now_ms())
            if self._statistics_due():
                for one in self._statistics:
                    one.refresh(store.connection)
            if self._look_due():
                self._look(store)
        except Exception as error:  # whatever it is: the pages must go on
            self._failed(error)
            return REOPEN_S
        self._works()
        return 0.0 if taken else EVERY_S

    def _tell(self, claims: Sequence[OutcomeClaim]) -> Tally:
        try:
            store = self._opened()
            while self._drain(store):
                pass
            connection = store.connection
            connection.execute("BEGIN IMMEDIATE")
            tally = outcomes.apply(connection, claims, _now_ms())
            connection.execute("COMMIT")
        except Exception as error:
            self._failed(error)  # closing the store rolls back
            raise JournalError(f"the journal can't be written now: {self._fault}") from error
        self._works()
        return tally

    def _finish(self) -> None:
        deadline = self._clock() + STOP_S
        left = 0
        try:
            store = self._opened()
            while self._drain(store) and self._clock() < deadline:
                pass
            self._look(store)
            left = store.waiting_bytes()
            self._store = None
            store.close()
        except Exception as error:
            self._failed(error)
            left = self.waiting_bytes
        if left:
            event(logging.WARNING, "journal_left", waiting_bytes=left, until="the next start")

    def _drain(self, store: JournalStore) -> int:
        taken = store.drain()
        self._moved_at = self._clock()
        if not taken:
            self._kept_up_at = self._moved_at
        return taken

    def _opened(self) -> JournalStore:
        if self._store is None:
            self._store = self._open_store()
        return self._store

    def _look(self, store: JournalStore) -> None:
        [rows] = store.connection.execute(
            "SELECT coalesce((SELECT max(row_id) FROM predictions) - (SELECT min(row_id) FROM predictions) + 1, 0)"
        ).fetchone()
        database = database_of(self._folder)
        on_disk = (database, database.with_name(f"{database.name}-wal"))
        size = sum(path.stat().st_size for path in on_disk if path.exists())
        self.snapshot = Snapshot(size, rows, self._overdue, store.unreadable, read_counts(store.connection))

    def _works(self) -> None:
        if self._logged is not None:
            event(logging.INFO, "journal_recovered", folder=str(self._folder))
        self._fault = self._logged = None
        self._moved_at = self._clock()

    def _failed(self, error: Exception) -> None:
        """Say so once, and let the store go: the next round opens it anew."""
        is_ours = isinstance(error, JournalError)
        self._fault = str(error) if is_ours else f"{type(error).__name__}: {error}"
        if self._fault != self._logged:
            expected = is_ours or isinstance(error, sqlite3.Error | OSError)
            trace = {} if expected else {"trace": "".join(traceback.format_exception(error))}
            event(logging.ERROR, "journal_failed", folder=str(self._folder), reason=self._fault, **trace)
            self._logged = self._fault
        with contextlib.suppress(Exception):  # it failed already
            if self._store is not None:
                self._store.close()
        self._store = None


class _Due:
    """True at the first call, and then once in so many seconds."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._next = clock()

    def __call__(self) -> bool:
        now = self._clock()
        is_due = now >= self._next
        if is_due:
            self._next = now + self._seconds
        return is_due


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
