"""Runs against plain loops."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalserve.drift.class_run import RunLimit, current_run, longest_run

CLASSES = st.lists(st.integers(0, 2), min_size=1, max_size=60)


@given(CLASSES)
def test_runs_are_those_that_itertools_groups(classes: list[int]) -> None:
    runs = [len(list(group)) for _, group in itertools.groupby(classes)]
    assert longest_run(np.array(classes)) == max(runs)
    assert current_run(np.array(classes)) == runs[-1]


def test_nothing_has_no_run() -> None:
    empty = np.array([], dtype=np.int64)
    assert (longest_run(empty), current_run(empty)) == (0, 0)


def test_the_limit_is_half_as_long_again_where_chance_passes_it_seldom_enough() -> None:
    assert RunLimit(90, days_between=30.0, span_days=7).limit(30) == 135
    assert RunLimit(90, days_between=math.inf, span_days=7).limit(270) == 135


def test_where_chance_passes_that_too_often_the_limit_lies_further_out_on_the_same_tail() -> None:
    """Runs of an exponential tail: so many days between those over each length."""
    longest, scale, span = 100, 20.0, 7.0

    def days_between(length: float) -> float:
        return span * math.exp((length - longest) / scale)

    limit = RunLimit(longest, days_between(150), span).limit(2000)
    assert limit is not None and limit > 150
    assert days_between(limit) == pytest.approx(2000)


def test_a_tail_that_does_not_fall_gives_no_limit() -> None:
    assert RunLimit(90, days_between=5.0, span_days=7).limit(30) is None


@pytest.mark.parametrize(("longest", "days"), [(0, 1.0), (90, -1.0), (90, math.nan)])
def test_a_run_of_nothing_is_refused(longest: int, days: float) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        RunLimit(longest, days, 7)
