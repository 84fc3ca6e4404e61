"""The shift of a mean, with its sign."""

import math

import pytest

from signalserve.drift.shift import Shift


@pytest.mark.parametrize(("values", "shift"), [([0.3, 0.5], 0.0), ([0.7], 0.3), ([0.1, 0.2, 0.3], -0.2)])
def test_the_shift_is_the_mean_less_the_references(values: list[float], shift: float) -> None:
    assert Shift(0.4).of(values) == pytest.approx(shift)


@pytest.mark.parametrize("mean", [-0.1, 1.1, math.nan])
def test_a_mean_that_is_no_confidence_is_refused(mean: float) -> None:
    with pytest.raises(ValueError, match="0 to 1"):
        Shift(mean)
