"""The laws of a fitted temperature, on data whose right temperature is known."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from export import temperature
from export.temperature import (
    HIGHEST,
    LOWEST,
    TemperatureFit,
    fit_temperature,
    temperature_for_confidence,
    temperature_interval,
)
from signalserve.errors import DataError

CLAMP = 15.0


def calibrated(n: int, spread: float = 1.0, seed: int = 0, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Logits (n, classes) and labels drawn from their softmax: right at T = 1 by construction."""
    random = np.random.default_rng(seed)
    logits = spread * random.normal(size=(n, classes))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (random.random((n, 1)) > probabilities.cumsum(axis=1)).sum(axis=1).clip(max=classes - 1)
    return logits, labels


def nll(logits: np.ndarray, labels: np.ndarray, t: float) -> float:
    """In float64, sharing no code with the pipeline."""
    tempered = np.clip(logits, -CLAMP, CLAMP) / t
    tempered -= tempered.max(axis=1, keepdims=True)
    picked = tempered[np.arange(len(labels)), labels]
    return float((np.log(np.exp(tempered).sum(axis=1)) - picked).mean())


@given(st.integers(0, 10_000), st.sampled_from([0.01, 0.3, 1.0, 5.0, 1e3]), st.integers(1, 60))
@settings(deadline=None, max_examples=60)
def test_the_fit_is_never_worse_than_leaving_the_logits_alone(seed: int, spread: float, n: int) -> None:
    random = np.random.default_rng(seed)
    logits, labels = spread * random.normal(size=(n, 3)), random.integers(0, 3, n)
    fit = fit_temperature(logits, labels, CLAMP)
    assert LOWEST <= fit.temperature <= HIGHEST
    assert fit.nll_after <= fit.nll_before
    assert fit.nll_before == pytest.approx(nll(logits, labels, 1.0), abs=1e-9)
    assert fit.nll_after == pytest.approx(nll(logits, labels, fit.temperature), abs=1e-9)


def test_the_predicted_class_of_clamped_logits_is_kept() -> None:
    logits, labels = calibrated(2000, spread=8.0)
    fit = fit_temperature(logits, labels, CLAMP)
    clamped = np.clip(logits, -CLAMP, CLAMP)
    assert ((clamped / fit.temperature).argmax(axis=1) == clamped.argmax(axis=1)).all()


def test_calibrated_data_keeps_its_temperature() -> None:
    fit = fit_temperature(*calibrated(40_000), CLAMP)
    assert fit.temperature == pytest.approx(1.0, abs=0.03)
    assert fit.nll_before - fit.nll_after < 1e-3
    assert fit.at_bound is None


@pytest.mark.parametrize("distortion", [0.2, 2.5, 8.0])
def test_a_known_distortion_is_recovered(distortion: float) -> None:
    logits, labels = calibrated(40_000)
    fit = fit_temperature(distortion * logits, labels, clamp=1e6)
    assert fit.temperature == pytest.approx(distortion, rel=0.03)


def test_the_minimum_is_a_minimum() -> None:
    logits, labels = calibrated(3000, spread=2.0, seed=3)
    fit = fit_temperature(3 * logits, labels, CLAMP)
    nearby = [nll(3 * logits, labels, fit.temperature * factor) for factor in (0.98, 1.02)]
    assert fit.nll_after < min(nearby)


def test_logits_that_know_nothing_end_at_the_upper_bound_and_say_so() -> None:
    logits, labels = calibrated(3000)
    fit = fit_temperature(-logits, labels, CLAMP)
    assert fit.at_bound == "upper"
    assert fit.temperature == pytest.approx(HIGHEST, rel=1e-3)


def test_logits_that_separate_the_classes_end_at_the_lower_bound_and_say_so() -> None:
    labels = np.arange(300) % 3
    fit = fit_temperature(np.eye(3)[labels], labels, CLAMP)
    assert fit.at_bound == "lower"


def test_the_clamp_comes_first() -> None:
    logits, labels = calibrated(500, spread=3.0)
    wild = np.where(np.abs(logits) > 2, 1e6 * logits, logits)
    assert fit_temperature(wild, labels, 2.0) == fit_temperature(np.clip(logits, -2, 2), labels, 2.0)


def test_the_optimisers_own_reason_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = SimpleNamespace(success=False, nfev=500, message="Maximum number of function calls reached.")
    monkeypatch.setattr(temperature.scipy.optimize, "minimize_scalar", lambda *_, **__: failed)
    with pytest.raises(RuntimeError, match=r"after 500 evaluations: Maximum number of function calls reached\."):
        fit_temperature(*calibrated(10), CLAMP)


