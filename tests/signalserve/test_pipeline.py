"""The order scale -> network -> clamp -> temperature -> softmax, step by step; whole models are in test_engine."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_model import softmax
from scipy.special import expit
from torch import Tensor, nn

from signalserve.pipeline import (
    CalibratedModel,
    Calibration,
    Scaler,
    clamp_logits,
    class_logits,
    probabilities_of,
    temper,
)

logits_of_any_size = st.lists(st.floats(-1e300, 1e300), min_size=3, max_size=3)
temperatures = st.floats(0.01, 100)


class Recorder(nn.Module):
    """A network that keeps what it was given and answers with fixed logits."""

    def __init__(self, logits: list[float]) -> None:
        super().__init__()
        self.answer = nn.Parameter(torch.tensor([logits], dtype=torch.float32))
        self.seen: list[Tensor] = []

    def forward(self, scaled: Tensor) -> Tensor:
        self.seen.append(scaled)
        return self.answer.expand(len(scaled), -1)


def model_of(network: nn.Module, mean: float = 0.0, scale: float = 1.0, clamp: float = 15.0, temperature: float = 1.0):
    scaler = Scaler(np.full(2, mean), np.full(2, scale))
    return CalibratedModel(network, scaler, Calibration(clamp, temperature))


def run(model: CalibratedModel, windows: Tensor) -> tuple[Tensor, Tensor]:
    with torch.inference_mode():
        return model(windows)


@given(st.lists(st.floats(-15, 15), min_size=3, max_size=3), temperatures)
def test_tempering_keeps_the_argmax(logits: list[float], temperature: float):
    tempered = temper(torch.tensor([logits], dtype=torch.float64), temperature)[0]
    assert tempered[int(np.argmax(logits))] == tempered.max()


@given(st.floats(1.0, 50), st.floats(1.01, 10))
def test_a_higher_temperature_lowers_the_confidence(temperature: float, factor: float):
    logits = torch.tensor([[1.0, -2.0, 3.0]])
    low, high = (probabilities_of(logits, Calibration(15, t)).max() for t in (temperature * factor, temperature))
    assert 1 / 3 < low < high


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_temperature_that_is_not_above_0_is_refused(temperature: float):
    with pytest.raises(ValueError, match="temperature: expected a number above 0, got"):
        temper(torch.zeros(1, 3), temperature)


def test_logits_beyond_the_clamp_tie_there():
    clamped = clamp_logits(torch.tensor([[42278.0, -23226.0, 15.5], [3.0, -15.0, 14.9]]), 15.0)
    assert clamped.tolist() == [[15, -15, 15], [3, -15, pytest.approx(14.9)]]


def test_the_trace_from_production_comes_out_as_its_softmax():
    # docs: raw [3.92, -9.24, 8.33] at T = 8; its owners read "69 %" off the middle vector
    probabilities = probabilities_of(torch.tensor([[3.92, -9.24, 8.33]], dtype=torch.float64), Calibration(15, 8))
    expected = softmax(np.array([3.92, -9.24, 8.33]) / 8)
    assert probabilities[0].tolist() == pytest.approx(expected.tolist(), abs=1e-12)
    assert probabilities[0, 2].item() == pytest.approx(0.59, abs=0.005)


@settings(deadline=None)
@given(logits_of_any_size, temperatures)
def test_probabilities_are_finite_and_sum_to_1_whatever_the_logits(logits: list[float], temperature: float):
    probabilities = probabilities_of(torch.tensor([logits], dtype=torch.float64), Calibration(15, temperature))[0]
    assert bool(((probabilities >= 0) & (probabilities <= 1)).all())
    assert probabilities.sum().item() == pytest.approx(1, abs=1e-12)


@settings(deadline=None)
@given(logits_of_any_size, temperatures, st.floats(0.1, 100))
def test_clamp_comes_before_temperature(logits: list[float], temperature: float, clamp: float):
    got = probabilities_of(torch.tensor([logits], dtype=torch.float64), Calibration(clamp, temperature))[0]
    expected = softmax(np.clip(np.array(logits), -clamp, clamp) / temperature)
    assert np.abs(got.numpy() - expected).max() < 1e-12


def test_the_network_sees_scaled_features_in_its_own_precision():
    network = Recorder([0.0, 0.0, 0.0])
    run(model_of(network, mean=100.0, scale=4.0), torch.full((2, 60, 2), 106.0))
    assert network.seen[0].shape == (2, 60, 2)
    assert network.seen[0].dtype == torch.float32
    assert network.seen[0].unique().tolist() == [1.5]


def test_scaling_happens_in_float64():
    # in float32, 100,000 - 99,999.999 is 0 or 0.0078
    network = Recorder([0.0, 0.0, 0.0])
    run(model_of(network, mean=99_999.999, scale=0.001), torch.full((1, 60, 2), 100_000.0))
    assert network.seen[0].unique().tolist() == pytest.approx([1.0], rel=1e-6)


def test_raw_logits_come_back_as_the_network_gave_them():
    raw_logits, probabilities = run(model_of(Recorder([4e6, -1e5, 0.5]), temperature=8.0), torch.zeros(1, 60, 2))
    assert raw_logits.tolist() == [[4e6, -1e5, 0.5]]
    assert probabilities[0].tolist() == pytest.approx(softmax(np.array([15, -15, 0.5]) / 8).tolist(), abs=1e-12)
    assert raw_logits.dtype == probabilities.dtype == torch.float64


@pytest.mark.parametrize(
    ("mean", "scale", "words"),
    [
        ([0.0, 0.0], [1.0], "two arrays of one length"),
        ([[0.0]], [[1.0]], "two arrays of one length"),
        ([0.0], [0.0], "scales above 0"),
        ([0.0], [-1.0], "scales above 0"),
        ([float("nan")], [1.0], "finite means"),
        ([0.0], [float("inf")], "finite means"),
    ],
)
def test_a_scaler_that_cannot_scale_is_refused(mean: list, scale: list, words: str):
    with pytest.raises(ValueError, match=words):
        Scaler(np.array(mean), np.array(scale))


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("nan"), float("inf")])
def test_a_calibration_that_is_not_one_is_refused(wrong: float):
    with pytest.raises(ValueError, match="clamp: expected a finite number above 0"):
        Calibration(clamp=wrong, temperature=1.0)
    with pytest.raises(ValueError, match="temperature: expected a finite number above 0"):
        Calibration(clamp=15.0, temperature=wrong)


@given(st.floats(-14, 14), temperatures)
def test_a_network_of_one_output_says_up_by_its_sigmoid_and_never_neutral(log_odds: float, temperature: float):
    probabilities = probabilities_of(
        class_logits(torch.tensor([[log_odds]], dtype=torch.float64)), Calibration(15, temperature)
    )
    up = float(expit(log_odds / temperature))
    np.testing.assert_allclose(probabilities[0].numpy(), [1 - up, 0, up], atol=1e-12)


def test_a_network_of_one_output_gives_a_logit_for_each_class_that_it_knows():
    raw_logits, probabilities = run(model_of(Recorder([3.0])), torch.zeros(4, 60, 2))
    assert raw_logits.tolist() == [[0.0, 3.0]] * 4
    assert probabilities.shape == (4, 3)


def test_the_log_odds_are_clamped_like_any_logit():
    assert torch.equal(
        probabilities_of(torch.tensor([[0.0, 4e6]]), Calibration(15, 1)),
        probabilities_of(torch.tensor([[0.0, 15.0]]), Calibration(15, 1)),
    )
