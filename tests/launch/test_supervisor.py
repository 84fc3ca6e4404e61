"""Real child processes: started, watched, and stopped whatever they do."""

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

import launch.supervisor
from launch.supervisor import FIRST_ANSWER_S, UNANSWERED, Child, Died, Stopped, Supervisor
from signalserve.parent_death import stop_with

ROOT = Path(__file__).resolve().parents[2]
PATIENT = 2.0
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

SLEEP = "import time; open('NAME', 'w').write('up'); time.sleep(60)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEP
FAREWELL = (  # asked to stop, it says what lies in the folder by then, and takes its time to end
    "import pathlib, signal, time\n"
    "path = pathlib.Path('NAME')\n"
    "def stop(*_):\n"
    "    path.write_text(f'asked: {sorted(one.name for one in path.parent.iterdir())}')\n"
    "    time.sleep(0.2)\n"
    "    path.with_suffix('.ended').touch()\n"
    "    raise SystemExit\n"
    "signal.signal(signal.SIGTERM, stop)\n"
    "path.write_text('up'); time.sleep(60)"
)
PARENT = (
    "import os, time\n"
    "pid = os.fork()\n"
    "if pid == 0: import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)\n"
    "open('NAME', 'w').write(str(pid)); time.sleep(60)"
)
LAUNCHER = (  # with two children, of which the second ends and is started again
    "import pathlib, sys\n"
    "from launch.supervisor import Child, Supervisor\n"
    "folder = pathlib.Path(sys.argv[1])\n"
    "sleep = 'import os, pathlib, time; pathlib.Path(NAME).write_text(str(os.getpid())); time.sleep(60)'\n"
    "def command(name):\n"
    "    return [sys.executable, '-S', '-E', '-c', sleep.replace('NAME', repr(str(folder / name)))]\n"
    "with Supervisor(print) as supervisor:\n"
    "    supervisor.start(Child('a', command('a'), {}))\n"
    "    supervisor.start(Child('b', command('b'), {}, restart=True))\n"
    "    while True: supervisor.pause(0.02)"
)


@pytest.fixture(autouse=True)
def signals_as_they_were(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    monkeypatch.setattr(launch.supervisor, "PATIENCE_S", PATIENT)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def reports() -> list[str]:
    return []


@pytest.fixture
def child(tmp_path: Path) -> Callable[..., Child]:
    """A child that runs a line of Python, in which NAME is the file that says it is up."""

    def child_(code: str, name: str = "a", *, restart: bool = False) -> Child:
        line = code.replace("NAME", str(tmp_path / name))
        return Child(name, [sys.executable, "-S", "-E", "-c", line], {}, restart=restart)

    return child_


def wait_for(path: Path, seconds: float = 10.0) -> str:
    deadline = time.monotonic() + seconds
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.01)
    return path.read_text()


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"


def test_leaving_stops_all_children_without_waiting(tmp_path: Path, child: Callable[..., Child], reports: list[str]):
    children = [child(SLEEP, "a"), child(SLEEP, "b")]
    with Supervisor(reports.append) as supervisor:
        for each in children:
            supervisor.start(each)
            wait_for(tmp_path / each.name)
        started = time.monotonic()
    assert time.monotonic() - started < PATIENT / 2
    assert [each.returncode() for each in children] == [-signal.SIGTERM, -signal.SIGTERM]


