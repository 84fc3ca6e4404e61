"""Drift as Prometheus sees it, against sums of the journal's rows done by hand."""

import json
import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drift_streams import plain_counts, plain_psi, pool_of, weak_stream
from journals import ARM, START_MS, SYMBOL, add_bundle, add_prediction, new_journal
from prometheus_client import CollectorRegistry

from signalserve import CLASSES
from signalserve.drift import DAY, STATISTICS, WINDOWS
from signalserve.drift.limits import simulate_limits
from signalserve.drift.reference import Reference, make_reference
from signalserve.drift.stream import Stream
from signalserve.journal.reading import Maker
from signalserve.watcher import drift_metrics
from signalserve.watcher.drift_metrics import SILENT_S, TARGET_DAYS, DriftMetrics

SYMBOLS, ARMS = ("BTC-USD", "ETH-USD", "SOL-USD"), ("v6_fixed", "v8", "ensemble")
PAIRS = [(symbol, arm) for symbol in SYMBOLS for arm in ARMS]
LABELS = {"symbol": SYMBOL, "arm": ARM}
TEMPERATURE = 3.0


def made(stream: Stream, clamp: float | None, columns: int | None) -> Reference:
    return make_reference(stream, simulate_limits(stream, simulated_days=40), clamp=clamp, columns=columns)


@pytest.fixture(scope="module")
def reference() -> Reference:
    return made(weak_stream(2000), 15.0, 72)


@pytest.fixture(scope="module")
def of_pool() -> Reference:
    return made(pool_of(weak_stream(2000)), None, None)


@dataclass
class Known:
    """In place of References: what is there, and what was asked for."""

    model: Reference | None = None
    pool: Reference | None = None
    asked: list[Maker] = field(default_factory=list)
    models: tuple[str, ...] = ("beef", "cafe")

    def of(self, maker: Maker) -> Reference | None:
        self.asked.append(maker)
        return self.model if maker.method is None else self.pool

    def in_force(self, maker: Maker) -> bool:
        return all(model.sha256 in self.models for model in maker.models)

    def clamp_of(self, maker: Maker) -> float | None:
        return 15.0 if maker.method is None else None


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(new_journal(tmp_path)) as connection:
        yield connection


def add_stream(journal: sqlite3.Connection, logits: np.ndarray, first: int = 0, **columns: Any) -> None:
    """A prediction a minute with these raw logits, (n, 3)."""
    raised = np.exp(logits / TEMPERATURE)
    probabilities = raised / raised.sum(axis=1, keepdims=True)
    journal.execute("BEGIN")
    for minute, (p, raw) in enumerate(zip(probabilities.tolist(), logits.tolist(), strict=True), start=first):
        columns_of = {"logits": (None,) * 3, "bundle_id": None} if "pool" in columns else {"logits": raw}
        add_prediction(journal, minute, **{"p": p, "temperature": TEMPERATURE, **columns_of, **columns})
    journal.execute("COMMIT")


def logits(n: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=0.6, size=(n, 3))


def started() -> float:
    return START_MS / 1000


def refreshed(journal: sqlite3.Connection, known: Known, pairs: list[tuple[str, str]] = PAIRS) -> DriftMetrics:
    drift = DriftMetrics(pairs, known, clock=started)  # type: ignore[arg-type]
    drift.refresh(journal)
    return drift


def value(drift: DriftMetrics, name: str, **labels: Any) -> float:
    registry = CollectorRegistry()
    registry.register(drift)
    found = registry.get_sample_value(f"signalserve_{name}", {**LABELS, **{key: str(v) for key, v in labels.items()}})
    assert found is not None, f"no series {name} {labels}"
    return found


def series_of(drift: DriftMetrics) -> list[tuple[str, tuple[tuple[str, str], ...]]]:
    return sorted((one.name, tuple(sorted(one.labels.items()))) for family in drift.collect() for one in family.samples)


# ---- which series there are


def test_every_series_is_there_from_the_start_and_no_more_come(journal, reference, of_pool):
    drift = DriftMetrics(PAIRS, Known(reference, of_pool), clock=started)
    before = series_of(drift)
    for symbol in SYMBOLS:
        add_stream(journal, logits(130), symbol=symbol)
        add_stream(journal, logits(130), symbol=symbol, arm="v6_fixed")
        add_stream(journal, logits(130), symbol=symbol, arm="ensemble", pool=pool_json(0.4))
    drift.refresh(journal)
    assert series_of(drift) == before
    assert len(before) == len(set(before)) < 2000  # of the 3,000 that all of /metrics may have
    of_model = {labels for name, labels in before if name == "signalserve_drift" and ("arm", "v8") in labels}
    assert len(of_model) == len(SYMBOLS) * len(WINDOWS) * len(STATISTICS)


