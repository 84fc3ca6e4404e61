"""Live quality as metrics: computed by the thread that owns the database, read by whoever scrapes."""

import logging
import math
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from signalserve.journal.counts import read_counts
from signalserve.journal.reading import arms
from signalserve.log import event
from signalserve.metrics import CONFIDENCE_EDGES
from signalserve.watcher.calibration_gap import TARGET_DAYS, Gap, GapLimit
from signalserve.watcher.quality import NOTHING, WINDOW, Baseline, Bin, Figure, Quality, Scores, live_quality
from signalserve.watcher.rendered import JournalCollector

Pair = tuple[str, str]

_NAN: Final = Figure(math.nan, None)
_NO_BASELINE: Final = Baseline((), math.nan, math.nan, math.nan)
_TOO_FEW: Final = Scores(
    effective_n=None,
    accuracy=_NAN,
    nll=_NAN,
    brier=_NAN,
    before=None,
    hindsight=_NO_BASELINE,
    gap=Gap(math.nan, math.nan, None),
    bins=tuple(Bin(edge, 0, None, None) for edge in CONFIDENCE_EDGES),
)


class LiveQuality(JournalCollector):
    """The quality of each symbol and arm on the last WINDOW outcomes, as far as the model or pool of the newest
    prediction made them.

    A model that knows no NEUTRAL is judged where UP or DOWN came, and its baselines are of those two.
    Every series is there from the start. While outcomes are too few, counts of what was judged are 0 and all else is
    NaN: no alert fires on it, and a 0 would be a claim. Not Gauges, which would write to the workers' folder.
    """

    def __init__(self, known: Iterable[Pair] = (), target_days: float = TARGET_DAYS) -> None:
        """known: each (symbol, arm) that can answer, whether it has or not.  target_days: between false alarms of their
        confidence gaps, over all of them together.
        """
        self._qualities: Mapping[Pair, Quality] = dict.fromkeys(sorted(known), NOTHING)
        self._gap_limit = GapLimit(target_days, streams=max(1, len(self._qualities)))
        self._wrong: dict[Pair, bool] = {}
        self._joined: int | None = None

    def refresh(self, connection: sqlite3.Connection) -> None:
        """Compute anew if outcomes were joined since the last time. Raises sqlite3.Error."""
        joined = read_counts(connection)["outcomes_joined"]
        if joined == self._joined:
            return
        qualities = dict.fromkeys(self._qualities, NOTHING)
        for pair in arms(connection):
            qualities[pair] = live_quality(connection, *pair)
        self._qualities = qualities  # replaced as a whole: another thread reads it
        self._joined = joined
        for pair, quality in qualities.items():
            self._say_gap(pair, quality)

    def _say_gap(self, pair: Pair, quality: Quality) -> None:
        """One log line when confidence stops meaning what it says, and when it errs the other way."""
        words = self._gap_limit.words(quality.scores.gap) if quality.scores else None
        if words is None or quality.scores is None:
            self._wrong.pop(pair, None)
            return
        is_over = quality.scores.gap.value > 0
        if self._wrong.get(pair) != is_over:
            symbol, arm = pair
            event(logging.WARNING, "confidence_gap", symbol=symbol, arm=arm, outcomes=quality.n, reason=words)
        self._wrong[pair] = is_over

    def collect(self) -> Iterator[Metric]:
        outcomes = _gauge(
            "outcomes",
            f"Outcomes that are judged: of the last {WINDOW} of counted predictions, those by what makes them now",
        )
        left_out = _gauge("neutral_left_out", "Outcomes not judged beside them: NEUTRAL, which the model does not know")
        effective = _gauge(
            "effective_outcomes", "How many independent hits and misses they are worth, since labels overlap"
        )
        accuracy = _gauge("accuracy", "Share of the outcomes that the likeliest class was right about")
        nll = _gauge("nll", "Mean negative log-likelihood of the outcomes, nats")
        brier = _gauge("brier", "Mean Brier score of the outcomes, summed over the classes, 0 to 2")
        gap = _gauge(
            "confidence_gap", "Mean confidence less accuracy of the outcomes; above 0 it claims more than it keeps"
        )
        gap_limit = _gauge(
            "confidence_gap_limit",
            "The gap, of either sign, that a calibrated model hardly ever passes, by their overlap",
        )
        known = "known: before, where the model learned, or in hindsight, these outcomes' own shares"
        base_accuracy = _gauge("base_accuracy", f"Accuracy of always saying the commonest class; {known}", "known")
        base_nll = _gauge("base_nll", f"NLL of always forecasting the class shares; {known}", "known")
        base_brier = _gauge("base_brier", f"Brier score of always forecasting the class shares; {known}", "known")
        inside = "with a confidence up to le and above the le before it: not cumulative"
        count = _gauge("reliability_count", f"Outcomes of predictions {inside}", "le")
        confidence = _gauge("reliability_confidence", f"Mean confidence of predictions {inside}", "le")
        right = _gauge("reliability_right", f"Share that was right of predictions {inside}", "le")
        for pair, quality in self._qualities.items():
            scores = quality.scores or _TOO_FEW
            outcomes.add_metric(pair, quality.n)
            left_out.add_metric(pair, quality.neutral_left_out)
            effective.add_metric(pair, _number(scores.effective_n))
            for gauge, figure in ((accuracy, scores.accuracy), (nll, scores.nll), (brier, scores.brier)):
                gauge.add_metric(pair, figure.value)
            gap.add_metric(pair, scores.gap.value)
            gap_limit.add_metric(pair, _number(self._gap_limit.of(scores.gap)))
            for when, baseline in (("before", scores.before or _NO_BASELINE), ("hindsight", scores.hindsight)):
                base_accuracy.add_metric((*pair, when), baseline.accuracy)
                base_nll.add_metric((*pair, when), baseline.nll)
                base_brier.add_metric((*pair, when), baseline.brier)
            for one in scores.bins:
                labels = (*pair, str(one.edge))
                count.add_metric(labels, one.count)
                confidence.add_metric(labels, _number(one.confidence))
                right.add_metric(labels, _number(one.right))
        yield from (outcomes, left_out, effective, accuracy, nll, brier, gap, gap_limit)
        yield from (base_accuracy, base_nll, base_brier, count, confidence, right)


def _gauge(name: str, documentation: str, *more_labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"signalserve_live_{name}", documentation, labels=["symbol", "arm", *more_labels])


def _number(value: float | None) -> float:
    return math.nan if value is None else value
