"""A steady stream of requests over many connections, and what came of each."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from live.windows import Case

FIRST = datetime(2025, 6, 1, tzinfo=UTC)


@dataclass
class Traffic:
    """Asks the ensemble endpoint, each time for another minute, until stopped. Used as a context manager.

    rate: requests a second over all connections; None: as many as come through.
    """

    url: str
    case: Case
    connections: int = 16
    rate: float | None = None
    answers: list[dict[str, Any]] = field(default_factory=list, init=False)
    failures: list[str] = field(default_factory=list, init=False)

    def __enter__(self) -> "Traffic":
        self._stop = threading.Event()
        self._minute = iter(range(10_000_000))
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run) for _ in range(self.connections)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait(self, done: Callable[[], bool], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < deadline, f"not within {seconds} s"
            time.sleep(0.02)

    def after(self, more: int) -> None:
        """Until so many more answers have come."""
        wanted = len(self.answers) + more
        self.wait(lambda: len(self.answers) >= wanted)

    def _run(self) -> None:
        body, headers = self.case.npy()
        pause = self.connections / self.rate if self.rate else 0.0
        due = time.monotonic()
        with httpx.Client(trust_env=False, timeout=10) as client:
            while not self._stop.is_set():
                with self._lock:
                    as_of = FIRST + timedelta(minutes=next(self._minute))
                own = {**headers, "X-As-Of": as_of.strftime("%Y-%m-%dT%H:%M:%SZ")}
                try:
                    response = client.post(f"{self.url}/predictions/ensemble", content=body, headers=own)
                    if response.status_code == 200:
                        self.answers.append(response.json())
                    else:
                        self.failures.append(f"{response.status_code} {response.text[:200]}")
                except httpx.HTTPError as error:
                    self.failures.append(repr(error))
                due += pause
                self._stop.wait(max(0.0, due - time.monotonic()))
