"""Drift as metrics: every arm's last predictions beside what its reference looked like."""

import math
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from signalserve import CLASSES
from signalserve.drift import FEWEST, WINDOWS
from signalserve.drift.reference import Reference
from signalserve.drift.stream import Stream
from signalserve.drift.watch import BIN_NAMES, NOTHING, Drift, Measured, distributions_of, measure, statistics_of
from signalserve.journal.reading import Said, last_predictions, maker
from signalserve.watcher.references import References
from signalserve.watcher.rendered import JournalCollector

Pair = tuple[str, str]

TARGET_DAYS: Final = 30.0
"""Between false alarms of all arms together: one a month is heeded, one a day is switched off."""

SILENT_S: Final = 2 * 3600.0
"""After which an arm that answers nobody shows nothing: its last windows are no news of what is served."""

_UNKNOWN: Final = Measured(math.nan)


class DriftMetrics(JournalCollector):
    """The drift of each symbol and arm, of what the model or pool of its newest prediction made.

    Every series is there from the start; NaN while it is not known. Not Gauges, which would write to the workers'
    folder.
    """

    def __init__(
        self,
        known: Iterable[Pair],
        references: References,
        target_days: float = TARGET_DAYS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """known: each (symbol, arm) that can answer.  target_days: between false alarms over all of them together.
        clock: the workers' one, seconds since the epoch.
        """
        self.drifts: Mapping[Pair, Drift] = dict.fromkeys(sorted(known), NOTHING)
        self._references = references
        self._days = target_days * max(1, len(self.drifts))
        self._largest_z: dict[Pair, float] = {pair: math.nan for pair in self.drifts if pair[1] != "ensemble"}
        self._seen: dict[Pair, tuple[object, ...]] = {}
        self._clock = clock

    def refresh(self, connection: sqlite3.Connection) -> None:
        """Measure the arms anew that said something since the last time.

        An arm that fails shows nothing, and is tried again the next time. Raises ExceptionGroup of what failed, after
        all others were measured.
        """
        drifts, errors = {}, []
        for pair in self.drifts:
            try:
                drifts[pair] = self._measured(connection, pair)
            except Exception as error:
                error.add_note(f"of {pair[1]} for {pair[0]}")
                errors.append(error)
                drifts[pair] = self._nothing(pair)
        self.drifts = drifts  # replaced as a whole: another thread reads it
        if errors:
            raise ExceptionGroup("drift was not measured of every arm", errors)

    def _nothing(self, pair: Pair, reference: Reference | None = None) -> Drift:
        self._seen.pop(pair, None)
        if pair in self._largest_z:
            self._largest_z[pair] = math.nan
        return replace(NOTHING, reference_counts=reference.counts) if reference else NOTHING

    def _measured(self, connection: sqlite3.Connection, pair: Pair) -> Drift:
        made_by = maker(connection, *pair)
        # None: a journal that was begun anew; not in force: of a bundle that is served no more
        if made_by is None or not self._references.in_force(made_by):
            return self._nothing(pair)
        reference = self._references.of(made_by)
        newest, received_ms = _newest(connection, pair)
        if self._clock() - received_ms / 1000 > SILENT_S:
            return self._nothing(pair, reference)
        state = (made_by, reference is None, newest)
        if self._seen.get(pair) == state:
            return self.drifts[pair]
        too_long = reference.run_limit.limit(self._days) if reference else None
        said = last_predictions(connection, *pair, max(WINDOWS[-1], math.ceil(too_long or 0) + 1))
        if pair in self._largest_z:
            self._largest_z[pair] = float(np.fmax.reduce(said.largest_z[-WINDOWS[0] :], initial=math.nan))
        drift = measure(stream_of(said), reference, clamp=self._references.clamp_of(made_by), days=self._days)
        self._seen[pair] = state  # what fails before is tried again
        return drift

    def collect(self) -> Iterator[Metric]:
        of_window, of_statistic = ("window",), ("window", "statistic")
        value = _gauge(
            "drift", f"A window against its reference, by statistic; NaN under {FEWEST} predictions", *of_statistic
        )
        limit = _gauge("drift_limit", "What its absolute value must not pass; NaN where there is none", *of_statistic)
        n = _gauge("drift_n", "Predictions in the window", *of_window)
        effective = _gauge("drift_effective_n", "How many independent ones they are worth", *of_window)
        count = _gauge("drift_window_count", "Predictions of the window in each bin", *of_statistic, "bin")
        before = _gauge("drift_reference_count", "Predictions of the reference in each bin", "statistic", "bin")
        known = _gauge("drift_reference", "1 where what answers has a reference with limits")
        share = _gauge("class_share", f"Share of a class over the last {WINDOWS[-1]} predictions", "direction")
        floor = _gauge("class_share_floor", "Too small a share; NaN where a day without it is usual", "direction")
        run = _gauge("class_run", "How many predictions on end have said the same")
        largest_z = _gauge("scaled_feature_max", f"Largest |scaled feature| of the last {WINDOWS[0]} predictions")
        run_limit = _gauge("class_run_limit", "Too many on end; NaN where it is not known, or usual")
        for pair, drift in self.drifts.items():
            arm = pair[1]
            for window in WINDOWS:
                found, labels = drift.windows[window], (*pair, str(window))
                n.add_metric(labels, found.n)
                effective.add_metric(labels, found.effective_n)
                for name in statistics_of(arm):
                    measured = found.measured.get(name, _UNKNOWN)
                    value.add_metric((*labels, name), measured.value)
                    limit.add_metric((*labels, name), measured.limit)
                for name in distributions_of(arm):
                    _add_bins(count, (*labels, name), BIN_NAMES[name], found.counts.get(name))
            for name in distributions_of(arm):
                _add_bins(before, (*pair, name), BIN_NAMES[name], drift.reference_counts.get(name))
            known.add_metric(pair, bool(drift.reference_counts))
            for direction in CLASSES:
                share.add_metric((*pair, direction), drift.class_shares[direction].value)
                floor.add_metric((*pair, direction), drift.class_shares[direction].limit)
            run.add_metric(pair, drift.run.value)
            run_limit.add_metric(pair, drift.run.limit)
            if pair in self._largest_z:
                largest_z.add_metric(pair, self._largest_z[pair])
        yield from (value, limit, n, effective, count, before, known, share, floor, run, run_limit, largest_z)


def stream_of(said: Said) -> Stream:
    """What the journal holds of an arm, as the drift package reads it."""
    has_logits = not np.isnan(said.raw_logits[:, 0]).all() if len(said.raw_logits) else False
    largest = np.fmax.reduce(np.abs(said.raw_logits), axis=1) if has_logits else None
    return Stream(said.time_ms, said.probabilities, largest, said.off_scale if has_logits else None)


def _newest(connection: sqlite3.Connection, pair: Pair) -> tuple[int, int]:
    """row_id of the newest by its time, and when the last of the shortest window was received, ms: a caller may send
    a time far ahead, which stays the newest."""
    rows = connection.execute(
        "SELECT row_id, received_ms FROM predictions WHERE symbol = ? AND arm = ? AND left_out IS NULL"
        " ORDER BY time_ms DESC LIMIT ?",
        (*pair, WINDOWS[0]),
    ).fetchall()
    return rows[0][0], max(received_ms for _, received_ms in rows)


def _add_bins(
    gauge: GaugeMetricFamily, labels: tuple[str, ...], names: Sequence[str], counts: Sequence[int] | None
) -> None:
    for i, name in enumerate(names):
        gauge.add_metric((*labels, name), math.nan if counts is None else counts[i])


def _gauge(name: str, documentation: str, *more_labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"signalserve_{name}", documentation, labels=["symbol", "arm", *more_labels])