def test_before_the_first_prediction_nothing_is_a_number_but_counts(journal, reference):
    drift = refreshed(journal, Known(reference))
    assert value(drift, "drift_n", window=120) == 0
    assert value(drift, "drift_reference") == 0
    for name in ("drift", "drift_limit"):
        assert math.isnan(value(drift, name, window=120, statistic="confidence_psi"))
    for name in ("class_run", "class_run_limit", "scaled_feature_max"):
        assert math.isnan(value(drift, name))
    assert math.isnan(value(drift, "drift_window_count", window=120, statistic="class_psi", bin="UP"))


def test_a_pool_has_no_series_of_logits_and_features(journal):
    of_pool = {labels for _, labels in series_of(DriftMetrics(PAIRS, Known())) if ("arm", "ensemble") in labels}
    told = {dict(labels).get("statistic") for labels in of_pool} - {None}
    assert told == {"confidence_psi", "class_psi", "confidence_shift", "saturation_rate"}


# ---- what they say


def test_too_few_predictions_are_counted_and_are_no_number(journal, reference):
    add_stream(journal, logits(99))
    drift = refreshed(journal, Known(reference))
    assert value(drift, "drift_n", window=120) == 99
    assert value(drift, "drift_reference") == 1
    for name in STATISTICS:
        assert math.isnan(value(drift, "drift", window=120, statistic=name))
    assert math.isnan(value(drift, "drift_effective_n", window=120))
    add_stream(journal, logits(1, seed=2), first=99)
    drift = refreshed(journal, Known(reference))
    assert value(drift, "drift", window=120, statistic="confidence_psi") > 0


@pytest.mark.parametrize("window", WINDOWS)
def test_every_figure_follows_from_the_journals_rows(journal, reference, window):
    said = logits(1500)
    said[-30:, 2] = 40.0  # beyond the clamp of 15
    add_stream(journal, said[:-50])
    add_stream(journal, said[-50:], first=1450, off_scale=0.25)
    add_prediction(journal, 1500, p=(1.0, 0.0, 0.0), left_out="repeat")
    drift = refreshed(journal, Known(reference))
    rows = journal.execute(
        "SELECT max(p_down, p_neutral, p_up), max(abs(logit_down), abs(logit_neutral), abs(logit_up)), off_scale,"
        " CASE max(p_down, p_neutral, p_up) WHEN p_down THEN 0 WHEN p_neutral THEN 1 ELSE 2 END"
        " FROM predictions WHERE left_out IS NULL ORDER BY time_ms DESC LIMIT ?",
        (window,),
    ).fetchall()
    confidence, largest, off_scale, classes = (list(column) for column in zip(*rows, strict=True))
    counts = {
        "confidence_psi": plain_counts(confidence, reference.confidence.edges),
        "logit_psi": plain_counts(largest, reference.largest_logit.edges),
        "class_psi": [classes.count(i) for i in range(3)],
    }
    before = {
        "confidence_psi": reference.confidence.counts,
        "logit_psi": reference.largest_logit.counts,
        "class_psi": reference.said,
    }
    expected = {name: plain_psi(count, before[name]) for name, count in counts.items()}
    expected["confidence_shift"] = sum(confidence) / window - reference.mean_confidence
    expected["clamp_rate"] = sum(size > 15 for size in largest) / window
    expected["saturation_rate"] = sum(one >= 0.99 for one in confidence) / window
    expected["off_scale_rate"] = sum(off_scale) / window
    assert set(expected) == set(STATISTICS)
    for name, figure in expected.items():
        assert value(drift, "drift", window=window, statistic=name) == pytest.approx(figure, abs=1e-9)
    for name, count in counts.items():
        bins = CLASSES if name == "class_psi" else range(10)
        shown = [value(drift, "drift_window_count", window=window, statistic=name, bin=one) for one in bins]
        assert shown == count
        assert [value(drift, "drift_reference_count", statistic=name, bin=one) for one in bins] == list(before[name])
    assert value(drift, "drift_n", window=window) == window
    assert value(drift, "drift_effective_n", window=window) == pytest.approx(window / reference.design_effect[window])


