"""Statistics as the text that Prometheus reads, written when they change and not whenever somebody scrapes.

Two thirds of all series come from the journal and change every ten seconds at most; to write them takes longer than
everything else of a scrape.
"""

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.registry import Collector


class JournalCollector(Collector, ABC):
    """What is computed from the journal and shown as metrics."""

    @abstractmethod
    def refresh(self, connection: sqlite3.Connection) -> None:
        """Compute anew what has changed. Raises sqlite3.Error."""


class Rendered:
    """One of the keeper's Statistics, made of several. text: of all, replaced as a whole; another thread reads it."""

    def __init__(self, statistics: Sequence[JournalCollector]) -> None:
        self._statistics = statistics
        self._registry = CollectorRegistry()
        for one in statistics:
            self._registry.register(one)
        self.text = generate_latest(self._registry)

    def refresh(self, connection: sqlite3.Connection) -> None:
        """Compute all anew. Raises sqlite3.Error, and shows then what was known before."""
        for one in self._statistics:
            one.refresh(connection)
        self.text = generate_latest(self._registry)
