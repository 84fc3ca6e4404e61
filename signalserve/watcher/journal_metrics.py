"""What the watcher shows of the journal and of the models that are out, for /metrics."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from signalserve.latches import read_latches
from signalserve.watcher.keeper import BUSY_S, Keeper


class JournalMetrics(Collector):
    """The journal, of which what waits is looked at now, and the database as its keeper last saw it: left out until it
    was seen once.

    A counter that stood at 0 until then would look like a reset, and then like a burst.
    """

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper

    def collect(self) -> Iterator[Metric]:
        keeper, snapshot = self._keeper, self._keeper.snapshot
        yield _gauge(
            "signalserve_journal_ok",
            f"1 while the journal is written, 0 while it can't be, or the watcher is busy for over {BUSY_S:g} s",
            not keeper.fault,
        )
        yield _gauge(
            "signalserve_journal_waiting_bytes", "Written by workers and not in the database yet", keeper.waiting_bytes
        )
        yield _gauge(
            "signalserve_journal_behind_seconds",
            "Since the database last held all that could be read, or since the watcher's start; 0 while nothing waits",
            keeper.behind_s,
        )
        if snapshot is None:
            return
        yield _gauge("signalserve_journal_bytes", "Size of the database on disk", snapshot.database_bytes)
        yield _gauge("signalserve_journal_rows", "Predictions kept, one for each arm", snapshot.rows)
        yield _gauge(
            "signalserve_outcomes_overdue", "Predictions whose outcome should be known for a day", snapshot.overdue
        )
        yield _gauge(
            "signalserve_journal_unreadable_spools",
            "Spool files that were passed over because they can't be opened, read or deleted",
            len(snapshot.unreadable),
        )
        counts = CounterMetricFamily(
            "signalserve_journal_counts", "What the journal saw and left out since it was begun", labels=["what"]
        )
        for what, value in snapshot.counts.items():
            counts.add_metric([what], value)
        yield counts


class ModelsOut(Collector):
    """Which models a guardrail has taken out."""

    def __init__(self, folder: Path, models: Mapping[tuple[str, str, str], str]) -> None:
        """folder: of the latches.  models: (endpoint, symbol, generation) -> sha256 of the bundle in force, for which
        the latch of another version does not hold.
        """
        self._folder = folder
        self._models = models

    def names(self) -> list[tuple[str, str, str]]:
        """(endpoint, symbol, generation) of every model in force that is out."""
        latches = read_latches(self._folder)
        found = {(latch.endpoint, latch.symbol, latch.generation, latch.sha256) for latch in latches}
        return [names for names, sha256 in self._models.items() if (*names, sha256) in found]

    def collect(self) -> Iterator[Metric]:
        out = GaugeMetricFamily(
            "signalserve_model_out",
            "1 while a guardrail keeps the model from answering, until signalserve toggle clear",
            labels=["endpoint", "symbol", "generation"],
        )
        found = self.names()
        for names in self._models:
            out.add_metric(names, names in found)
        yield out


def _gauge(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(name, documentation, value=value)
