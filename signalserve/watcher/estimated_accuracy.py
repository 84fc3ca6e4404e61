"""What accuracy would be if confidence meant what it says, of predictions whose outcome nobody knows yet.

The mean confidence: a calibrated model is right as often as it is confident. Once the outcomes are in, the confidence
gap (`calibration_gap.py`) says whether it was. It is no finding but the mean of what was said, exact for however few.
A model that knows no NEUTRAL has no such estimate: its confidence is about moves, and how many of these predictions
will be followed by one, it does not say. NEUTRAL comes in a rest, and a model may be less sure before a rest.
Source: Garg et al. 2022, Leveraging Unlabeled Data to Predict Out-of-Distribution Performance ("average confidence").
"""

import math
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from signalserve.journal.reading import arms, maker
from signalserve.watcher.quality import WINDOW
from signalserve.watcher.rendered import JournalCollector

Pair = tuple[str, str]

# the index tells which of the last have no outcome: only their rows are read, a dozen of a day's
_MEAN_CONFIDENCE: Final = """
    WITH last AS (
        SELECT row_id, outcome FROM predictions WHERE symbol = :symbol AND arm = :arm AND left_out IS NULL
        ORDER BY time_ms DESC LIMIT :most
    ), newest AS (
        SELECT bundle_id, pool, temperature FROM predictions
        WHERE symbol = :symbol AND arm = :arm AND left_out IS NULL ORDER BY time_ms DESC LIMIT 1
    )
    SELECT avg(max(p_down, p_neutral, p_up)) FROM predictions, newest
    WHERE row_id IN (SELECT row_id FROM last WHERE outcome IS NULL) AND predictions.bundle_id IS newest.bundle_id
    AND predictions.pool IS newest.pool AND predictions.temperature = newest.temperature
"""


def estimated_accuracy(connection: sqlite3.Connection, symbol: str, arm: str) -> float | None:
    """The mean confidence of those of the arm's last WINDOW predictions that count, are made as its newest is made, and
    have no outcome; None where there are none, or the model knows no NEUTRAL.
    """
    made = maker(connection, symbol, arm)
    if made is None or not made.knows_neutral:
        return None
    [estimate] = connection.execute(_MEAN_CONFIDENCE, {"symbol": symbol, "arm": arm, "most": WINDOW}).fetchone()
    return None if estimate is None else float(estimate)


class EstimatedAccuracy(JournalCollector):
    """Of each symbol and arm; every series is there from the start, NaN where there is no estimate."""

    def __init__(self, known: Iterable[Pair] = ()) -> None:
        """known: each (symbol, arm) that can answer, whether it has or not."""
        self._estimates: Mapping[Pair, float | None] = dict.fromkeys(sorted(known))

    def refresh(self, connection: sqlite3.Connection) -> None:
        """Compute anew. Raises sqlite3.Error."""
        found = {pair: estimated_accuracy(connection, *pair) for pair in arms(connection)}
        self._estimates = {**dict.fromkeys(self._estimates), **found}  # replaced as a whole: another thread reads it

    def collect(self) -> Iterator[Metric]:
        gauge = GaugeMetricFamily(
            "signalserve_live_estimated_accuracy",
            "Mean confidence of predictions whose outcome is awaited: their accuracy if confidence means what it says",
            labels=["symbol", "arm"],
        )
        for pair, estimate in self._estimates.items():
            gauge.add_metric(pair, math.nan if estimate is None else estimate)
        yield gauge
