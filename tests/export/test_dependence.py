"""Labels that are counted by their overlap, against simulated spread, and refused where they are too few."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.dependence import (
    FEWEST_EFFECTIVE_LABELS,
    effective_labels,
    effective_of_class,
    require_count,
    require_labels,
)
from signalserve.errors import DataError

HORIZON = 15


def overlapping_labels(n: int, seed: int = 0) -> np.ndarray:
    """Labels from the sum of the next 15 independent steps: DOWN, NEUTRAL, UP about equally often."""
    steps = np.random.default_rng(seed).normal(size=n + HORIZON)
    ahead = np.convolve(steps, np.ones(HORIZON), mode="valid")[1:]
    return np.digitize(ahead, [-1.67, 1.67])


@given(st.lists(st.integers(0, 2), min_size=1, max_size=80), st.integers(1, 20))
def test_labels_are_worth_at_least_1_and_at_most_their_number(labels: list[int], horizon: int) -> None:
    assert 1 <= effective_labels(np.array(labels), horizon) <= len(labels)


def test_names_of_classes_do_not_matter() -> None:
    labels = overlapping_labels(3000)
    assert effective_labels(2 - labels, HORIZON) == pytest.approx(effective_labels(labels, HORIZON))
    assert effective_labels(labels[labels != 1], 1) == effective_labels(labels[labels != 1] // 2, 1)


def test_the_spread_of_class_shares_is_that_of_as_many_independent_labels() -> None:
    shares = np.array([(overlapping_labels(3000, seed) == 2).mean() for seed in range(400)])
    worth = shares.mean() * (1 - shares.mean()) / shares.var()
    counts = [effective_labels(overlapping_labels(3000, seed), HORIZON) for seed in range(20)]
    assert np.mean(counts) == pytest.approx(worth, rel=0.2)


def test_enough_labels_pass_and_say_their_worth() -> None:
    labels = overlapping_labels(20_000)
    assert require_labels(labels, HORIZON, "fit a temperature") == effective_labels(labels, HORIZON)


def test_too_few_labels_are_refused_with_the_number_and_how_many_more_are_needed() -> None:
    labels = overlapping_labels(6000)
    effective = effective_labels(labels, HORIZON)
    with pytest.raises(DataError, match=r"1,000 effective labels to fit a temperature, got (\d+) from 6,000") as caught:
        require_labels(labels, HORIZON, "fit a temperature")
    needed, more = (
        int(number.replace(",", "")) for number in re.findall(r"[\d,]+(?= windows are| more)", str(caught.value))
    )
    assert 0 <= needed - FEWEST_EFFECTIVE_LABELS * 6000 / effective < 100
    assert more == needed - 6000
    assert f"got {int(effective)} from" in str(caught.value)


def test_labels_of_a_part_ask_for_windows_in_all() -> None:
    labels = overlapping_labels(6000)
    needed = FEWEST_EFFECTIVE_LABELS * 20_000 / effective_labels(labels, HORIZON)
    with pytest.raises(DataError, match=r"from 6,000 of 20,000 windows .* are needed in all, so give") as caught:
        require_labels(labels, HORIZON, "fit a temperature", windows=20_000)
    told = int(str(caught.value).split("about ")[1].split(" windows")[0].replace(",", ""))
    assert 0 <= told - needed < 100


def test_as_many_windows_as_are_asked_for_suffice() -> None:
    with pytest.raises(DataError, match="about ") as caught:
        require_labels(overlapping_labels(6000), HORIZON, "fit a temperature")
    needed = int(str(caught.value).split("about ")[1].split(" windows")[0].replace(",", ""))
    assert effective_labels(overlapping_labels(needed), HORIZON) > 0.9 * FEWEST_EFFECTIVE_LABELS


def test_no_labels_at_all_are_refused_in_the_same_words() -> None:
    with pytest.raises(DataError, match=r"got 0 from 0 windows .*about 15,000 windows are needed"):
        require_labels(np.zeros(0, dtype=np.int64), HORIZON, "fit a temperature")


@pytest.mark.parametrize(("label", "told"), [(1, "DOWN 0, NEUTRAL 1,333, UP 0"), (2, "DOWN 0, UP 1,333")])
def test_labels_of_one_class_fit_nothing(label: int, told: str) -> None:
    with pytest.raises(
        DataError, match=f"30 effective labels of each class to fit a temperature, got {told}: give bars"
    ):
        require_labels(np.full(20_000, label), HORIZON, "fit a temperature")


def test_a_model_that_knows_neutral_needs_it_to_come() -> None:
    labels = 2 * np.random.default_rng(0).integers(0, 2, 2000)
    assert require_labels(labels, 1, "fit a temperature") > 1000
    with pytest.raises(DataError, match="NEUTRAL 0, UP"):
        require_labels(labels, 1, "fit a temperature", knows_neutral=True)


def test_a_class_that_hardly_comes_is_refused() -> None:
    rare, often = (np.random.default_rng(0).choice(3, 4000, p=[share, 0.5, 0.5 - share]) for share in (0.004, 0.02))
    with pytest.raises(DataError, match=r"got DOWN \d\d, NEUTRAL"):
        require_labels(rare, 1, "fit a temperature", knows_neutral=True)
    assert require_labels(often, 1, "fit a temperature", knows_neutral=True) > 1000


def test_a_class_counts_as_often_as_it_comes_apart() -> None:
    came = np.repeat(np.random.default_rng(0).random(3000) < 0.1, HORIZON)
    assert effective_of_class(came, HORIZON) == pytest.approx(300, rel=0.2)
    assert effective_of_class(came[::HORIZON], 1) == pytest.approx(came.sum() / HORIZON)


def test_other_counts_can_be_asked_for() -> None:
    labels = overlapping_labels(3000)
    assert require_count(labels, HORIZON, 100, "judge it") == effective_labels(labels, HORIZON)
    with pytest.raises(DataError, match="at least 300 effective labels to judge it, got 1"):
        require_count(labels[:1500], HORIZON, 300, "judge it")
