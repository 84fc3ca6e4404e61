"""The journal's one writer: what it does in which order, and that nothing ends it."""

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from signalserve.errors import JournalError
from signalserve.journal import outcomes, spool_of
from signalserve.journal.counts import bump
from signalserve.journal.schema import migrate
from signalserve.outcome_request import OutcomeClaim
from signalserve.watcher import keeper as module
from signalserve.watcher.keeper import Keeper

INSERT = (
    "INSERT INTO predictions (row_id, prediction_id, endpoint, symbol, received_ms, time_ms, arm, answered, mode, "
    "assigned, config_id, p_down, p_neutral, p_up, temperature, latency_ms, warnings) "
    "VALUES (?, 'p', 'v8', 'BTC-USD', 0, 0, 'v8', 1, 'v8', 'v8', 1, 0.2, 0.3, 0.5, 1, 1, '')"
)
CLAIM = OutcomeClaim(prediction_id="p1", symbol=None, as_of_ms=None, direction=2, close=None)


class Disk:
    """A store whose lines and failures the test decides; one object for all the times that it is opened."""

    def __init__(self) -> None:
        self.did: list[str] = []
        self.waiting = 0
        self.rows: Sequence[int] = ()
        self.fault: Exception | None = None
        self.unreadable: dict[str, str] = {}
        self.connection: sqlite3.Connection

    def open(self) -> "Disk":
        self._do("open")
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        migrate(self.connection)
        self.connection.executemany(INSERT, [(row_id,) for row_id in self.rows])
        return self

    def drain(self) -> int:
        self._do("drain")
        taken = min(self.waiting, 10)
        self.waiting -= taken
        bump(self.connection, "repeats", taken)
        return taken

    def retire(self) -> int:
        self._do("retire")
        return 0

    def waiting_bytes(self) -> int:
        return self.waiting * 100

    def close(self) -> None:
        self.did.append("close")
        self.connection.close()

    def _do(self, what: str) -> None:
        if self.fault is not None:
            raise self.fault
        self.did.append(what)


@dataclass
class Statistics:
    """Counts how often it was refreshed, and may fail."""

    times: int = 0
    fault: Exception | None = None

    def refresh(self, connection: sqlite3.Connection) -> None:
        connection.execute("SELECT count(*) FROM predictions").fetchone()  # the thread that owns it
        self.times += 1
        if self.fault:
            raise self.fault


@dataclass
class Desk:
    """A keeper over a disk, with a clock that the test moves. Everything is quick, so that a test takes no time."""

    folder: Path
    disk: Disk = field(default_factory=Disk)
    statistics: Statistics = field(default_factory=Statistics)
    time: float = 0.0

    def __post_init__(self) -> None:
        self.keeper = Keeper(self.folder, [self.statistics], open_store=self.disk.open, clock=lambda: self.time)

    def run(self, use: Callable[[], Awaitable[None]]) -> None:
        """use, while the keeper runs; then its end."""

        async def whole() -> None:
            task = asyncio.create_task(self.keeper.run())
            await use()
            task.cancel()
            await self.keeper.close()

        asyncio.run(asyncio.wait_for(whole(), 20))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr(module, "EVERY_S", 0.001)
    monkeypatch.setattr(module, "REOPEN_S", 0.001)
    return Desk(tmp_path)


async def until(what: Callable[[], bool]) -> None:
    while not what():
        await asyncio.sleep(0.001)


def rounds(desk: Desk) -> int:
    return desk.disk.did.count("drain")


async def another_round(desk: Desk) -> None:
    """Until one has begun and ended since the call."""
    done = rounds(desk)
    await until(lambda: rounds(desk) >= done + 2)


def test_what_waits_is_drained_and_shown(desk: Desk):
    async def use() -> None:
        await until(lambda: desk.keeper.snapshot is not None)
        desk.disk.waiting = 25
        await until(lambda: desk.disk.waiting == 0)
        desk.time += module.LOOK_S
        await until(lambda: desk.keeper.snapshot.counts["repeats"] == 25)
        assert (desk.keeper.fault, desk.keeper.waiting_bytes, desk.keeper.behind_s) == (None, 0, 0.0)
        assert desk.keeper.snapshot.rows == 0

    desk.run(use)


def test_rows_are_those_between_the_first_and_the_last(desk: Desk):
    async def use() -> None:
        await until(lambda: desk.keeper.snapshot is not None)

    desk.disk.rows = range(41, 51)
    desk.run(use)
    assert desk.keeper.snapshot.rows == 10


def test_old_rows_are_retired_and_statistics_refreshed_now_and_then(desk: Desk):
    async def use() -> None:
        for _ in range(12):  # two minutes, in steps of ten seconds
            await another_round(desk)
            desk.time += 10
        await another_round(desk)

    assert (module.RETIRE_S, module.STATISTICS_S) == (60, 10)
    desk.run(use)
    assert desk.disk.did.count("retire") == 3
    assert desk.statistics.times == 13


def test_statistics_are_refreshed_as_often_as_is_asked_for(desk: Desk):
    desk.keeper = Keeper(
        desk.folder, [desk.statistics], open_store=desk.disk.open, statistics_every_s=0.5, clock=lambda: desk.time
    )

    async def use() -> None:
        for _ in range(8):  # two seconds
            await another_round(desk)
            desk.time += 0.25
        await another_round(desk)

    desk.run(use)
    assert desk.statistics.times == 5


FAULTS = [
    pytest.param(JournalError("another watcher"), "another watcher", id="ours"),
    pytest.param(sqlite3.OperationalError("disk I/O error"), "OperationalError: disk I/O error", id="sqlite"),
    pytest.param(OSError(28, "No space left on device"), "OSError: [Errno 28] No space left on device", id="disk"),
    pytest.param(KeyError("surprise"), "KeyError: 'surprise'", id="defect"),
]