@pytest.mark.parametrize(
    ("logits", "labels", "words"),
    [
        (np.zeros((0, 3)), np.zeros(0, int), "n > 0"),
        (np.zeros((2, 3)), np.zeros(3, int), "got"),
        (np.full((1, 3), np.nan), np.zeros(1, int), "finite"),
        (np.zeros((1, 3)), np.array([-1]), "expected 0 … 2, got -1"),
        (np.zeros((1, 3)), np.array([3]), "expected 0 … 2, got 3"),
    ],
)
def test_wrong_input_is_refused_in_words(logits: np.ndarray, labels: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fit_temperature(logits, labels, CLAMP)


def test_a_fit_changes_nothing_it_was_given() -> None:
    logits, labels = calibrated(100, spread=20.0)
    before = logits.copy()
    assert isinstance(fit_temperature(logits, labels, CLAMP), TemperatureFit)
    assert (logits == before).all()


def test_a_network_of_two_classes_is_fitted_too() -> None:
    logits, labels = calibrated(5000, classes=2)
    fit = fit_temperature(3 * logits, labels, CLAMP)
    assert fit.temperature == pytest.approx(3.0, rel=0.15)
    interval = temperature_interval(3 * logits, labels, CLAMP, horizon=1, rounds=200)
    assert interval.low < 3.0 < interval.high


def test_the_interval_is_that_of_a_plain_bootstrap() -> None:
    logits, labels = calibrated(400, seed=2)
    random, slow = np.random.default_rng(9), []
    for _ in range(300):
        drawn = random.integers(400, size=400)
        slow.append(minimize_scalar(lambda u, i=drawn: nll(logits[i], labels[i], np.exp(u)), bounds=(-3, 3)).x)
    low, high = np.quantile(slow, [0.025, 0.975])
    found = temperature_interval(logits, labels, CLAMP, horizon=1)
    assert (np.log(found.low), np.log(found.high)) == pytest.approx((low, high), abs=0.15 * (high - low))


def test_the_minimum_between_grid_points_is_found() -> None:
    grid = np.linspace(-3, 7, 200)
    vertices = np.random.default_rng(0).uniform(-2.9, 6.9, 50)
    parabolas = 0.3 * (grid - vertices[:, None]) ** 2
    assert temperature._minima(grid, parabolas) == pytest.approx(vertices, abs=1e-9)
    assert temperature._minima(grid, np.stack([grid, -grid, 0 * grid])).tolist() == [-3.0, 7.0, -3.0]


def test_the_slope_is_the_derivative_of_the_loss() -> None:
    logits, labels = calibrated(50, spread=3.0)
    clamped, step = temperature._clamped(logits, CLAMP), 1e-5
    above, below = (temperature._losses(clamped, labels, 2 * np.exp(sign * step)) for sign in (1, -1))
    assert temperature._slopes(clamped, labels, 2.0)[:, 0] == pytest.approx((above - below) / (2 * step), abs=1e-8)


def test_labels_that_overlap_widen_the_interval() -> None:
    logits, labels = calibrated(200)
    logits, labels = np.repeat(logits, 15, axis=0), np.repeat(labels, 15)
    apart = temperature_interval(logits[::15], labels[::15], CLAMP, horizon=1, rounds=300)
    overlapping = temperature_interval(logits, labels, CLAMP, horizon=15, rounds=300)
    width, expected = (np.log(interval.high / interval.low) for interval in (overlapping, apart))
    assert width == pytest.approx(expected, rel=0.3)  # 15 copies of a label tell no more than one


def test_an_interval_for_logits_that_know_nothing_ends_at_the_bound() -> None:
    logits, labels = calibrated(600)
    found = temperature_interval(-logits, labels, CLAMP, horizon=1, rounds=100)
    assert found.high == pytest.approx(HIGHEST)


def test_a_higher_level_is_wider() -> None:
    narrow, wide = (temperature_interval(*calibrated(500), CLAMP, 1, level=level, rounds=300) for level in (0.8, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high
    assert wide.level == 0.99


def test_too_few_bars_for_an_interval_are_refused() -> None:
    with pytest.raises(DataError, match="at least 45 values in a row"):
        temperature_interval(*calibrated(44), CLAMP, horizon=15)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_temperature_for_a_confidence_gives_that_confidence(classes: int) -> None:
    logits, _ = calibrated(2000, spread=8.0, classes=classes)
    found = temperature_for_confidence(logits, CLAMP, 0.60, 0.75)
    tempered = np.clip(logits, -CLAMP, CLAMP) / found
    confidence = np.exp(tempered.max(axis=1)) / np.exp(tempered).sum(axis=1)
    assert confidence.mean() == pytest.approx(0.675, abs=1e-5)


def test_a_confidence_that_no_temperature_gives_is_refused_with_the_range() -> None:
    tied = np.zeros((10, 3))
    with pytest.raises(DataError, match=r"mean confidence of 0\.675.* reach 0\.333 … 0\.333; ask for"):
        temperature_for_confidence(tied, CLAMP, 0.60, 0.75)
    with pytest.raises(DataError, match=r"mean confidence of 0\.2"):
        temperature_for_confidence(calibrated(100)[0], CLAMP, 0.1, 0.3)


@pytest.mark.parametrize(("low", "high"), [(0.7, 0.6), (0.0, 0.5), (0.5, 1.0)])
def test_a_range_of_confidence_that_is_none_is_refused(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="0 < low <= high < 1"):
        temperature_for_confidence(calibrated(10)[0], CLAMP, low, high)
