"""Reports of a model of three classes, and of one that knows only DOWN and UP."""

import numpy as np
import pytest

from export.labels import UNKNOWN
from export.quality import fit_targets, judged_on, probabilities_of, report_of
from signalserve.errors import DataError
from signalserve.pipeline import Calibration

RANDOM = np.random.default_rng(0)
LABELS = RANDOM.integers(0, 3, 900)
THREE, TWO = RANDOM.normal(size=(900, 3)), RANDOM.normal(size=(900, 2))


def test_probabilities_are_the_softmax_of_the_clamped_logits_over_the_temperature():
    clamped = np.clip(10 * THREE, -15, 15) / 3
    expected = np.exp(clamped) / np.exp(clamped).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities_of(10 * THREE, Calibration(15, 3)), expected, atol=1e-12)


def test_a_model_without_neutral_is_judged_only_where_it_could_be_right():
    report = report_of(TWO, Calibration(15, 1), LABELS, LABELS, 15, earlier_part="train")
    moved = LABELS != 1
    assert report["n"] == moved.sum()
    says_up = TWO[moved, 1] > TWO[moved, 0]
    assert report["accuracy"] == pytest.approx(float((says_up == (LABELS[moved] == 2)).mean()))
    assert report["base_rates"]["NEUTRAL"] == report["predicted_shares"]["NEUTRAL"] == 0


def test_labels_nobody_knows_yet_are_left_out():
    labels = LABELS.copy()
    labels[-15:] = UNKNOWN
    assert report_of(THREE, Calibration(15, 1), labels, LABELS, 15, earlier_part="train")["n"] == 885


def test_targets_are_positions_among_the_models_own_logits():
    assert fit_targets(TWO[:2], np.array([0, 2])).tolist() == [0, 1]
    assert fit_targets(THREE[:3], np.array([0, 1, 2])).tolist() == [0, 1, 2]
    assert judged_on(TWO[:4], np.array([0, 1, 2, UNKNOWN])).tolist() == [True, False, True, False]


def test_nothing_to_judge_on_is_refused():
    with pytest.raises(DataError, match="expected labels to judge on, got 0 and 614 before them"):
        report_of(TWO, Calibration(15, 1), np.ones(900, dtype=np.int64), LABELS, 15, earlier_part="train")
