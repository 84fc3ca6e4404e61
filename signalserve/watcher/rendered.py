"""Statistics as the text that Prometheus reads, written when they change and not whenever somebody scrapes.

Two thirds of all series come from the journal and change every ten seconds at most; to write them takes longer than
everything else of a scrape.
"""

import logging
import math
import sqlite3
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from signalserve.log import event


class JournalCollector(Collector, ABC):
    """What is computed from the journal and shown as metrics."""

    @abstractmethod
    def refresh(self, connection: sqlite3.Connection) -> None:
        """Compute anew what has changed. Whatever it raises is logged, and shown is what `collect` then says."""


class Rendered(Collector):
    """One of the keeper's Statistics, made of several. text: of all, replaced as a whole; another thread reads it.

    A defect of one statistic stops no other and is no fault of the journal. As a Collector it tells when all were last
    computed: register it where scrapes read live.
    """

    def __init__(self, statistics: Sequence[JournalCollector], clock: Callable[[], float] = time.time) -> None:
        """clock: Unix time, s."""
        self._clock = clock
        self._computed_at = math.nan
        self._logged: set[tuple[str, str]] = set()
        self._registries = {one: CollectorRegistry() for one in statistics}
        for one, registry in self._registries.items():
            registry.register(one)
        self._texts = {one: generate_latest(registry) for one, registry in self._registries.items()}
        self.text = b"".join(self._texts.values())

    def refresh(self, connection: sqlite3.Connection) -> None:
        """Compute all anew. Raises nothing: what fails is logged, once for each kind until all goes well again."""
        faults = [fault for one in self._registries for fault in self._refreshed(one, connection)]
        self.text = b"".join(self._texts.values())
        if faults:
            return
        if self._logged:
            event(logging.INFO, "statistics_recovered")
            self._logged.clear()
        self._computed_at = self._clock()

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "signalserve_statistics_timestamp_seconds",
            "When all statistics were last computed without a fault, Unix time; NaN before",
            value=self._computed_at,
        )

    def _refreshed(self, one: JournalCollector, connection: sqlite3.Connection) -> Iterator[Exception]:
        """Computes and writes one, and yields what failed; what can't be written stays as it was."""
        try:
            one.refresh(connection)
        except Exception as error:
            self._log(one, error)
            yield error
        try:
            self._texts[one] = generate_latest(self._registries[one])
        except Exception as error:
            self._log(one, error)
            yield error

    def _log(self, one: JournalCollector, error: Exception) -> None:
        kind = type(one).__name__, type(error).__name__
        if kind not in self._logged:
            self._logged.add(kind)
            trace = "".join(traceback.format_exception(error))
            event(logging.ERROR, "statistics_failed", statistic=kind[0], reason=f"{kind[1]}: {error}", trace=trace)
