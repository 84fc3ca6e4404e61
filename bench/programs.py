"""A program that is measured: started with a temporary folder of its own, watched, stopped, its remains looked for."""

import os
import random
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from launch.ports import Ports
from signalserve.errors import PortTaken

ROOT = Path(__file__).resolve().parent.parent
STOP_S = 20.0  # the launcher gives each of its two children 5


class ProgramError(Exception):
    """A program that ended, or never answered; the end of its log says why."""


@dataclass(frozen=True)
class Stopped:
    """seconds: from SIGTERM to the end.  remains: what was then still there, in words; [] is as it should be."""

    seconds: float
    remains: list[str]


class Program:
    """One process and all that it starts. Everything they write goes into a folder that is removed at the end.

    Used as a context manager: leaving it stops them all.
    """

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.folder = Path(tempfile.mkdtemp(prefix="bench-"))
        self._log = self.folder / "log"
        self._temporary = self.folder / "tmp"
        self._temporary.mkdir()
        self.started = time.perf_counter()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, **(environment or {}), "TMPDIR": str(self._temporary), "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __enter__(self) -> "Program":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def wait_until(self, is_so: Callable[[], bool], timeout: float, every: float = 0.02) -> float:
        """Seconds from the start until it was so. Raises ProgramError when the program ends or time is up."""
        while not is_so():
            if self._process.poll() is not None:
                raise ProgramError(f"{self.name} ended with code {self._process.returncode}:\n{self.log_tail()}")
            if time.perf_counter() - self.started > timeout:
                raise ProgramError(f"{self.name} is not ready after {timeout:.0f} s:\n{self.log_tail()}")
            time.sleep(every)
        return time.perf_counter() - self.started

    def log_tail(self, lines: int = 20) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])

    def processes(self) -> list[psutil.Process]:
        own = psutil.Process(self._process.pid)
        return [own, *own.children(recursive=True)]

    def cpu_seconds(self) -> float:
        """Processor time that its processes have taken so far."""
        total = 0.0
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                total += sum(process.cpu_times()[:2])  # user and system
        return total

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """It does nothing at all until the end of the block: neither what it is asked nor what it does by itself."""
        processes = self.processes()  # the one that looks after the others first, so that it misses none of them
        try:
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    process.suspend()
            yield
        finally:
            for process in reversed(processes):
                with suppress(psutil.NoSuchProcess):
                    process.resume()

    def stop(self, ports: Sequence[int] = ()) -> "Stopped":
        """SIGTERM to the one that was started, which ends the others; whatever is left after it is killed.

        ports: those it listened on.
        """
        began = time.perf_counter()
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_S)
        stopped = Stopped(time.perf_counter() - began, self._remains(ports))
        left = self._still_running()
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()
        psutil.wait_procs(left, timeout=5)
        return stopped

    def _remains(self, ports: Sequence[int]) -> list[str]:
        unix = Path("/proc/net/unix").read_text().splitlines()
        files = [path.relative_to(self._temporary) for path in self._temporary.rglob("*") if not path.is_dir()]
        return [
            *(f"process {process.pid} ({process.name()})" for process in self._still_running()),
            *(f"unix socket {line.split()[-1]}" for line in unix if str(self._temporary) in line),
            *(f"port {port}" for port in ports if is_open(port)),
            *(f"file {path}" for path in files),
        ]

    def _still_running(self) -> list[psutil.Process]:
        """By the TMPDIR they inherited, so that those whose parent is gone are found as well."""
        marker = str(self._temporary)
        found = []
        for process in psutil.process_iter():
            try:
                if process.status() != psutil.STATUS_ZOMBIE and process.environ().get("TMPDIR", "").startswith(marker):
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found


def free_ports() -> int:
    """The first of six ports in a row that nobody listens on, below those that the kernel hands out to clients."""
    for first in random.sample(range(15_000, 32_000, 10), 100):
        with suppress(PortTaken):
            Ports(first).require_free()
            return first
    raise ProgramError("no six free ports in a row between 15,000 and 32,000")


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
