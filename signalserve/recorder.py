"""What a worker writes into the journal's spool, and how it shouts when it can't.

A full or read-only disk loses rows, never predictions: they are counted, logged once, and written again as soon as that
works.
"""

import logging
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from signalserve.bundle import Manifest
from signalserve.feeds import Feeds
from signalserve.item import Item
from signalserve.journal import spool_of
from signalserve.journal.lines import BundleLine, ConfigLine, EventLine, Line, PredictionLine
from signalserve.journal.spool import SpoolWriter
from signalserve.log import event
from signalserve.metrics import Metrics
from signalserve.models import Model, Models
from signalserve.request import SymbolSchema
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
        self._spool = SpoolWriter(spool_of(journal), f"{endpoint}-{os.getpid()}", header=self._header)

    def predictions(
        self, items: Sequence[Item], line_of: Callable[[Item], PredictionLine], schemas: Mapping[str, SymbolSchema]
    ) -> None:
        """Write down what was just answered, with the prices that it brought.

        line_of: an item's line, once its `feed` is known.
        """
        before = self._feeds.state
        lines: list[Line] = []
        for item in items:
            news = self._feeds.news(item.window, schemas[item.window.symbol].interval_ms)
            item.feed = news.feed
            lines += [line_of(item), *news.lines]
        if not self.write(lines):
            self._feeds.state = before

    def write(self, lines: Sequence[Line]) -> bool:
        """All lines in one write; False where they are lost."""
        if not lines:
            return True
        written = self._spool.append(lines)
        if not written:
            self._metrics.lost(sum(isinstance(line, PredictionLine) for line in lines))
        if written == self._lost:  # it changed for the better or the worse
            self._lost = not written
            self._metrics.journal(ok=written)
            level, name = (logging.WARNING, "journal_recovered") if written else (logging.ERROR, "journal_lost")
            event(level, name, endpoint=self._endpoint, reason=self._spool.error)
        return written

    def config(self, _: WatchedSettings) -> None:
        """Write down a serving.yaml that was taken or refused just now."""
        self.write([self._config_line()])

    def event(self, line: EventLine) -> None:
        self.write([line])

    def _header(self) -> Sequence[Line]:
        return [*self._bundles, self._config_line()]

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
    """Shares of the classes where the model learned: what could be forecast without a model before anything came."""
    rates = manifest.report.get("train_base_rates") or manifest.report.get("calibration_base_rates")
    if not isinstance(rates, dict):
        return None
    return [float(rates[name]) for name in manifest.classes]
