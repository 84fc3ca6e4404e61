"""The laws that every report rests on, where they need simulation: what an interval says is so as often as it says."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from export.bootstrap import autoregression, coverage
from export.temperature import HIGHEST, LOWEST, fit_temperature, temperature_interval
from signalserve.ensemble import pool
from signalserve.pipeline import CalibratedModel, Calibration, Scaler, clamp_logits, temper

CLAMP, HORIZON = 15.0, 15


def overlapping(n: int, random: np.random.Generator, spread: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """A calibrated stream: logits (n, 3) with autocorrelation 0.99, labels that 15 neighbours share their luck in."""
    logits = spread * autoregression(0.99, n, 3, random)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    luck = np.repeat(random.random(-(-n // HORIZON)), HORIZON)[:n, None]
    return logits, (luck > probabilities.cumsum(axis=1)).sum(axis=1).clip(max=2)


@pytest.mark.parametrize("phi", [0.0, 0.9])
def test_intervals_cover_the_true_mean_as_often_as_they_say(phi: float, record_property) -> None:
    share = coverage(phi)
    record_property("coverage", share)
    assert 0.90 <= share <= 0.98, f"95 % intervals covered {share:.1%} of 500 data sets at autocorrelation {phi}"


def test_plain_percentiles_would_cover_less(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = coverage(0.95, n=500)
    monkeypatch.setattr("export.bootstrap.widening", lambda *_: 1.0)
    monkeypatch.setattr("export.bootstrap.LONGER", 1)
    assert coverage(0.95, n=500) < honest - 0.05


def test_intervals_of_the_temperature_cover_the_true_one_on_overlapping_labels(record_property) -> None:
    random = np.random.default_rng(0)
    found = [temperature_interval(*overlapping(1500, random), CLAMP, HORIZON, rounds=200) for _ in range(100)]
    share = np.mean([interval.low <= 1 <= interval.high for interval in found])
    record_property("coverage", share)
    assert share >= 0.90, f"95 % intervals of T covered {share:.0%} of 100 data sets"


def test_ignoring_the_overlap_would_cover_too_little() -> None:
    random = np.random.default_rng(0)
    found = []
    for _ in range(30):
        (logits, labels), order = overlapping(1000, random), random.permutation(1000)
        found.append(temperature_interval(logits[order], labels[order], CLAMP, 1, rounds=100))
    assert np.mean([interval.low <= 1 <= interval.high for interval in found]) < 0.7


@pytest.mark.parametrize("distortion", [0.5, 1.0, 3.0, 8.0])
def test_a_known_distortion_lies_within_its_interval(distortion: float) -> None:
    logits, labels = overlapping(6000, np.random.default_rng(4))
    found = temperature_interval(distortion * logits, labels, clamp=1e6, horizon=HORIZON, rounds=300)
    assert found.low < distortion < found.high
    assert found.high / found.low < 1.6  # and the interval says something


def test_a_fit_lies_within_its_own_interval() -> None:
    logits, labels = overlapping(2000, np.random.default_rng(7))
    fitted = fit_temperature(3 * logits, labels, CLAMP).temperature
    found = temperature_interval(3 * logits, labels, CLAMP, HORIZON, rounds=200)
    assert found.low < fitted < found.high


@given(
    st.lists(st.lists(st.floats(-1e7, 1e7), min_size=3, max_size=3), min_size=1, max_size=20),
    st.floats(LOWEST, HIGHEST),
)
def test_no_temperature_changes_the_class_of_clamped_logits(rows: list[list[float]], temperature: float) -> None:
    clamped = clamp_logits(torch.tensor(rows, dtype=torch.float64), CLAMP)
    tempered = temper(clamped, temperature)
    assert (tempered.gather(1, clamped.argmax(dim=1, keepdim=True))[:, 0] == tempered.amax(dim=1)).all()


class Unscale(torch.nn.Module):
    """A network that undoes a scaler: its logits are the last row's raw features again."""

    def __init__(self, scaler: Scaler) -> None:
        super().__init__()
        self.mean, self.scale = (torch.nn.Parameter(torch.tensor(values)) for values in (scaler.mean, scaler.scale))

    def forward(self, scaled: torch.Tensor) -> torch.Tensor:
        return scaled[:, -1] * self.scale + self.mean


@given(arrays(np.float64, 3, elements=st.floats(-1e5, 1e5)), arrays(np.float64, 3, elements=st.floats(1e-3, 1e5)))
def test_scaling_then_unscaling_is_the_identity(mean: np.ndarray, scale: np.ndarray) -> None:
    scaler = Scaler(mean, scale)
    windows = np.random.default_rng(0).uniform(-1e6, 1e6, (20, 2, 3))
    raw_logits, _ = CalibratedModel(Unscale(scaler), scaler, Calibration(CLAMP, 1.0))(torch.from_numpy(windows))
    assert raw_logits.detach().numpy() == pytest.approx(windows[:, -1], abs=1e-8)


@pytest.mark.parametrize("method", ["linear", "log"])
def test_a_pool_with_all_weight_on_one_model_is_that_model(method: str) -> None:
    forecasts = np.random.default_rng(0).dirichlet([1.0, 2.0, 3.0], size=(2, 500))
    assert pool(forecasts, np.array([0.0, 1.0]), method, 1.0) == pytest.approx(forecasts[1], abs=1e-12)
