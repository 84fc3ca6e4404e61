"""Processes that belong together: started, watched and stopped as one."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import FrameType

from signalserve.errors import SignalserveError
from signalserve.parent_death import stop_with

PATIENCE_S = 5.0  # how long each process may take to end by itself

ASK_EVERY_S = 2.0
"""Between two asks whether a child is alive."""
UNANSWERED = 8
"""Asks in a row without an answer after which a child is taken to hang: 16 s, thousands of times the millisecond that
a healthy watcher takes, so that a busy machine is no reason. Asks are counted, not seconds: where we were suspended or
starved along with it, it is not to blame."""
FIRST_ANSWER_S = 60.0
"""From a child's start: it first loads its libraries, maybe from a cold disk beside workers that load theirs."""


class Stopped(SignalserveError):
    """Somebody asked us to stop, by a signal."""


class Died(SignalserveError):
    """A process that the service cannot do without has ended."""


@dataclass
class Child:
    """One process in a session of its own, so that a Ctrl-C reaches us first and its children can be ended with it."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    restart: bool = False  # True: a death is mended; False: it ends the service
    alive: Callable[[], bool] | None = (
        None  # has it answered since the last call? Asked in the loop: takes 0.5 s at most
    )
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    started: float = field(default=0.0, init=False)
    _asked: float = field(default=0.0, init=False)
    _unanswered: int = field(default=0, init=False)
    _has_answered: bool = field(default=False, init=False)

    def start(self) -> None:
        """To be called from the main thread: see `stop_with`."""
        self.started = self._asked = time.monotonic()
        self._unanswered, self._has_answered = 0, False
        if self.alive is not None:
            self.alive()  # what the process before has answered is no sign of this one's life
        self.process = subprocess.Popen(
            self.command,
            env=dict(self.environment),
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            preexec_fn=partial(stop_with, os.getpid()),
        )

    def returncode(self) -> int | None:
        return self.process.poll() if self.process else None

    def hangs(self) -> bool:
        """Whether it runs and answers no more; asks it every now and then."""
        now = time.monotonic()
        if self.alive is None or now - self._asked < ASK_EVERY_S:
            return False
        self._asked = now
        if self.alive():
            self._unanswered, self._has_answered = 0, True
            return False
        self._unanswered += 1
        return self._unanswered >= UNANSWERED and (self._has_answered or now - self.started > FIRST_ANSWER_S)

    def kill(self) -> None:
        """End the whole session, without waiting: what hangs in a disk's driver ends when the disk answers."""
        self._unanswered = 0
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def end(self) -> None:
        """Ask, wait as long as patience lasts, then end the whole session, whatever is left in it."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(PATIENCE_S)
        self.kill()
        self.process.wait()


class Supervisor:
    """Keeps children running until a signal comes or one dies that must not.

    Used as a context manager: leaving it stops them all, whatever happened inside, in the order they were started and
    each when the one before has ended: what reads another's files sees the last of them. Where we are killed ourselves,
    the kernel asks them all at once, and what a reader then misses waits for its next start.
    """

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._children: list[Child] = []
        self._stop = threading.Event()
        self._signal = ""

    def __enter__(self) -> "Supervisor":
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not leave anything behind
        for child in self._children:
            child.end()

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._signal = signal.Signals(number).name
        self._stop.set()

    def start(self, child: Child) -> None:
        self._children.append(child)
        child.start()

    def pause(self, seconds: float) -> None:
        """Wait, and look after the children. Raises Stopped on a signal, Died when one is gone for good."""
        if self._stop.wait(seconds):
            raise Stopped(self._signal)
        for child in self._children:
            code = child.returncode()
            if code is None:
                if child.hangs():
                    self._report(f"{child.name} runs but does not answer any more; killing it")
                    child.kill()
                continue
            if not child.restart:
                raise Died(f"{child.name} ended by itself with code {code}; its last log lines above say why")
            if time.monotonic() - child.started > 1.0:  # not faster: a crash loop must not eat a core
                self._report(f"{child.name} ended with code {code}; starting it again")
                child.start()
