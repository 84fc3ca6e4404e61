"""Laws of the pool, and its numbers against a straightforward float64 computation."""

import numpy as np
import pytest
import reference_model
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_model import softmax

from signalserve.ensemble import pool

METHODS = ["linear", "log"]
methods = st.sampled_from(METHODS)
temperatures = st.floats(0.05, 50)
logits = st.lists(st.floats(-15, 15), min_size=6, max_size=6)
shares = st.floats(0, 1)
quick = settings(deadline=None, max_examples=60)


def forecasts(values: list[float]) -> np.ndarray:
    """Two models' forecasts of one window, (2, 1, 3), from six logits."""
    return softmax(np.array(values).reshape(2, 1, 3))


@quick
@given(logits, shares, methods, temperatures)
def test_the_pool_is_the_textbook_one(values: list[float], share: float, method: str, temperature: float):
    parts, weights = forecasts(values), np.array([share, 1 - share])
    expected = reference_model.pool(parts, weights, method, temperature)
    assert np.abs(pool(parts, weights, method, temperature) - expected).max() < 1e-9


@quick
@given(logits, methods)
def test_weight_1_on_one_model_is_that_model(values: list[float], method: str):
    parts = forecasts(values)
    for model, weights in ((0, [1.0, 0.0]), (1, [0.0, 1.0])):
        assert np.abs(pool(parts, np.array(weights), method, 1.0) - parts[model]).max() < 1e-12


@quick
@given(logits, shares, methods)
def test_models_that_agree_are_left_as_they_are(values: list[float], share: float, method: str):
    same = forecasts([*values[:3], *values[:3]])
    assert np.abs(pool(same, np.array([share, 1 - share]), method, 1.0) - same[0]).max() < 1e-12


@quick
@given(logits, shares)
def test_a_linear_pool_lies_between_its_models(values: list[float], share: float):
    parts = forecasts(values)
    pooled = pool(parts, np.array([share, 1 - share]), "linear", 1.0)
    assert (pooled >= parts.min(axis=0) - 1e-12).all()
    assert (pooled <= parts.max(axis=0) + 1e-12).all()


@quick
@given(logits, shares, methods, st.floats(1.1, 10))
def test_tempering_the_pool_keeps_its_argmax_and_lowers_its_confidence(
    values: list[float], share: float, method: str, temperature: float
):
    parts, weights = forecasts(values), np.array([share, 1 - share])
    sharp, soft = pool(parts, weights, method, 1.0)[0], pool(parts, weights, method, temperature)[0]
    assert soft[sharp.argmax()] == soft.max()
    assert soft.max() <= sharp.max() + 1e-12


@quick
@given(
    st.lists(st.sampled_from([0.0, 1e-320, 1e-300, 0.5, 1.0]), min_size=4, max_size=4),
    shares,
    methods,
    st.floats(0, 1e9, exclude_min=True),
)
def test_extreme_forecasts_and_temperatures_never_give_nan(
    values: list[float], share: float, method: str, temperature: float
):
    likely = np.array([[[*values[:2], 1.0]], [[0.7, *values[2:]]]])  # each model holds something possible
    with np.errstate(all="ignore"):
        pooled = pool(likely, np.array([share, 1 - share]), method, temperature)[0]
    assert np.isfinite(pooled).all()
    assert pooled.sum() == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_a_smallest_temperature_gives_all_to_the_largest_class(method: str):
    # settings take any temperature above 0
    with np.errstate(all="ignore"):
        pooled = pool(np.array([[[0.2, 0.3, 0.5]], [[0.1, 0.2, 0.7]]]), np.array([0.5, 0.5]), method, 1e-310)
    assert pooled.tolist() == [[0, 0, 1]]


def test_many_windows_are_pooled_each_for_itself():
    parts = softmax(np.random.default_rng(0).normal(size=(2, 50, 3)))
    weights = np.array([0.4, 0.6])
    together = pool(parts, weights, "log", 1.1)
    alone = [pool(parts[:, i : i + 1], weights, "log", 1.1)[0] for i in range(50)]
    assert together.shape == (50, 3)
    assert np.abs(together - np.array(alone)).max() < 1e-12


def test_linear_and_log_are_not_the_same():
    parts, weights = np.array([[[0.8, 0.1, 0.1]], [[0.1, 0.1, 0.8]]]), np.array([0.5, 0.5])
    assert pool(parts, weights, "linear", 1.0)[0].tolist() == pytest.approx([0.45, 0.1, 0.45])
    geometric = np.array([0.08**0.5, 0.1, 0.08**0.5])
    assert pool(parts, weights, "log", 1.0)[0].tolist() == pytest.approx((geometric / geometric.sum()).tolist())


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_temperature_that_is_not_above_0_is_refused(temperature: float):
    with pytest.raises(ValueError, match="pool temperature: expected a number above 0, got"):
        pool(np.full((1, 1, 3), 1 / 3), np.array([1.0]), "linear", temperature)


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match="pool method: expected linear or log, got 'median'"):
        pool(np.full((1, 1, 3), 1 / 3), np.array([1.0]), "median", 1.0)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 1000.0])
def test_what_every_model_holds_impossible_stays_impossible(method: str, temperature: float):
    parts = np.array([[[0.4, 0.0, 0.6]], [[0.3, 0.0, 0.7]]])  # neither knows NEUTRAL
    assert pool(parts, np.array([0.5, 0.5]), method, temperature)[0, 1] == 0
