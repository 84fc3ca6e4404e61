"""Recording is compared with not recording in the same round, asked for windows of its own each time."""

import dataclasses
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cost
import pytest
from cost import ALL_ARMS, OFF, ON, ONE_MODEL, POOL
from figures import Results
from load import HttpRequest, Summary
from programs import ROOT
from stores import BTC, as_archive, write_store

from signalserve.bundle import load_bundle, newest_bundles
from signalserve.settings import load_settings

SUMMARY = Summary(100, 0, 100.0, 1000.0, 2000.0, 1.0, {}, answered=200)


class Service:
    """A service whose watcher takes two seconds of processor time to settle."""

    def __init__(self) -> None:
        self.spent = 0.0
        self.program = SimpleNamespace(cpu_seconds=lambda: self.spent)

    def request(self, form: Any) -> HttpRequest:
        return HttpRequest(80, "/p", Path(form), {})

    def settle(self) -> None:
        self.spent += 2


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[HttpRequest]:
    asked: list[HttpRequest] = []
    monkeypatch.setattr(cost, "measure", lambda request, **_: (asked.append(request), SUMMARY)[1])
    return asked


def measured(moments: Iterator[int]) -> Results:
    results = Results()
    subjects: Any = {case: SimpleNamespace(forms={"npy": case.name}) for case in (POOL, ONE_MODEL)}
    services: Any = {name: Service() for name in (OFF, ON, ALL_ARMS)}
    cost.measure_round(results, services, subjects, moments, 1.0)
    return results


def within(ratio: float) -> bool:
    results = Results()
    results.add(POOL.key(OFF), SUMMARY)
    results.add(POOL.key(ON), dataclasses.replace(SUMMARY, p50_us=ratio * SUMMARY.p50_us))
    return cost.is_within(results)


def test_every_service_of_a_case_is_asked_and_no_window_twice(asked: list[HttpRequest]) -> None:
    results = measured(count(10, 5))
    assert [request.as_of for request in asked] == [10, 15, 20, 25, 30]
    keys = [case.key(name) for case in (POOL, ONE_MODEL) for name in case.services]
    assert list(results.rounds) == keys


def test_what_the_watcher_does_after_the_answers_counts_as_the_services_processor_time(
    asked: list[HttpRequest],
) -> None:
    [summary] = measured(count()).rounds[POOL.key(ON)]
    assert summary.cpu_ms == 2000 / SUMMARY.answered


def test_the_verdict_is_on_the_pool_recorded_against_not_recorded() -> None:
    assert within(1.09)
    assert not within(1.11)


def test_only_who_answers_and_the_shadows_differ_from_the_operators_settings(tmp_path: Path) -> None:
    source = ROOT / "serving.yaml"
    shipped = load_settings(source)
    for name, shadows in (("off", False), ("on", True)):
        settings = load_settings(cost.write_settings(tmp_path / name, source, score_all_arms=shadows))
        assert settings.of(POOL.symbol) == shipped.of(POOL.symbol).model_copy(update={"mode": "ensemble"})
        assert settings.of(ONE_MODEL.symbol) == shipped.of(ONE_MODEL.symbol).model_copy(update={"mode": "v8"})
        assert settings.score_all_arms == shadows
        assert settings.defaults == shipped.defaults


def test_windows_whose_other_arms_were_scored_are_counted_over_all_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    page = """# TYPE signalserve_shadows_total counter
signalserve_shadows_total{endpoint="ensemble",result="recorded"} 41.0
signalserve_shadows_total{endpoint="ensemble",result="dropped"} 1.0
signalserve_shadows_total{endpoint="v8",result="recorded"} 7.0
"""
    monkeypatch.setattr(cost.httpx, "get", lambda *_, **__: SimpleNamespace(text=page))
    service: Any = SimpleNamespace(watcher_url="")
    assert cost.shadows_of(service) == {"recorded": 41, "dropped": 1, "failed": 0}


def test_healthy_models_stay_in_while_their_guardrails_are_timed(tmp_path: Path) -> None:
    archive = as_archive(write_store(tmp_path / "archive", (BTC,), hidden=2, layers=1))
    manifest = load_bundle(newest_bundles(archive / "bundles")[0]).manifest
    subject: Any = SimpleNamespace(archive=archive, manifest=manifest)
    assert cost.measure_guardrails(subject, tmp_path) > 0
    assert list((tmp_path / cost.LATCHES).iterdir()) == []
