"""A program's stop is believed only after its remains were looked for."""

import socket
import sys
from pathlib import Path

import psutil
import pytest
from programs import Program, ProgramError, free_ports, is_open

# asked to end, the parent goes and leaves its child behind, and a socket and a file of its own
LEAVES_THINGS = """
import os, pathlib, signal, socket, subprocess, sys, tempfile, time
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
folder = pathlib.Path(tempfile.gettempdir())
if sys.argv[1:]:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(folder / "sock"))
    listening.listen()
    time.sleep(60)
subprocess.Popen([sys.executable, __file__, "child"], start_new_session=True)
while not (folder / "sock").exists():
    time.sleep(0.01)
(folder / "ready").touch()
time.sleep(60)
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "leaves_things.py"
    path.write_text(LEAVES_THINGS)
    return path


def test_what_a_stop_leaves_behind_is_found_and_then_killed(script: Path) -> None:
    with Program("it", [sys.executable, str(script)]) as program:
        program.wait_until(lambda: (program.folder / "tmp" / "ready").exists(), timeout=20)
        (_, child) = program.processes()
        stopped = program.stop()
        left = sorted(thing.split()[0] for thing in stopped.remains)
        assert left == ["file", "file", "process", "unix"]
        assert not child.is_running()
    assert not program.folder.exists()


def test_a_program_that_stops_well_leaves_nothing() -> None:
    with Program("it", [sys.executable, "-c", "import time; time.sleep(60)"]) as program:
        assert program.stop().remains == []


def test_a_program_that_ends_by_itself_says_its_last_words() -> None:
    with (
        Program("it", [sys.executable, "-c", "print('no such model'); raise SystemExit(3)"]) as program,
        pytest.raises(ProgramError, match=r"it ended with code 3:\nno such model"),
    ):
        program.wait_until(lambda: False, timeout=20)


def test_free_ports_are_free() -> None:
    first = free_ports()
    assert not any(is_open(port) for port in range(first, first + 6))
    with socket.create_server(("127.0.0.1", first)):
        assert is_open(first)


def test_a_suspended_program_and_its_children_stand_still_until_the_end() -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    with Program("it", [sys.executable, "-c", code]) as program:
        program.wait_until(lambda: len(program.processes()) == 2, timeout=20)

        def states() -> set[str]:
            return {process.status() for process in program.processes()}

        with program.suspended():
            program.wait_until(lambda: states() == {psutil.STATUS_STOPPED}, timeout=20)
        program.wait_until(lambda: psutil.STATUS_STOPPED not in states(), timeout=20)
