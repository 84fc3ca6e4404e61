"""Arms that are only recorded: scored by a thread of their own after the caller has the answer, within a budget.

They cost the answer nothing but what two threads of one process cost each other. What comes too late is dropped and
counted, since a worker that falls behind must not queue work for ever; what fails is logged and counted.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from signalserve.item import Item
from signalserve.journal.lines import PredictionLine
from signalserve.log import event
from signalserve.watched import InForce

Result = Literal["recorded", "dropped", "failed"]

MOST_WAITING: Final = 64
"""Jobs: with a budget of some milliseconds, more of them could never be in time."""


@dataclass(frozen=True)
class Job:
    """The windows of one request. received_ms: when it came.  started: perf_counter when its answer was ready."""

    items: Sequence[Item]
    force: InForce
    received_ms: int
    started: float


class Shadows:
    """Scores jobs one after the other."""

    def __init__(
        self,
        score: Callable[[Job], Sequence[PredictionLine]],
        record: Callable[[Sequence[PredictionLine]], object],
        count: Callable[[Result, int], None],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """score: runs the arms that are missing.  record: takes what came in time.  count: of windows, by what became
        of them."""
        self._score = score
        self._record = record
        self._count = count
        self._clock = clock
        self._jobs: queue.Queue[Job] = queue.Queue(MOST_WAITING)
        self._thread: threading.Thread | None = None

    def submit(self, job: Job) -> None:
        """Never waits and never raises."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="shadows", daemon=True)
            self._thread.start()
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            self._count("dropped", len(job.items))

    def settle(self) -> None:
        """Wait until every job so far is done."""
        self._jobs.join()

    def _run(self) -> None:
        while True:
            job = self._jobs.get()
            try:
                self.take(job)
            except Exception as error:  # whatever it is, the answers go on
                self._count("failed", len(job.items))
                event(logging.ERROR, "shadow_failed", reason=str(error), kind=type(error).__name__)
            finally:
                self._jobs.task_done()

    def take(self, job: Job) -> None:
        """Score one job and record it, unless its budget is over before or after."""
        budget_s = job.force.settings.shadow_budget_ms / 1000
        lines: Sequence[PredictionLine] | None = None
        if self._clock() - job.started <= budget_s:
            lines = self._score(job)
        if lines is None or self._clock() - job.started > budget_s:
            self._count("dropped", len(job.items))
            return
        self._record(lines)
        self._count("recorded", len(job.items))
