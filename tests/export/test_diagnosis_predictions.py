"""Logits -> what a model says, against a softmax in plain float64 and the service's own rule of ties."""

import numpy as np
import pytest

from export.diagnosis_predictions import longest_runs, shares_by_day, stage, ties
from signalserve.invariants import is_tie
from signalserve.pipeline import Calibration

CLAMP = 15.0


def some_logits(n: int = 400, classes: int = 3, scale: float = 4.0) -> np.ndarray:
    return np.random.default_rng(5).normal(scale=scale, size=(n, classes))


def test_a_stage_says_what_a_plain_softmax_says():
    raw = some_logits(scale=12)
    found = stage("as served", raw, Calibration(CLAMP, 2.5), in_a_row=True)
    exponentials = np.exp(np.minimum(np.maximum(raw, -CLAMP), CLAMP) / 2.5)
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    confidence = probabilities.max(axis=1)
    assert found.mean_confidence == pytest.approx(confidence.mean())
    assert list(found.confidence) == pytest.approx(np.percentile(confidence, [50, 75, 90, 95, 99]).tolist())
    assert found.confident["0.9"] == pytest.approx(sum(c > 0.9 for c in confidence) / len(raw))
    assert found.classes["UP"] == pytest.approx(sum(row.argmax() == 2 for row in probabilities) / len(raw))
    assert found.beyond == pytest.approx(sum(max(abs(row)) > CLAMP for row in raw) / len(raw))
    assert (found.raw[0], found.raw[-1], found.reach) == (raw.min(), raw.max(), abs(raw).max())
    assert (found.clamped[0], found.clamped[-1]) == (-CLAMP, CLAMP)


@pytest.mark.parametrize("classes", [2, 3])
def test_ties_are_those_that_the_service_warns_of(classes: int):
    raw = some_logits(classes=classes, scale=20)
    assert ties(raw, CLAMP).tolist() == [is_tie(row, CLAMP) for row in raw.tolist()]
    assert 0 < ties(some_logits(scale=20), CLAMP).sum() < len(raw)


def test_windows_without_an_answer_are_counted_and_left_out():
    raw = some_logits()
    raw[7, 1], raw[9] = np.nan, np.inf
    found = stage("as served", raw, Calibration(CLAMP, 1.0), in_a_row=True)
    kept = stage("as served", np.delete(raw, [7, 9], axis=0), Calibration(CLAMP, 1.0), in_a_row=True)
    assert (found.windows, found.not_finite) == (400, 2)
    assert (found.confidence, found.raw) == (kept.confidence, kept.raw)
    assert found.longest is None  # over a gap nobody knows how long a run is
    assert stage("as served", np.full((3, 3), np.nan), Calibration(CLAMP, 1.0), in_a_row=True) is None


def test_of_a_network_of_one_output_only_that_output_is_told():
    raw = np.stack([np.zeros(100), np.linspace(1, 3, 100)], axis=1)
    found = stage("as served", raw, Calibration(CLAMP, 1.0), in_a_row=True)
    assert (found.raw[0], found.raw[-1]) == (1, 3)
    assert found.classes == {"DOWN": 0, "NEUTRAL": 0, "UP": 1}


def test_runs_are_the_longest_of_each_class():
    said = np.array([0, 0, 2, 2, 2, 0, 2])
    assert longest_runs(said) == {"DOWN": 2, "NEUTRAL": 0, "UP": 3}


def test_days_are_whole_ones_from_the_first_window_on():
    said = np.array([0, 0, 1, 2, 2, 2, 2, 2, 0])
    np.testing.assert_allclose(shares_by_day(said, 4), [[0.5, 0.25, 0.25], [0, 0, 1]])
