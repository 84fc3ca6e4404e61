"""The laws of a fitted pool, on forecasts whose right pool is known."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export import pooling
from export.pooling import Forecasts, fit_pool, given_a_move, losses_of, pooled, weight_interval
from export.temperature import fit_temperature

METHODS = ("linear", "log")


def softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def forecasts(n: int, seed: int = 0, spread: float = 1.0) -> np.ndarray:
    """Two models' probabilities, (2, n, 3)."""
    return softmax(spread * np.random.default_rng(seed).normal(size=(2, n, 3)))


def drawn(probabilities: np.ndarray, seed: int = 1) -> np.ndarray:
    """Labels that come as often as the forecast says."""
    uniform = np.random.default_rng(seed).random((len(probabilities), 1))
    return (uniform > probabilities.cumsum(axis=1)).sum(axis=1).clip(max=2)


def tempered_nll(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Of one model at its best temperature."""
    return fit_temperature(np.log(probabilities), labels, 1e3).nll_after


@given(st.integers(0, 10_000), st.sampled_from(METHODS), st.integers(1, 30), st.sampled_from([0.1, 1.0, 8.0]))
@settings(deadline=None, max_examples=50)
def test_weight_one_on_one_model_is_that_model(seed: int, method: str, n: int, spread: float) -> None:
    both = forecasts(n, seed, spread)
    np.testing.assert_allclose(pooled(both, 1.0, method, 1.0), both[0], atol=1e-12)
    np.testing.assert_allclose(pooled(both, 0.0, method, 1.0), both[1], atol=1e-12)


@given(st.integers(0, 10_000), st.sampled_from(METHODS), st.integers(2, 40))
@settings(deadline=None, max_examples=15)
def test_a_fitted_pool_is_never_worse_than_either_model_with_a_temperature_of_its_own(
    seed: int, method: str, n: int
) -> None:
    both, labels = forecasts(n, seed), np.random.default_rng(seed).integers(0, 3, n)
    fit = fit_pool(Forecasts(both, labels), method, tempered=True)
    assert fit.best.nll <= min(tempered_nll(one, labels) for one in both) + 1e-9


@pytest.mark.parametrize("method", METHODS)
def test_without_a_temperature_it_is_never_worse_than_either_model_as_it_is(method: str) -> None:
    both = forecasts(500)
    labels = drawn(both[1])
    fit = fit_pool(Forecasts(both, labels), method, tempered=False)
    assert fit.best.temperature == 1
    assert fit.best.nll <= min(-np.log(one[np.arange(500), labels]).mean() for one in both) + 1e-12


@pytest.mark.parametrize(("method", "temperature"), [("linear", 1.0), ("log", 1.0), ("linear", 0.7), ("log", 1.6)])
def test_a_known_pool_is_recovered(method: str, temperature: float) -> None:
    both = forecasts(10_000, spread=2.0)
    fit = fit_pool(Forecasts(both, drawn(pooled(both, 0.3, method, temperature))), method, tempered=True)
    assert fit.best.weight == pytest.approx(0.3, abs=0.03)
    assert fit.best.temperature == pytest.approx(temperature, rel=0.07)


@pytest.mark.parametrize("method", METHODS)
def test_the_likelihood_is_that_of_plain_arithmetic_and_a_minimum(method: str) -> None:
    both = forecasts(2000, seed=5)
    labels = drawn(pooled(both, 0.4, method, 1.3))
    best = fit_pool(Forecasts(both, labels), method, tempered=True).best

    def nll(w: float, t: float) -> float:
        mixed = w * both[0] + (1 - w) * both[1] if method == "linear" else both[0] ** w * both[1] ** (1 - w)
        sharpened = mixed ** (1 / t)
        return float(-np.log((sharpened / sharpened.sum(axis=1, keepdims=True))[np.arange(2000), labels]).mean())

    assert best.nll == pytest.approx(nll(best.weight, best.temperature), abs=1e-10)
    around = [(best.weight + dw, best.temperature * ft) for dw in (-0.02, 0, 0.02) for ft in (0.98, 1, 1.02)]
    assert best.nll <= min(nll(w, t) for w, t in around) + 1e-9


def test_a_log_pool_of_tempered_models_is_as_likely_as_of_untempered_ones() -> None:
    logits = np.random.default_rng(2).normal(size=(2, 3000, 3))
    labels = drawn(softmax(0.7 * logits[0] + 0.2 * logits[1]))
    fits = [
        fit_pool(Forecasts(softmax(logits / np.array(t)[:, None, None]), labels), "log", tempered=True)
        for t in ([1, 1], [3, 0.8])
    ]
    assert fits[0].best.nll == pytest.approx(fits[1].best.nll, abs=1e-6)


def test_the_weights_interval_holds_the_weight_that_made_the_labels() -> None:
    both = forecasts(4000, spread=1.5)
    data = Forecasts(both, drawn(pooled(both, 0.3, "linear", 1.0)))
    found = weight_interval(data, fit_pool(data, "linear", tempered=True), 1)
    assert found.low <= 0.3 <= found.high
    assert found.high - found.low <= 0.2


def test_models_that_say_the_same_leave_every_weight_open() -> None:
    one = forecasts(900)[0]
    data = Forecasts(np.stack([one, one]), drawn(one))
    found = weight_interval(data, fit_pool(data, "log", tempered=True), 1)
    assert (found.low, found.high) == (0, 1)


def test_who_knows_no_neutral_is_judged_given_a_move() -> None:
    both = forecasts(3000, spread=1.5)
    both[0] = given_a_move(both[0])
    labels = 2 * (np.random.default_rng(0).random(3000) < given_a_move(both[1])[:, 2]).astype(int)
    data = Forecasts(both, labels, knows_neutral=False)
    fit = fit_pool(data, "linear", tempered=True)
    assert fit.best.weight == pytest.approx(0, abs=0.03)
    up = pooled(both, fit.best.weight, "linear", fit.best.temperature)
    up = up[:, 2] / (up[:, 0] + up[:, 2])
    assert fit.best.nll == pytest.approx(-np.log(np.where(labels == 2, up, 1 - up)).mean(), abs=1e-9)
    assert losses_of(data, fit.best, "linear").mean() == pytest.approx(fit.best.nll, abs=1e-9)


def test_a_neutral_label_is_refused_where_no_neutral_is_known() -> None:
    with pytest.raises(ValueError, match="expected DOWN and UP only, since a model knows no NEUTRAL, got NEUTRAL"):
        fit_pool(Forecasts(forecasts(5), np.ones(5, int), knows_neutral=False), "log", tempered=False)


def test_a_condition_of_nothing_is_still_a_forecast() -> None:
    np.testing.assert_allclose(given_a_move(np.array([[0.0, 1.0, 0.0]])), [[0.5, 0, 0.5]])


def test_the_optimisers_own_reason_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = SimpleNamespace(success=False, nfev=500, message="Maximum number of function calls reached.")
    monkeypatch.setattr(pooling.scipy.optimize, "minimize_scalar", lambda *_, **__: failed)
    with pytest.raises(RuntimeError, match=r"after 500 evaluations: Maximum number of function calls reached\."):
        fit_pool(Forecasts(forecasts(10), np.arange(10) % 3), "linear", tempered=False)
