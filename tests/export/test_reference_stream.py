"""What monitoring will compare with: bins, runs, dependence, and drift limits."""

import json
from pathlib import Path

import numpy as np
import pytest

from export.reference_stream import (
    BINS,
    autocorrelation,
    confidence_bins,
    describe_runs,
    describe_stream,
    effective_n,
    keep,
    run_lengths,
)
from export.series import Series
from export.split import Part
from signalserve.bundle import CalibrationValues, ScalerValues, Span
from signalserve.drift import limits
from signalserve.drift.kept import KeptStream
from signalserve.drift.reference import Reference
from signalserve.drift.surrogates import SHORTEST
from signalserve.errors import DataError

CALIBRATION = CalibrationValues(clamp=15.0, temperature=1.0, method="nll")
COLUMNS = 4
SPAN = Span(start="2025-05-27T00:00:00Z", end="2025-05-28T00:00:00Z", bars=1441)


def stream(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    logits = np.random.default_rng(seed).normal(size=(n, 3))
    exponentials = np.exp(logits)
    return logits, exponentials / exponentials.sum(axis=1, keepdims=True)


def kept(n: int, seed: int = 0) -> KeptStream:
    return KeptStream(np.arange(n) * 60_000, stream(n, seed)[0], np.zeros(n))


def ar1(n: int, phi: float, seed: int = 0) -> np.ndarray:
    shocks = np.random.default_rng(seed).normal(size=n)
    values = np.zeros(n)
    for row in range(1, n):
        values[row] = phi * values[row - 1] + shocks[row]
    return values


def test_the_description_is_strict_json_and_counts_every_prediction() -> None:
    logits, probabilities = stream(1000)
    told = json.loads(json.dumps(describe_stream(kept(1000), CALIBRATION, SPAN, COLUMNS), allow_nan=False))
    assert told["n"] == sum(told["confidence"]["counts"]) == 1000
    assert sum(told["class_shares"].values()) == pytest.approx(1)
    assert told["span"] == SPAN.model_dump()
    assert told["raw_logits"]["min"] == logits.min()
    assert told["raw_logits"]["UP"][-1] == logits[:, 2].max()
    assert told["confidence"]["mean"] == pytest.approx(probabilities.max(axis=1).mean())


def test_bins_hold_equal_counts_where_no_values_are_equal() -> None:
    told = confidence_bins(stream(2000)[1].max(axis=1))
    assert told["counts"] == [200] * BINS
    assert (told["edges"][0], told["edges"][-1], len(told["edges"])) == (0.0, 1.0, BINS + 1)


def test_counts_follow_from_the_edges_by_the_rule_that_is_told() -> None:
    confidence = np.round(stream(500)[1].max(axis=1), 2)  # many equal values
    told = confidence_bins(confidence)
    edges = np.array(told["edges"])
    counted = [int(((edges[i] <= confidence) & (confidence < edges[i + 1])).sum()) for i in range(BINS)]
    assert told["counts"] == counted


def test_a_confidence_of_one_has_a_bin() -> None:
    told = confidence_bins(np.ones(100))
    assert sum(told["counts"]) == told["counts"][-1] == 100


def test_runs_add_up_and_alternate() -> None:
    classes = np.array([0, 0, 2, 2, 2, 1, 0])
    which, lengths = run_lengths(classes)
    assert which.tolist() == [0, 2, 1, 0]
    assert lengths.tolist() == [2, 3, 1, 1]
    assert (np.repeat(which, lengths) == classes).all()


def test_runs_are_told_by_class_and_a_class_never_said_has_none() -> None:
    told = describe_runs(np.array([0, 0, 2, 2, 2, 0]))
    assert (told["runs"], told["mean"], told["longest"]) == (3, 2.0, 3)
    assert told["by_class"] == {
        "DOWN": {"runs": 2, "mean": 1.5, "longest": 2},
        "NEUTRAL": None,
        "UP": {"runs": 1, "mean": 3.0, "longest": 3},
    }


@pytest.mark.parametrize("lag", [1, 5])
def test_autocorrelation_of_a_known_process_is_recovered(lag: int) -> None:
    assert autocorrelation(ar1(50_000, 0.9), lag) == pytest.approx(0.9**lag, abs=0.02)


def test_dependence_shrinks_the_effective_n() -> None:
    n, phi = 60_000, 0.9
    independent, dependent = effective_n(ar1(n, 0.0)), effective_n(ar1(n, phi))
    assert independent == pytest.approx(n, rel=0.5)  # a variance from 30 blocks is known to a quarter
    assert dependent == pytest.approx(n * (1 - phi) / (1 + phi), rel=0.6)


def test_a_constant_stream_has_no_dependence_to_tell() -> None:
    constant = np.full(1000, 0.4)
    assert autocorrelation(constant, 1) is None
    assert effective_n(constant) is None


def test_a_short_stream_leaves_out_what_it_cannot_tell() -> None:
    told = describe_stream(kept(30), CALIBRATION, SPAN, COLUMNS)
    assert told["dependence"]["autocorrelation"]["60"] is None
    assert told["dependence"]["effective_n"] is None


def test_too_few_predictions_are_refused() -> None:
    with pytest.raises(ValueError, match="more than 10"):
        describe_stream(kept(10), CALIBRATION, SPAN, COLUMNS)


# ---- what drift is held against


def test_the_drift_reference_is_of_these_predictions_at_this_temperature() -> None:
    one = kept(300)
    warm = CALIBRATION.model_copy(update={"temperature": 3.0})
    found = Reference.from_json(describe_stream(one, warm, SPAN, COLUMNS)["drift"])
    exponentials = np.exp(one.raw_logits / 3)
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    assert found.n == 300
    assert found.mean_confidence == pytest.approx(probabilities.max(axis=1).mean(), abs=1e-12)
    assert found.said == tuple(np.bincount(probabilities.argmax(axis=1), minlength=3))
    assert found.rates["off_scale_rate"].limit == pytest.approx(0.5 / COLUMNS)


def test_every_simulated_day_is_told() -> None:
    told: list[int] = []
    describe_stream(kept(300), CALIBRATION, SPAN, COLUMNS, progress=told.append)
    assert sum(told) == limits.SIMULATED_DAYS


def test_what_is_too_short_to_learn_a_dependence_from_has_no_drift_limits() -> None:
    assert describe_stream(kept(SHORTEST - 1), CALIBRATION, SPAN, COLUMNS)["drift"] is None
    assert describe_stream(kept(SHORTEST), CALIBRATION, SPAN, COLUMNS)["drift"] is not None


def test_a_model_of_two_classes_has_no_logit_of_neutral() -> None:
    three = kept(100)
    told = describe_stream(
        KeptStream(three.as_of_ms, three.raw_logits[:, :2], three.off_scale), CALIBRATION, SPAN, COLUMNS
    )
    assert told["raw_logits"]["NEUTRAL"] is None
    assert told["raw_logits"]["UP"][-1] == three.raw_logits[:, 1].max()
    assert told["class_shares"]["NEUTRAL"] == 0


# ---- what is kept


def series(n: int = 12, times: bool = True) -> Series:
    rows = np.zeros((n, 2))
    rows[5:, 1] = 100.0  # far off its scale from here on
    times_ms = 7 * 60_000 + np.arange(n) * 60_000 if times else None
    return Series("BTC-USD", Path("bars.csv"), 60_000, ("a", "b"), rows, times_ms, None, 0)


SCALER = ScalerValues(mean=[0.0, 0.0], scale=[1.0, 1.0])


def test_a_prediction_is_kept_by_when_its_last_bar_closed_and_how_far_off_scale_it_was() -> None:
    one = keep(series(), Part(np.array([3, 6, 7, 11]), 4, 1), np.eye(4)[:, :3], SCALER)
    assert one.as_of_ms.tolist() == [(7 + end + 1) * 60_000 for end in (3, 6, 7, 11)]
    assert one.raw_logits.tolist() == np.eye(4)[:, :3].tolist()
    assert one.off_scale.tolist() == [0.0, 0.0, 0.5, 0.5]  # more than half of a window's bars


def test_bars_without_times_are_refused() -> None:
    with pytest.raises(DataError, match="add `timestamp`"):
        keep(series(times=False), Part(np.array([3]), 4, 1), np.zeros((1, 3)), SCALER)


def test_logits_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        keep(series(), Part(np.array([3]), 4, 1), np.array([[0.0, np.inf, 0.0]]), SCALER)
