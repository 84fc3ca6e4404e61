"""A rate's limit lies its margin above what the reference itself did."""

import math

import pytest

from signalserve.drift.rate import MARGIN, Rate


def test_the_limit_is_a_margin_above_the_reference() -> None:
    assert Rate(0.1).limit == pytest.approx(0.1 + MARGIN)
    assert Rate(0.1, margin=0.01).limit == pytest.approx(0.11)


def test_a_fifth_of_all_predictions_is_beyond_the_limit_of_a_reference_that_never_did() -> None:
    assert Rate(0.0).limit < 1 / 5


@pytest.mark.parametrize(("reference", "margin"), [(-0.1, 0.05), (1.1, 0.05), (math.nan, 0.05), (0.1, 0.0)])
def test_a_rate_or_margin_that_can_not_be_is_refused(reference: float, margin: float) -> None:
    with pytest.raises(ValueError, match="rate of 0 to 1"):
        Rate(reference, margin)