def test_limits_are_those_of_all_arms_together(journal, reference):
    add_stream(journal, logits(120))
    for pairs in (PAIRS, PAIRS[:2]):
        drift = refreshed(journal, Known(reference), pairs)
        limits = reference.limits.at(TARGET_DAYS * len(pairs))
        for name in ("confidence_psi", "logit_psi", "class_psi", "confidence_shift"):
            shown = value(drift, "drift_limit", window=120, statistic=name)
            assert shown == limits[name, 120]
    assert value(drift, "drift_limit", window=120, statistic="clamp_rate") == pytest.approx(0.05)


def test_other_days_between_false_alarms_are_other_limits(journal, reference):
    add_stream(journal, logits(120))
    shown = []
    for days in (1, 30):
        drift = DriftMetrics([(SYMBOL, ARM)], Known(reference), target_days=days, clock=started)
        drift.refresh(journal)
        shown.append(value(drift, "drift_limit", window=120, statistic="confidence_psi"))
    assert shown[0] < shown[1]


def test_shares_of_classes_are_of_a_whole_day(journal, reference):
    reference = replace(reference, limits=replace(reference.limits, run_days=math.inf))
    up = np.tile([0.0, 0.0, 1.0], (DAY - 1, 1))
    add_stream(journal, up)
    assert math.isnan(value(refreshed(journal, Known(reference)), "class_share", direction="UP"))
    add_stream(journal, np.array([[1.0, 0.0, 0.0]]), first=DAY - 1)
    drift = refreshed(journal, Known(reference))
    assert value(drift, "class_share", direction="UP") == pytest.approx((DAY - 1) / DAY)
    assert value(drift, "class_share", direction="NEUTRAL") == 0
    assert value(drift, "class_share_floor", direction="NEUTRAL") == pytest.approx(reference.said[1] / reference.n / 8)
    assert value(drift, "class_run") == 1
    assert value(drift, "class_run_limit") == 1.5 * reference.longest_run


def test_an_arm_without_a_reference_says_so_and_shows_what_needs_none(journal):
    said = logits(120)
    said[:12, 0] = -20.0
    add_stream(journal, said)
    drift = refreshed(journal, Known())
    assert value(drift, "drift_reference") == 0
    assert value(drift, "drift", window=120, statistic="clamp_rate") == pytest.approx(0.1)
    assert math.isnan(value(drift, "drift_limit", window=120, statistic="clamp_rate"))
    assert math.isnan(value(drift, "drift", window=120, statistic="confidence_psi"))
    assert math.isnan(value(drift, "class_run_limit"))


def test_the_largest_feature_is_that_of_the_shortest_window(journal):
    add_stream(journal, logits(1), largest_z=99.0)
    add_stream(journal, logits(120), first=1, largest_z=3.0)
    drift = refreshed(journal, Known())
    assert value(drift, "scaled_feature_max") == 3.0
    add_stream(journal, logits(1), first=121, largest_z=7.5)
    drift.refresh(journal)
    assert value(drift, "scaled_feature_max") == 7.5


# ---- what made it


def pool_json(weight: float) -> str:
    members = [{"sha256": "beef", "weight": weight}, {"sha256": "cafe", "weight": 1 - weight}]
    return json.dumps({"method": "log", "members": members})


def test_a_toggle_of_the_weights_asks_for_another_reference_and_begins_anew(journal, of_pool):
    known, pair = Known(pool=of_pool), [(SYMBOL, "ensemble")]
    add_bundle(journal, "cafe", None)
    add_stream(journal, logits(150), arm="ensemble", pool=pool_json(0.4))
    drift = refreshed(journal, known, pair)
    assert value(drift, "drift_n", arm="ensemble", window=120) == 120
    add_stream(journal, logits(10), first=150, arm="ensemble", pool=pool_json(0.5))
    drift.refresh(journal)
    assert [[model.weight for model in maker.models] for maker in known.asked] == [[0.4, 0.6], [0.5, 0.5]]
    assert value(drift, "drift_n", arm="ensemble", window=120) == 10
    assert math.isnan(value(drift, "drift", arm="ensemble", window=120, statistic="confidence_psi"))


