"""Work that the watcher repeats in a thread of its own: whatever it waits for, nothing else waits with it."""

import logging
import threading
from collections.abc import Callable

from signalserve.log import event


class Repeated:
    """Does its work at `start` and then every so many seconds until `stop`, which does not wait for it.

    A daemon thread: a disk or a driver that hangs keeps the process from ending no more than from answering.
    """

    def __init__(self, name: str, work: Callable[[], object], every_s: float) -> None:
        """name: of the thread, and in the log where the work fails."""
        self._name = name
        self._work = work
        self._every_s = every_s
        self._stopped = threading.Event()
        self._logged: str | None = None

    def start(self) -> None:
        threading.Thread(target=self._run, name=self._name, daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._once()
            self._stopped.wait(self._every_s)

    def _once(self) -> None:
        try:
            self._work()
            self._logged = None
        except Exception as error:  # whatever it is: a thread that ends would leave its last answer standing for ever
            reason = f"{type(error).__name__}: {error}"
            if reason != self._logged:
                event(logging.ERROR, "repeated_work_failed", what=self._name, reason=reason)
            self._logged = reason
