"""Work in a thread of its own: again and again, and nobody waits for it."""

import threading

import pytest

from signalserve.watcher.repeated import Repeated


class Work:
    """Raises what it is given, one a time, and lets the test wait for how often it was done."""

    def __init__(self, *errors: Exception | None) -> None:
        self._errors = iter(errors)
        self._done = threading.Semaphore(0)

    def __call__(self) -> None:
        error = next(self._errors, None)
        self._done.release()
        if error is not None:
            raise error

    def times(self, n: int) -> bool:
        return all(self._done.acquire(timeout=10) for _ in range(n))


def names() -> list[str]:
    return [thread.name for thread in threading.enumerate()]


def joined(name: str) -> None:
    for thread in threading.enumerate():
        if thread.name == name:
            thread.join(10)


def test_it_is_done_at_once_and_again_until_it_is_stopped():
    work = Work()
    repeated = Repeated("again", work, 0.001)
    repeated.start()
    assert work.times(3)
    repeated.stop()
    joined("again")
    assert "again" not in names()


def test_stopping_waits_for_nothing():
    hangs, began = threading.Event(), threading.Event()
    repeated = Repeated("hanging", lambda: (began.set(), hangs.wait(10)), 60)
    repeated.start()
    assert began.wait(10)
    repeated.stop()
    assert "hanging" in names()
    hangs.set()
    joined("hanging")
    assert "hanging" not in names()


def test_work_that_fails_goes_on_and_is_logged_once_for_each_reason(caplog: pytest.LogCaptureFixture):
    work = Work(OSError("a"), OSError("a"), ValueError("b"), None, ValueError("b"))
    repeated = Repeated("failing", work, 0.001)
    repeated.start()
    assert work.times(6)
    repeated.stop()
    joined("failing")
    told = [record.fields for record in caplog.records]  # type: ignore[attr-defined]
    assert [one["reason"] for one in told] == ["OSError: a", "ValueError: b", "ValueError: b"]
    assert {one["what"] for one in told} == {"failing"}