@pytest.mark.parametrize(("fault", "words"), FAULTS)
def test_a_failing_store_is_said_once_and_opened_anew_until_it_works(
    desk: Desk, caplog: pytest.LogCaptureFixture, fault: Exception, words: str
):
    async def use() -> None:
        await another_round(desk)
        desk.disk.fault = fault
        await until(lambda: desk.keeper.fault == words)
        for _ in range(50):
            await asyncio.sleep(0.001)
        desk.disk.fault = None
        await until(lambda: desk.keeper.fault is None)

    with caplog.at_level(logging.INFO, "signalserve"):
        desk.run(use)
    said = [(record.getMessage(), record.fields) for record in caplog.records]
    assert [message for message, _ in said] == ["journal_failed", "journal_recovered"]
    assert said[0][1]["reason"] == words
    assert ("trace" in said[0][1]) == isinstance(fault, KeyError)
    assert desk.disk.did.count("open") == 2 == desk.disk.did.count("close")


def test_while_the_journal_fails_all_that_lies_in_the_spools_waits(desk: Desk):
    spool = spool_of(desk.folder)
    spool.mkdir()
    (spool / "v8-1-a-000001.ndjson").write_bytes(b"x" * 700)
    desk.disk.fault = OSError(30, "Read-only file system")

    async def use() -> None:
        desk.time = 12.0
        await until(lambda: "Read-only" in (desk.keeper.fault or ""))
        assert (desk.keeper.waiting_bytes, desk.keeper.behind_s) == (700, 12.0)
        assert desk.keeper.snapshot is None

    desk.run(use)


def test_a_thread_that_is_busy_for_too_long_is_no_journal_that_is_written(desk: Desk):
    began, goes_on = threading.Event(), threading.Event()

    def drain() -> int:
        began.set()
        goes_on.wait(10)
        return 0

    async def use() -> None:
        await until(lambda: desk.keeper.snapshot is not None)
        desk.disk.drain = drain
        await until(began.is_set)
        desk.disk.waiting = 3
        desk.time += module.BUSY_S
        assert desk.keeper.fault is None
        desk.time += 1
        assert desk.keeper.fault == "the watcher has been busy with it for 6 s"
        assert (desk.keeper.waiting_bytes, desk.keeper.behind_s) == (300, 6.0)
        desk.disk.waiting = 0
        goes_on.set()
        await until(lambda: desk.keeper.fault is None)
        assert desk.keeper.behind_s == 0

    desk.run(use)


def test_how_far_behind_it_is_counts_from_the_last_time_that_nothing_waited(desk: Desk):
    drained: list[float] = []

    def drain() -> int:
        drained.append(desk.time)
        return 1  # and there is always more

    async def use() -> None:
        await another_round(desk)
        desk.disk.drain = drain
        desk.disk.waiting = 1
        await until(lambda: len(drained) > 0)
        desk.time += 30
        await until(lambda: drained[-1] == 30)
        assert desk.keeper.behind_s == 30
        desk.disk.drain = lambda: 0

    desk.run(use)


def test_statistics_that_fail_leave_the_draining_going(desk: Desk):
    desk.statistics.fault = ZeroDivisionError("a defect")
    desk.disk.waiting = 5

    async def use() -> None:
        await until(lambda: desk.disk.waiting == 0)
        await until(lambda: desk.keeper.fault is None)

    desk.run(use)


def test_outcomes_are_joined_after_everything_that_waits(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    seen = []

    def apply(connection: sqlite3.Connection, claims: list[OutcomeClaim], now_ms: int) -> outcomes.Tally:
        seen.append((desk.disk.waiting, connection.in_transaction, claims))
        return outcomes.Tally(joined=1)

    monkeypatch.setattr(outcomes, "apply", apply)

    async def use() -> None:
        desk.disk.waiting = 1000
        assert (await desk.keeper.tell([CLAIM])).joined == 1
        assert not desk.disk.connection.in_transaction

    desk.run(use)
    assert seen == [(0, True, [CLAIM])]


def test_outcomes_are_refused_in_words_while_the_journal_fails_and_taken_afterwards(desk: Desk):
    async def use() -> None:
        desk.disk.fault = OSError(28, "No space left on device")
        with pytest.raises(JournalError, match=r"can't be written now: OSError: .*No space left on device"):
            await desk.keeper.tell([CLAIM])
        desk.disk.fault = None
        assert (await desk.keeper.tell([CLAIM])).unknown == 1

    desk.run(use)


def test_the_end_takes_in_what_still_waits(desk: Desk):
    async def use() -> None:
        await another_round(desk)
        desk.disk.waiting = 1000

    desk.run(use)
    assert desk.disk.waiting == 0
    assert desk.disk.did[-1] == "close"


def test_the_end_waits_only_so_long_for_lines_that_never_end_and_says_what_is_left(
    desk: Desk, caplog: pytest.LogCaptureFixture
):
    drain = desk.disk.drain

    def drain_slowly() -> int:
        desk.time += 1.0
        desk.disk.waiting += 10
        return drain()

    desk.disk.waiting = 50
    desk.disk.drain = drain_slowly

    async def use() -> None:
        await another_round(desk)

    with caplog.at_level(logging.WARNING, "signalserve"):
        desk.run(use)
    [record] = caplog.records
    assert record.getMessage() == "journal_left" and record.fields["waiting_bytes"] == 5000


def test_the_end_of_a_journal_that_fails_is_quiet(desk: Desk):
    desk.disk.fault = JournalError("no disk")

    async def use() -> None:
        await until(lambda: desk.keeper.fault == "no disk")

    desk.run(use)
    assert desk.disk.did == []
