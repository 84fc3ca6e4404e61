"""Statistics as text: one that fails stops no other, and when all went well is told."""

import logging
import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from signalserve.watcher.rendered import JournalCollector, Rendered


class Counted(JournalCollector):
    """Shows how often it was refreshed; fault, unwritable: raised by the refresh, by the writing."""

    def __init__(self, name: str) -> None:
        self.name, self.times = name, 0
        self.fault: Exception | None = None
        self.unwritable: Exception | None = None

    def refresh(self, connection: sqlite3.Connection) -> None:
        if self.fault:
            raise self.fault
        self.times += 1

    def collect(self) -> Iterator[Metric]:
        if self.unwritable:
            raise self.unwritable
        yield GaugeMetricFamily(self.name, "times", value=self.times)


class Desk:
    def __init__(self) -> None:
        self.first, self.second, self.seconds = Counted("first"), Counted("second"), 100.0
        self.rendered = Rendered([self.first, self.second], clock=lambda: self.seconds)

    def refresh(self) -> list[str]:
        """The values that it then shows."""
        with closing(sqlite3.connect(":memory:")) as connection:
            self.rendered.refresh(connection)
        return [line for line in self.rendered.text.decode().splitlines() if not line.startswith("#")]

    @property
    def computed_at(self) -> float | None:
        registry = CollectorRegistry()
        registry.register(self.rendered)
        return registry.get_sample_value("signalserve_statistics_timestamp_seconds")


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.mark.parametrize("fault", [ZeroDivisionError("a defect"), sqlite3.DatabaseError("malformed")])
def test_one_that_fails_stops_no_other_and_raises_nothing(desk: Desk, fault: Exception):
    desk.first.fault = fault
    assert desk.refresh() == ["first 0.0", "second 1.0"]
    desk.first.fault = None
    assert desk.refresh() == ["first 1.0", "second 2.0"]


def test_one_that_can_not_be_written_stays_as_it_was(desk: Desk):
    desk.refresh()
    desk.second.unwritable = ValueError("a label too many")
    assert desk.refresh() == ["first 2.0", "second 1.0"]


def test_when_all_went_well_is_told_and_ages_while_one_fails(desk: Desk):
    assert desk.computed_at is not None and math.isnan(desk.computed_at)
    desk.refresh()
    assert desk.computed_at == 100
    desk.second.fault, desk.seconds = ZeroDivisionError("a defect"), 200.0
    desk.refresh()
    assert desk.computed_at == 100
    desk.second.fault = None
    desk.refresh()
    assert desk.computed_at == 200


def test_each_kind_of_fault_is_logged_once_until_all_is_well(desk: Desk, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO, "signalserve"):
        for fault in (ZeroDivisionError("a"), ZeroDivisionError("b"), KeyError("c"), None, ZeroDivisionError("d")):
            desk.first.fault = fault
            desk.refresh()
    said = [(record.getMessage(), record.fields.get("reason")) for record in caplog.records]
    assert said == [
        ("statistics_failed", "ZeroDivisionError: a"),
        ("statistics_failed", "KeyError: 'c'"),
        ("statistics_recovered", None),
        ("statistics_failed", "ZeroDivisionError: d"),
    ]
    assert "Traceback" in caplog.records[0].fields["trace"]
    assert caplog.records[0].fields["statistic"] == "Counted"
