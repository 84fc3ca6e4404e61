"""Arms beside the answer: in time, too late, failing."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from signalserve.settings import Settings
from signalserve.shadows import MOST_WAITING, Job, Shadows
from signalserve.watched import InForce

FORCE = InForce(Settings(score_all_arms=True, shadow_budget_ms=20), "", "")


class Bench:
    """Shadows whose scoring takes as long as the test says."""

    def __init__(self, takes_s: float = 0.0, fault: Exception | None = None) -> None:
        self.now, self.takes_s, self.fault = 100.0, takes_s, fault
        self.results: Counter[str] = Counter()
        self.recorded: list[Any] = []
        self.shadows = Shadows(self.score, self.recorded.extend, self.count, clock=lambda: self.now)

    def score(self, job: Job) -> Sequence[Any]:
        self.now += self.takes_s
        if self.fault:
            raise self.fault
        return ["line"]

    def count(self, result: str, windows: int) -> None:
        self.results[result] += windows

    def submit(self, started: float = 100.0) -> None:
        self.shadows.submit(Job([None, None], FORCE, 0, started))  # type: ignore[list-item]
        self.shadows.settle()


def test_what_is_in_time_is_recorded():
    bench = Bench(takes_s=0.019)
    bench.submit()
    assert (bench.recorded, bench.results) == (["line"], {"recorded": 2})


def test_what_starts_too_late_is_not_even_scored():
    bench = Bench()
    bench.fault = AssertionError("scored")
    bench.submit(started=99.97)
    assert (bench.recorded, bench.results) == ([], {"dropped": 2})


def test_what_ends_too_late_is_dropped():
    bench = Bench(takes_s=0.021)
    bench.submit()
    assert (bench.recorded, bench.results) == ([], {"dropped": 2})


def test_a_failure_is_counted_and_the_next_job_is_scored():
    bench = Bench(fault=RuntimeError("no"))
    bench.submit()
    bench.fault = None
    bench.submit()
    assert bench.results == {"failed": 2, "recorded": 2}


def test_more_than_can_wait_is_dropped_at_once():
    bench = Bench()
    bench.shadows._thread = object()  # type: ignore[assignment]  # nobody takes jobs away
    for _ in range(MOST_WAITING + 3):
        bench.shadows.submit(Job([None], FORCE, 0, 100.0))  # type: ignore[list-item]
    assert bench.results == {"dropped": 3}
