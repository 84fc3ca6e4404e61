"""What a worker writes into the journal's spool, and how it shouts when it can't.

A full or read-only disk loses rows, never predictions: they are counted, logged once, and written again as soon as that
works.
"""

import logging
import os
import secrets
import time
from collections.abc import Sequence
from pathlib import Path

from signalserve.bundle import Manifest
from signalserve.feeds import Feeds
from signalserve.journal import spool_of
from signalserve.journal.lines import BundleLine, ClosesLine, ConfigLine, EventLine, Line, PredictionLine
from signalserve.journal.spool import SpoolWriter
from signalserve.log import event
from signalserve.metrics import Metrics
from signalserve.models import Model, Models
from signalserve.request import Window
from signalserve.watched import WatchedSettings


class Recorder:
    """One worker's pen. Never raises: what can't be written is counted."""

    def __init__(
        self, endpoint: str, journal: Path, models: Models, settings: WatchedSettings, metrics: Metrics
    ) -> None:
        self._endpoint = endpoint
        self._bundles = [_bundle_line(model) for by in models.values() for model in by.values()]
        self._settings = settings
        self._metrics = metrics
        self._feeds = Feeds(f"{endpoint}-{os.getpid()}-{secrets.token_hex(4)}")
        self._lost = False
        self._spool = SpoolWriter(spool_of(journal), f"{endpoint}-{os.getpid()}", header=lambda: self._bundles)

    def write(self, lines: Sequence[Line]) -> None:
        """All lines in one write."""
        if not lines:
            return
        written = self._spool.append(lines)
        if not written:
            self._metrics.lost(sum(isinstance(line, PredictionLine) for line in lines))
        if written == self._lost:  # it changed for the better or the worse
            self._lost = not written
            self._metrics.journal(ok=written)
            level, name = (logging.WARNING, "journal_recovered") if written else (logging.ERROR, "journal_lost")
            event(level, name, endpoint=self._endpoint, reason=self._spool.error)

    def config(self, _: WatchedSettings) -> None:
        """Write down a serving.yaml that was taken or refused just now."""
        self.write([self._config_line()])

    def event(self, line: EventLine) -> None:
        self.write([line])

    def closes(self, window: Window, interval_ms: int) -> list[ClosesLine]:
        """The closing prices that a window brings and this worker has not told yet."""
        return self._feeds.news(window, interval_ms)

    def _config_line(self) -> ConfigLine:
        force = self._settings.in_force
        now_ms = time.time_ns() // 1_000_000
        return ConfigLine(force.sha256, force.text, now_ms, self._endpoint, os.getpid(), self._settings.error)


def _bundle_line(model: Model) -> BundleLine:
    manifest = model.bundle.manifest
    return BundleLine(
        model.bundle.sha256,
        manifest.generation,
        manifest.symbol,
        manifest.version,
        manifest.calibration.temperature,
        manifest.calibration.clamp,
        manifest.interval_ms,
        manifest.labels.horizon_bars if manifest.labels else None,
        manifest.labels.neutral_band if manifest.labels else None,
        _base_rates(manifest),
    )


def _base_rates(manifest: Manifest) -> list[float] | None:
    rates = manifest.report.get("base_rates")
    if not isinstance(rates, dict):
        return None
    return [float(rates[name]) for name in manifest.classes]