def test_a_reference_that_is_made_meanwhile_is_used_as_soon_as_it_is_there(journal, of_pool):
    known, pair = Known(), [(SYMBOL, "ensemble")]
    add_stream(journal, logits(150), arm="ensemble", pool=pool_json(0.4))
    drift = refreshed(journal, known, pair)
    assert value(drift, "drift_reference", arm="ensemble") == 0
    known.pool = of_pool
    drift.refresh(journal)
    assert value(drift, "drift_reference", arm="ensemble") == 1
    assert value(drift, "drift", arm="ensemble", window=120, statistic="confidence_psi") > 0


def test_an_arm_that_said_nothing_new_is_not_measured_again(journal, reference):
    add_stream(journal, logits(150))
    drift = refreshed(journal, Known(reference))
    before = drift.drifts[SYMBOL, ARM]
    drift.refresh(journal)
    assert drift.drifts[SYMBOL, ARM] is before
    add_stream(journal, logits(1), first=150)
    drift.refresh(journal)
    assert drift.drifts[SYMBOL, ARM] is not before


def test_a_journal_that_was_begun_anew_forgets_the_old_figures(journal, reference, tmp_path):
    add_stream(journal, logits(1))
    drift = refreshed(journal, Known(reference))
    with closing(new_journal(tmp_path / "new")) as fresh:
        drift.refresh(fresh)
        assert value(drift, "drift_n", window=120) == 0
        assert math.isnan(value(drift, "scaled_feature_max"))
        add_stream(fresh, logits(1))
        drift.refresh(fresh)
        assert value(drift, "drift_n", window=120) == 1


# ---- what is not shown


def test_an_arm_that_fails_shows_nothing_stops_no_other_and_is_tried_again(journal, reference, monkeypatch):
    add_stream(journal, logits(150))
    add_stream(journal, logits(150), arm="v6_fixed")
    drift = DriftMetrics(PAIRS, Known(reference), clock=started)  # type: ignore[arg-type]
    real = drift_metrics.last_predictions

    def failing(connection: sqlite3.Connection, symbol: str, arm: str, most: int) -> Any:
        if arm == "v8":
            raise ZeroDivisionError("a defect")
        return real(connection, symbol, arm, most)

    monkeypatch.setattr(drift_metrics, "last_predictions", failing)
    for _ in range(2):
        with pytest.raises(ExceptionGroup) as raised:
            drift.refresh(journal)
        assert raised.value.exceptions[0].__notes__ == ["of v8 for BTC-USD"]
        assert value(drift, "drift_n", window=120) == 0
        assert math.isnan(value(drift, "scaled_feature_max"))
        assert value(drift, "drift_n", arm="v6_fixed", window=120) == 120
    monkeypatch.setattr(drift_metrics, "last_predictions", real)
    drift.refresh(journal)
    assert value(drift, "drift_n", window=120) == 120


def test_an_arm_that_has_been_silent_for_two_hours_shows_its_reference_alone(journal, reference):
    add_stream(journal, logits(150))
    now = [START_MS / 1000 + 149 * 60 + 0.5 + SILENT_S]
    drift = DriftMetrics(PAIRS, Known(reference), clock=lambda: now[0])  # type: ignore[arg-type]
    drift.refresh(journal)
    assert value(drift, "drift_n", window=120) == 120
    now[0] += 1
    drift.refresh(journal)
    assert value(drift, "drift_n", window=120) == 0
    assert math.isnan(value(drift, "drift", window=120, statistic="confidence_psi"))
    assert math.isnan(value(drift, "scaled_feature_max"))
    assert value(drift, "drift_reference") == 1
    now[0] -= 1
    drift.refresh(journal)
    assert value(drift, "drift_n", window=120) == 120


def test_a_time_far_ahead_makes_no_arm_silent(journal, reference):
    add_stream(journal, logits(1), first=100_000, received_ms=START_MS)
    add_stream(journal, logits(150), first=1)
    drift = DriftMetrics(PAIRS, Known(reference), clock=lambda: START_MS / 1000 + 150 * 60 + SILENT_S)  # type: ignore[arg-type]
    drift.refresh(journal)
    assert value(drift, "drift_n", window=120) == 120


def test_what_a_bundle_said_that_is_no_longer_in_force_is_not_shown(journal, reference):
    add_stream(journal, logits(150))
    drift = refreshed(journal, Known(reference, models=()))
    assert value(drift, "drift_n", window=120) == value(drift, "drift_reference") == 0
