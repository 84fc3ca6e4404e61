"""A service that is watched is compared with one that is not, of which only one runs at a time."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import watching
from load import HttpRequest, Summary
from watching import OFF, ON, Measured

SUMMARY = Summary(100, 0, 100.0, 1000.0, 2000.0, 1.0, {}, answered=200)


class Fake:
    """A program, or a process of one, that takes a tenth of a second of processor time whenever it is looked at."""

    def __init__(self, log: list[str], name: str) -> None:
        self._log, self._name, self._spent = log, name, 0.0

    @contextmanager
    def suspended(self) -> Iterator[None]:
        self._log.append(f"{self._name} stands")
        yield
        self._log.append(f"{self._name} goes on")

    def cpu_seconds(self) -> float:
        self._spent += 0.1
        return self._spent

    def cpu_times(self) -> Any:
        return SimpleNamespace(user=self.cpu_seconds(), system=0.0)

    def memory_full_info(self) -> Any:
        return SimpleNamespace(rss=3e6, pss=2e6)


class System:
    def __init__(self, log: list[str], name: str, programs: list[str]) -> None:
        self.programs = [Fake(log, program) for program in programs]
        self.service = SimpleNamespace(
            request=lambda form: HttpRequest(80, f"/{name}", Path(form), {}), settle=lambda: log.append("settled")
        )
        self._processes = {program: Fake(log, program) for program in programs}

    def background(self) -> dict[str, Fake]:
        return self._processes


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What happened, in its order."""
    log: list[str] = []

    def measure(request: HttpRequest, **_: object) -> Summary:
        log.append(f"{request.path} asked for {request.body} from {request.as_of}")
        return SUMMARY

    @contextmanager
    def asked_every_second(requests: list[HttpRequest]) -> Iterator[None]:
        log.append(f"beside it {', '.join(str(request.body) for request in requests)}")
        yield

    monkeypatch.setattr(watching, "measure", measure)
    monkeypatch.setattr(watching, "asked_every_second", asked_every_second)
    return log


def measured_round(log: list[str]) -> Measured:
    measured = Measured()
    subjects: Any = {name: SimpleNamespace(forms={"npy": name}) for name in ("ETH", "BTC")}
    systems: Any = {ON: System(log, "on", ["on", "prometheus"]), OFF: System(log, "off", ["off"])}
    watching.measure_round(measured, systems, subjects, count(10, 5), 1.0)
    return measured


def measured_at(ratio: float) -> Measured:
    measured = Measured()
    measured.results.add(watching._key(OFF), SUMMARY)
    measured.results.add(watching._key(ON), dataclasses.replace(SUMMARY, p50_us=ratio * SUMMARY.p50_us))
    return measured


def test_one_is_asked_while_all_of_the_other_stands_still(log: list[str]) -> None:
    measured_round(log)
    assert log == [
        *("off stands", "beside it ETH", "/on asked for BTC from 10", "settled", "off goes on"),
        *("on stands", "prometheus stands", "beside it ETH", "/off asked for BTC from 15", "settled"),
        *("prometheus goes on", "on goes on"),
    ]


def test_processor_time_of_prometheus_counts_as_the_watched_services(log: list[str]) -> None:
    results = measured_round(log).results
    assert results.rounds[watching._key(ON)][0].cpu_ms == pytest.approx(200 / SUMMARY.answered)
    assert results.rounds[watching._key(OFF)][0].cpu_ms == pytest.approx(100 / SUMMARY.answered)


def test_what_watches_is_told_apart_by_system_and_process(log: list[str]) -> None:
    uses = measured_round(log).uses
    assert list(uses) == [(ON, "on"), (ON, "prometheus"), (OFF, "off")]
    [use] = uses[ON, "prometheus"]
    assert (use.rss_mb, use.pss_mb) == (3, 2)
    assert use.core > 0


def test_the_verdict_is_on_the_median_of_the_watched_over_the_unwatched() -> None:
    assert measured_at(1.09).is_within()
    assert not measured_at(1.11).is_within()


def test_a_turn_holds_whole_intervals_of_statistics_and_scrapes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["watching.py", "--seconds", "40"])
    with pytest.raises(SystemExit):
        watching._arguments()
    assert "expected a multiple of 30" in capsys.readouterr().err
