"""Processes that belong together: started, watched and stopped as one."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType

from signalserve.errors import SignalserveError

PATIENCE_S = 5.0  # how long each process may take to end by itself


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
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    started: float = field(default=0.0, init=False)

    def start(self) -> None:
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            self.command, env=dict(self.environment), start_new_session=True, stdin=subprocess.DEVNULL
        )

    def returncode(self) -> int | None:
        return self.process.poll() if self.process else None

    def end(self) -> None:
        """Ask, wait as long as patience lasts, then end the whole session, whatever is left in it."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(PATIENCE_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Supervisor:
    """Keeps children running until a signal comes or one dies that must not.

    Used as a context manager: leaving it stops them all, whatever happened inside, in the order they were started and
    each when the one before has ended: what reads another's files sees the last of them.
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
                continue
            if not child.restart:
                raise Died(f"{child.name} ended by itself with code {code}; its last log lines above say why")
            if time.monotonic() - child.started > 1.0:  # not faster: a crash loop must not eat a core
                self._report(f"{child.name} ended with code {code}; starting it again")
                child.start()
