"""Figures against references that share no code with them, and the laws they obey."""

import json

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, log_loss

from export.scores import (
    baselines,
    brier_scores,
    calibration_error,
    class_shares,
    gains,
    log_losses,
    mean_and_error,
    null_calibration_errors,
    reliability,
    score,
    skill,
)


def forecasts(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Forecasts that are calibrated by construction: labels are drawn from them."""
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet([2.0, 3.0, 2.5], size=n)
    labels = (random.random((n, 1)) > probabilities.cumsum(axis=1)).sum(axis=1).clip(max=2)
    return probabilities, labels


def test_the_figures_are_scikit_learns() -> None:
    probabilities, labels = forecasts(500)
    scores = score(probabilities, labels, horizon=15)
    assert scores.nll == pytest.approx(log_loss(labels, probabilities), abs=1e-12)
    assert scores.confusion == confusion_matrix(labels, probabilities.argmax(axis=1)).tolist()
    assert scores.accuracy == np.trace(scores.confusion) / 500


def test_brier_runs_from_right_to_wrong() -> None:
    certain = np.array([[1.0, 0.0, 0.0]])
    assert brier_scores(certain, np.array([0])).tolist() == [0.0]
    assert brier_scores(certain, np.array([2])).tolist() == [2.0]
    assert brier_scores(np.full((1, 3), 1 / 3), np.array([1])) == pytest.approx(2 / 3)


def test_an_impossible_outcome_costs_much_and_not_infinity() -> None:
    assert log_losses(np.array([[1.0, 0.0, 0.0]]), np.array([1])) == pytest.approx(34.54, abs=0.01)


def test_nobody_beats_the_true_probabilities_on_average() -> None:
    probabilities, labels = forecasts(20_000)
    sharper = probabilities**2 / (probabilities**2).sum(axis=1, keepdims=True)
    for losses in (log_losses, brier_scores):
        assert losses(probabilities, labels).mean() < losses(sharper, labels).mean()


def test_a_calibrated_model_shows_the_null_value_and_an_overconfident_one_more() -> None:
    probabilities, labels = forecasts(5000)
    hits = probabilities.argmax(axis=1) == labels
    confidence = probabilities.max(axis=1)
    null = null_calibration_errors(confidence, horizon=1).mean()
    assert calibration_error(confidence, hits) == pytest.approx(null, abs=null)
    assert calibration_error(confidence**0.3, hits) > 10 * null


def test_the_null_values_are_the_calibration_errors_of_simulated_hits() -> None:
    confidence = forecasts(1003)[0].max(axis=1)
    draws = np.random.default_rng(5).random((3, 67))  # a draw for 15 labels each
    expected = [calibration_error(confidence, np.repeat(row, 15)[:1003] < confidence) for row in draws]
    np.testing.assert_allclose(null_calibration_errors(confidence, 15, rounds=3, seed=5), expected, atol=1e-15)


def test_labels_that_overlap_raise_the_null_value() -> None:
    confidence = np.sort(forecasts(5000)[0].max(axis=1))  # neighbours alike, as in a stream
    apart, overlapping = (null_calibration_errors(confidence, horizon).mean() for horizon in (1, 15))
    assert overlapping > 2 * apart > 0


def test_calibration_error_of_certain_forecasts_is_the_share_of_misses() -> None:
    hits = np.arange(100) % 4 != 0
    assert calibration_error(np.ones(100), hits) == pytest.approx(0.25)


def test_reliability_bins_make_up_the_calibration_error() -> None:
    probabilities, labels = forecasts(1003)
    confidence, hits = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    found = reliability(confidence, hits, horizon=15)
    assert [each.n for each in found] == [101, 101, 101, 100, 100, 100, 100, 100, 100, 100]
    assert [each.confidence for each in found] == sorted(each.confidence for each in found)
    gaps = sum(each.n * abs(each.accuracy - each.confidence) for each in found) / 1003
    assert gaps == pytest.approx(calibration_error(confidence, hits), abs=1e-12)


def test_a_calibrated_models_confidence_lies_within_nearly_all_reliability_intervals() -> None:
    inside = []
    for seed in range(20):
        probabilities, labels = forecasts(1000, seed)
        found = reliability(probabilities.max(axis=1), probabilities.argmax(axis=1) == labels, horizon=1)
        inside += [each.interval.low <= each.confidence <= each.interval.high for each in found]
    assert 0.91 <= np.mean(inside) <= 0.99


def test_labels_that_overlap_widen_the_reliability_intervals() -> None:
    confidence = np.repeat(np.random.default_rng(0).uniform(0.4, 0.8, 400), 15)
    hits = np.repeat(np.random.default_rng(1).random(400), 15) < confidence
    order = np.random.default_rng(2).permutation(6000)
    apart, overlapping = reliability(confidence[order], hits[order], 1)[0], reliability(confidence, hits, 15)[0]
    assert apart.n == overlapping.n == 600
    assert apart.effective_n == pytest.approx(600, rel=0.25)
    assert overlapping.effective_n == pytest.approx(40, rel=0.5)
    assert overlapping.interval.high - overlapping.interval.low > 2 * (apart.interval.high - apart.interval.low)


def test_there_are_no_more_reliability_bins_than_predictions() -> None:
    assert [each.n for each in reliability(np.array([0.5, 0.6]), np.array([True, False]), horizon=1)] == [1, 1]


def test_networks_of_two_classes_are_scored_on_down_and_up_alone() -> None:
    up = np.random.default_rng(0).uniform(0.05, 0.95, 2000)
    labels = 2 * (np.random.default_rng(1).random(2000) < up)
    scores = score(np.stack([1 - up, np.zeros(2000), up], axis=1), labels, horizon=1)
    assert scores.nll == pytest.approx(log_loss(labels == 2, up), abs=1e-12)
    assert scores.brier == pytest.approx(2 * ((up - (labels == 2)) ** 2).mean())
    assert scores.predicted_shares["NEUTRAL"] == 0
    assert scores.calibration_error < 3 * scores.calibration_error_null


def test_gains_are_over_shares_known_before_and_over_those_that_came() -> None:
    probabilities, labels = forecasts(2000)
    earlier = np.array([0.6, 0.3, 0.1])
    found = gains(probabilities, labels, earlier, horizon=1)
    nll = log_loss(labels, probabilities)
    for gain, shares in ((found.earlier, earlier), (found.hindsight, np.bincount(labels) / 2000)):
        assert gain.baseline_nll == pytest.approx(-np.log(shares)[labels].mean())
        assert gain.mean == pytest.approx(gain.baseline_nll - nll)
        assert gain.interval.low < gain.mean < gain.interval.high
    assert found.show_knowledge


def test_luck_with_the_shares_is_no_knowledge() -> None:
    labels = np.random.default_rng(0).choice(3, 2000, p=[0.2, 0.3, 0.5])
    found = gains(np.tile([0.2, 0.3, 0.5], (2000, 1)), labels, np.full(3, 1 / 3), horizon=1)
    assert found.earlier.interval.low > 0 > found.hindsight.mean
    assert not found.show_knowledge


def test_baselines_come_from_the_training_shares_alone() -> None:
    shares = np.array([0.2, 0.3, 0.5])
    labels = np.array([2, 2, 1, 0])
    found = baselines(shares, labels)
    assert (found["majority_class"], found["majority_accuracy"]) == ("UP", 0.5)
    assert found["base_rate_nll"] == pytest.approx(-np.log([0.5, 0.5, 0.3, 0.2]).mean())
    assert found["base_rate_brier"] == pytest.approx(((shares - np.eye(3)[labels]) ** 2).sum(axis=1).mean())


def test_the_base_rate_forecast_has_no_skill() -> None:
    _, labels = forecasts(3000)
    shares = class_shares(labels)
    gain = skill(np.tile(shares, (3000, 1)), labels, shares)["nll_gain"]
    assert gain["mean"] == gain["quiet_or_moving"]["mean"] == gain["direction"]["mean"] == 0.0


def test_the_gain_is_the_sum_of_its_kinds() -> None:
    probabilities, labels = forecasts(3000)
    gain = skill(probabilities, labels, np.array([0.3, 0.3, 0.4]))["nll_gain"]
    assert gain["mean"] == pytest.approx(gain["quiet_or_moving"]["mean"] + gain["direction"]["mean"])


def test_knowing_only_what_moves_gains_nothing_of_direction() -> None:
    random = np.random.default_rng(0)
    quiet = random.random(3000)
    probabilities = np.stack([(1 - quiet) / 2, quiet, (1 - quiet) / 2], axis=1)
    labels = np.where(random.random(3000) < quiet, 1, 2 * random.integers(0, 2, 3000))
    found = skill(probabilities, labels, np.full(3, 1 / 3))
    assert found["nll_gain"]["direction"]["mean"] == pytest.approx(0.0, abs=1e-12)
    assert found["nll_gain"]["quiet_or_moving"]["mean"] > 0.1


def test_up_or_down_ignores_what_is_said_of_neutral() -> None:
    labels = np.array([0, 1, 2] * 100)
    probabilities = np.array([[0.2, 0.7, 0.1], [0.1, 0.1, 0.8], [0.1, 0.7, 0.2]] * 100)
    found = skill(probabilities, labels, np.full(3, 1 / 3))["up_or_down"]
    assert (found["n"], found["mean"]) == (200, 1.0)


def test_the_error_of_independent_values_is_the_textbooks() -> None:
    values = np.random.default_rng(1).normal(size=30_000)
    mean, error = mean_and_error(values)
    assert mean == values.mean()
    assert error == pytest.approx(1 / np.sqrt(30_000), rel=0.35)  # a standard deviation from 30 blocks


def test_the_error_of_dependent_values_is_larger() -> None:
    values = np.repeat(np.random.default_rng(1).normal(size=3_000), 100)
    _, error = mean_and_error(values)
    assert error is not None
    assert error > 5 * values.std() / np.sqrt(len(values))


def test_too_few_values_have_no_error() -> None:
    assert mean_and_error(np.arange(59.0)) == (29.0, None)


def test_scores_are_strict_json() -> None:
    probabilities, labels = forecasts(50)
    assert json.loads(json.dumps(score(probabilities, labels, 15).as_dict(), allow_nan=False))["n"] == 50


@pytest.mark.parametrize(
    ("probabilities", "labels", "words"),
    [
        ([[0.5, 0.5]], [0], r"\(n, 3\)"),
        ([[0.5, 0.5, 0.5]], [0], "sum to 1"),
        ([[0.5, 0.25, 0.25]], [3], "expected 0, 1, 2"),
        ([[0.5, 0.25, 0.25]], [-1], "expected 0, 1, 2"),
    ],
)
def test_wrong_input_is_refused_in_words(probabilities: list[list[float]], labels: list[int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        score(np.array(probabilities), np.array(labels), 15)