def test_a_child_that_ignores_sigterm_is_killed_when_patience_ends(
    tmp_path: Path, child: Callable[..., Child], reports: list[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(launch.supervisor, "PATIENCE_S", 0.3)
    stubborn, other = child(STUBBORN, "a"), child(STUBBORN, "b")
    with Supervisor(reports.append) as supervisor:
        for each in (stubborn, other):
            supervisor.start(each)
            wait_for(tmp_path / each.name)
        started = time.monotonic()
    assert 0.5 < time.monotonic() - started < 2.5  # a patience for each
    assert stubborn.returncode() == other.returncode() == -signal.SIGKILL


def test_a_child_is_asked_to_stop_when_the_one_started_before_it_has_ended(
    tmp_path: Path, child: Callable[..., Child], reports: list[str]
):
    with Supervisor(reports.append) as supervisor:
        for each in (child(FAREWELL, "writer"), child(FAREWELL, "reader")):
            supervisor.start(each)
            wait_for(tmp_path / each.name)
    assert (tmp_path / "writer").read_text() == "asked: ['reader', 'writer']"
    assert (tmp_path / "reader").read_text() == "asked: ['reader', 'writer', 'writer.ended']"


def test_a_childs_own_children_end_with_it(tmp_path: Path, child: Callable[..., Child], reports: list[str]):
    with Supervisor(reports.append) as supervisor:
        supervisor.start(child(PARENT))
        grandchild = int(wait_for(tmp_path / "a"))
        assert is_alive(grandchild)
    deadline = time.monotonic() + 2
    while is_alive(grandchild) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_alive(grandchild)


def test_children_are_stopped_when_something_fails_inside(
    tmp_path: Path, child: Callable[..., Child], reports: list[str]
):
    sleeper = child(SLEEP)
    with pytest.raises(ZeroDivisionError), Supervisor(reports.append) as supervisor:
        supervisor.start(sleeper)
        wait_for(tmp_path / "a")
        _ = 1 / 0
    assert sleeper.returncode() is not None


def test_children_are_stopped_when_another_cannot_be_started(
    tmp_path: Path, child: Callable[..., Child], reports: list[str]
):
    sleeper = child(SLEEP)
    with pytest.raises(FileNotFoundError), Supervisor(reports.append) as supervisor:
        supervisor.start(sleeper)
        supervisor.start(Child("nothing", [str(tmp_path / "missing")], {}))
    assert sleeper.returncode() is not None


def test_a_child_that_must_not_die_ends_the_service_by_name_and_code(child: Callable[..., Child], reports: list[str]):
    with Supervisor(reports.append) as supervisor:
        supervisor.start(child("raise SystemExit(3)", "TorchServe"))
        with pytest.raises(Died, match="TorchServe ended by itself with code 3; its last log lines"):
            for _ in range(500):
                supervisor.pause(0.02)


def ended(child: Child) -> Child:
    assert child.process is not None
    child.process.wait(10)
    return child


def test_a_child_that_may_die_is_started_again_and_reported(
    tmp_path: Path, child: Callable[..., Child], reports: list[str]
):
    mortal = child("open('NAME', 'a').write('x'); raise SystemExit(1)", restart=True)
    with Supervisor(reports.append) as supervisor:
        supervisor.start(mortal)
        ended(mortal).started -= 2  # as if it had run for two seconds
        supervisor.pause(0.01)
        ended(mortal)
    assert reports == ["a ended with code 1; starting it again"]
    assert (tmp_path / "a").read_text() == "xx"


def test_a_crash_loop_starts_once_a_second_at_most(tmp_path: Path, child: Callable[..., Child], reports: list[str]):
    mortal = child("open('NAME', 'a').write('x')", restart=True)
    with Supervisor(reports.append) as supervisor:
        supervisor.start(mortal)
        ended(mortal).started = time.monotonic()
        for _ in range(20):
            supervisor.pause(0.01)
    assert reports == []
    assert (tmp_path / "a").read_text() == "x"


def hanging(child: Child, answers: Iterator[bool], supervisor: Supervisor, asks: int) -> None:
    """Start the child, with these answers to whether it is alive (the first is to the ask at its start), and ask."""
    child.alive = partial(next, answers)
    supervisor.start(child)
    for _ in range(asks):
        supervisor.pause(0.0)


@pytest.fixture
def ask_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch.supervisor, "ASK_EVERY_S", 0.0)


@pytest.mark.usefixtures("ask_at_once")
def test_a_child_that_answers_no_more_is_killed_and_started_again(
    tmp_path: Path, child: Callable[..., Child], reports: list[str]
):
    hung = child(STUBBORN, restart=True)
    answers = itertools.chain([False, True], itertools.repeat(False))
    with Supervisor(reports.append) as supervisor:
        hanging(hung, answers, supervisor, 1 + UNANSWERED)
        assert ended(hung).returncode() == -signal.SIGKILL
        hung.started -= 2
        supervisor.pause(0.0)
        for _ in range(2 * UNANSWERED):  # it has its minute again
            supervisor.pause(0.0)
        assert hung.returncode() is None
    assert reports == [
        "a runs but does not answer any more; killing it",
        "a ended with code -9; starting it again",
    ]


@pytest.mark.usefixtures("ask_at_once")
def test_one_answer_now_and_then_is_enough(child: Callable[..., Child], reports: list[str]):
    rarely = [*[False] * (UNANSWERED - 1), True] * 4
    with Supervisor(reports.append) as supervisor:
        hanging(child(SLEEP), iter([False, True, *rarely]), supervisor, 1 + len(rarely))
    assert reports == []


@pytest.mark.usefixtures("ask_at_once")
def test_a_child_that_has_not_answered_yet_is_given_a_minute(child: Callable[..., Child], reports: list[str]):
    slow = child(SLEEP)
    with Supervisor(reports.append) as supervisor:
        hanging(slow, itertools.repeat(False), supervisor, 5 * UNANSWERED)
        assert reports == []
        slow.started -= FIRST_ANSWER_S
        supervisor.pause(0.0)
        assert reports == ["a runs but does not answer any more; killing it"]


@pytest.mark.usefixtures("ask_at_once")
def test_the_answer_of_the_process_before_is_none_of_the_next(child: Callable[..., Child], reports: list[str]):
    slow = child(SLEEP)
    with Supervisor(reports.append) as supervisor:
        hanging(slow, itertools.chain([True], itertools.repeat(False)), supervisor, 2 * UNANSWERED)
    assert reports == []


@pytest.mark.usefixtures("ask_at_once")
def test_a_child_that_outlives_its_kill_is_not_reported_at_each_ask(
    child: Callable[..., Child], reports: list[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("os.killpg", lambda *_: None)  # as where it hangs in a disk's driver
    answers = itertools.chain([False, True], itertools.repeat(False))
    with Supervisor(reports.append) as supervisor:
        hanging(child(SLEEP), answers, supervisor, 1 + 2 * UNANSWERED)
    assert reports == ["a runs but does not answer any more; killing it"] * 2


def test_a_child_is_asked_rarely(child: Callable[..., Child], reports: list[str], monkeypatch: pytest.MonkeyPatch):
    asked = []

    def answers() -> Iterator[bool]:
        while True:
            asked.append(time.monotonic())
            yield True

    monkeypatch.setattr(launch.supervisor, "ASK_EVERY_S", 60.0)
    with Supervisor(reports.append) as supervisor:
        hanging(child(SLEEP), answers(), supervisor, 100)
        assert len(asked) == 1  # at its start
        monkeypatch.setattr(launch.supervisor, "ASK_EVERY_S", 0.0)
        supervisor.pause(0.0)
        monkeypatch.setattr(launch.supervisor, "ASK_EVERY_S", 60.0)
        for _ in range(100):
            supervisor.pause(0.0)
        assert len(asked) == 2


def killed_launcher(tmp_path: Path) -> tuple[int, int]:
    """The pids of the children that a launcher had when it was killed."""
    process = subprocess.Popen([sys.executable, "-c", LAUNCHER, str(tmp_path)], cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        first = int(wait_for(tmp_path / "b"))
        time.sleep(1.1)  # a child is not started again sooner
        (tmp_path / "b").unlink()
        os.kill(first, signal.SIGKILL)
        return int(wait_for(tmp_path / "a")), int(wait_for(tmp_path / "b"))
    finally:
        process.kill()
        process.wait()


@linux
def test_children_end_with_a_launcher_that_is_killed(tmp_path: Path):
    deadline = time.monotonic() + 5
    for pid in killed_launcher(tmp_path):
        while is_alive(pid) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not is_alive(pid)


@linux
def test_a_child_whose_launcher_ended_before_it_could_be_told_does_not_begin(tmp_path: Path):
    command = [sys.executable, "-S", "-E", "-c", f"open({str(tmp_path / 'a')!r}, 'w')"]
    somebody_else = os.getppid()
    begun = subprocess.Popen(command, preexec_fn=partial(stop_with, somebody_else))
    assert begun.wait(10) == 1
    assert not (tmp_path / "a").exists()


@linux
def test_a_launcher_that_ends_between_fork_and_exec_is_heard_too():
    signal.signal(signal.SIGTERM, lambda *_: None)  # the launcher's own, which fork hands on

    def told_before_exec(parent: int) -> None:
        stop_with(parent)
        os.kill(os.getpid(), signal.SIGTERM)

    begun = subprocess.Popen([sys.executable, "-c", ""], preexec_fn=partial(told_before_exec, os.getpid()))
    assert begun.wait(10) == -signal.SIGTERM


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_the_wait_at_once(child: Callable[..., Child], reports: list[str], number: signal.Signals):
    sleeper = child(SLEEP)
    with Supervisor(reports.append) as supervisor:
        supervisor.start(sleeper)
        os.kill(os.getpid(), number)
        started = time.monotonic()
        with pytest.raises(Stopped, match=number.name):
            supervisor.pause(10)
        assert time.monotonic() - started < 1
    assert sleeper.returncode() is not None


def test_a_second_signal_while_stopping_leaves_nothing_behind(
    tmp_path: Path, child: Callable[..., Child], reports: list[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(launch.supervisor, "PATIENCE_S", 0.3)
    stubborn = child(STUBBORN)
    signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))  # in the middle of the patience
    with Supervisor(reports.append) as supervisor:
        supervisor.start(stubborn)
        wait_for(tmp_path / "a")
        signal.setitimer(signal.ITIMER_REAL, 0.1)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    assert stubborn.returncode() == -signal.SIGKILL


def test_a_child_lives_in_a_session_of_its_own(tmp_path: Path, child: Callable[..., Child], reports: list[str]):
    sleeper = child(SLEEP)
    with Supervisor(reports.append) as supervisor:
        supervisor.start(sleeper)
        assert sleeper.process is not None
        assert os.getsid(sleeper.process.pid) == sleeper.process.pid != os.getsid(0)
