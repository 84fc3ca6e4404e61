"""A floor only where a class that stays away for a day is news."""

import math

import pytest

from signalserve.drift.class_share import ClassFloor


def test_the_floor_is_an_eighth_of_the_reference_share() -> None:
    assert ClassFloor(0.32, days_between=math.inf).floor(30) == pytest.approx(0.04)


@pytest.mark.parametrize(("days_between", "is_news"), [(29.0, False), (30.0, True), (0.0, False)])
def test_there_is_one_where_chance_passes_it_no_more_often_than_asked(days_between: float, is_news: bool) -> None:
    assert (ClassFloor(0.32, days_between).floor(30) is not None) is is_news


def test_a_class_that_the_reference_never_says_can_not_be_missed() -> None:
    assert ClassFloor(0.0, days_between=math.inf).floor(30) is None


@pytest.mark.parametrize(("share", "days"), [(-0.1, 1.0), (1.1, 1.0), (0.3, -1.0), (math.nan, 1.0), (0.3, math.nan)])
def test_shares_and_days_that_can_not_be_are_refused(share: float, days: float) -> None:
    with pytest.raises(ValueError, match="share of 0 to 1"):
        ClassFloor(share, days)
