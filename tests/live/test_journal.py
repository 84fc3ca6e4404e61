"""Every answered request stands in the journal once, whoever is killed."""

import os
import signal
import sqlite3
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pytest
from live.server import Server, wait_for
from live.traffic import Traffic
from live.windows import Case, last_windows
from stores import candles

from signalserve.journal import database_of

pytestmark = pytest.mark.live

PER_SECOND = 200.0


@pytest.fixture(scope="module")
def case() -> Case:
    return next(last_windows("BTC-USD", candles("BTC-USD", 1060), 1))


@pytest.fixture
def server(tmp_path: Path, packed: Path):
    running = Server(tmp_path, store=packed).start()
    yield running
    running.stop()


def recorded(server: Server) -> Counter[str]:
    """prediction_id -> rows of what the caller got."""
    with closing(sqlite3.connect(f"file:{database_of(server.journal)}?mode=ro", uri=True)) as connection:
        return Counter(row for (row,) in connection.execute("SELECT prediction_id FROM predictions WHERE answered"))


def require_each_once(server: Server, traffic: Traffic) -> None:
    """Every answer once. There may be rows of answers that were written and whose connection was cut before they
    arrived: at most one for each failed request."""
    answered = {answer["prediction_id"] for answer in traffic.answers}
    assert len(answered) == len(traffic.answers) > 100
    rows = recorded(server)
    assert set(rows.values()) == {1}
    assert answered <= set(rows)
    assert len(set(rows) - answered) <= len(traffic.failures)


def kill(process: psutil.Process) -> None:
    os.kill(process.pid, signal.SIGKILL)


def test_killed_workers_and_a_killed_watcher_lose_nothing(server: Server, case: Case) -> None:
    with Traffic(server.url, case, rate=PER_SECOND) as traffic:
        traffic.after(200)
        kill(server.workers("ensemble")[0])
        traffic.after(200)
        watcher = server.watcher_process()
        failed = len(traffic.failures)
        kill(watcher)
        traffic.after(400)
        assert len(traffic.failures) == failed  # predictions do not notice
        wait_for(lambda: server.watcher_process().pid != watcher.pid, 10)
        traffic.after(200)
    wait_for(lambda: len(recorded(server)) >= len(traffic.answers), 20)
    require_each_once(server, traffic)


def test_a_stop_under_load_loses_nothing(server: Server, case: Case) -> None:
    with Traffic(server.url, case, rate=PER_SECOND) as traffic:
        traffic.after(300)
        server.stop()
    require_each_once(server, traffic)


def test_a_killed_torchserve_loses_nothing(server: Server, case: Case) -> None:
    [frontend] = [process for process in server.processes() if process.name() == "java"]
    with Traffic(server.url, case, rate=PER_SECOND) as traffic:
        traffic.after(300)
        kill(frontend)
        assert server.wait_for_end() == 1
    require_each_once(server, traffic)


def test_what_a_killed_service_left_is_taken_in_by_the_next(server: Server, case: Case, packed: Path) -> None:
    assert server.process is not None
    with Traffic(server.url, case, rate=PER_SECOND) as traffic:
        traffic.after(100)
        server.watcher_process().suspend()  # nothing is taken in any more
        traffic.after(200)
        for process in server.processes():
            with suppress(psutil.NoSuchProcess):  # the others end with the launcher
                process.kill()
        server.wait_for_end()
    assert len(recorded(server)) < len(traffic.answers)
    again = Server(server.folder, store=packed).start()
    try:
        wait_for(lambda: len(recorded(again)) >= len(traffic.answers), 20)
        require_each_once(again, traffic)
    finally:
        again.stop()
