"""No bar of one part may teach another."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.split import SHARES, Part, cut, split_in_time, usable

WINDOW, HORIZON, FIRST_ROW = 60, 15, 1000


@given(bars=st.integers(2500, 60_000))
def test_no_window_or_label_of_one_part_touches_another(bars: int) -> None:
    split = split_in_time(usable(bars, FIRST_ROW, WINDOW, HORIZON))
    for earlier, later in itertools.pairwise((split.train, split.calibration, split.test)):
        assert earlier.ends[-1] + HORIZON < later.ends[0] - WINDOW + 1
        assert not set(earlier.bars) & set(later.bars)


@given(bars=st.integers(2500, 60_000))
def test_the_embargo_between_parts_is_a_window_and_a_horizon(bars: int) -> None:
    split = split_in_time(usable(bars, FIRST_ROW, WINDOW, HORIZON))
    for earlier, later in itertools.pairwise((split.train, split.calibration, split.test)):
        assert later.ends[0] - earlier.ends[-1] - 1 == WINDOW + HORIZON


def test_shares_are_those_promised() -> None:
    whole = usable(40_000, FIRST_ROW, WINDOW, HORIZON)
    split = split_in_time(whole)
    shares = [len(part) / len(whole) for part in (split.train, split.calibration, split.test)]
    assert shares == pytest.approx(SHARES, abs=2 * (WINDOW + HORIZON) / len(whole))


def test_windows_begin_after_the_warm_up_and_end_before_the_unlabelled() -> None:
    part = usable(2000, FIRST_ROW, WINDOW, HORIZON)
    assert part.bars == range(FIRST_ROW, 2000)
    assert part.ends[0] == FIRST_ROW + WINDOW - 1
    assert part.ends[-1] == 2000 - 1 - HORIZON


def test_one_bar_is_enough_for_one_window_and_one_less_is_not() -> None:
    needed = FIRST_ROW + WINDOW + HORIZON
    assert len(usable(needed, FIRST_ROW, WINDOW, HORIZON)) == 1
    with pytest.raises(ValueError, match=f"at least {needed} for one labelled window, got {needed - 1}"):
        usable(needed - 1, FIRST_ROW, WINDOW, HORIZON)


def test_a_part_too_short_for_its_embargo_is_refused() -> None:
    with pytest.raises(ValueError, match="embargo of 75 bars"):
        cut(Part(np.arange(100), WINDOW, HORIZON), 0.5)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        cut(usable(3000, FIRST_ROW, WINDOW, HORIZON), share)
