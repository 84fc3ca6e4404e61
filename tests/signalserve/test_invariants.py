"""Each rule by the very prediction at which it fires, and at which it is silent again."""

import numpy as np
import pytest

from signalserve.invariants import RULES, InvariantWatch, Observation, is_tie, signs_of

CALM = frozenset[str]()


def alarms(rule: str, signs: str) -> list[int]:
    """The indices at which the rule is broken; signs: 'x' for a prediction that shows it, '.' for one that does not."""
    watch = InvariantWatch()
    shown = (watch.observe(Observation(frozenset({rule}) if sign == "x" else CALM)) for sign in signs)
    return [index for index, broken in enumerate(shown) if rule in broken]


@pytest.mark.parametrize(
    ("rule", "signs", "expected"),
    [
        ("not_finite", "..x......", [2, 3, 4, 5, 6]),  # one is enough, for as long as it is among the last five
        ("clamp_tie", ".x", [1]),
        ("clamped", "xx......", []),
        ("clamped", "x.x.x....", [4]),
        ("clamped", "xxx....", [2, 3, 4]),
        ("clamped", "xx...x", []),  # three of six
        ("off_scale", "xxx", [2]),
        ("off_scale", ".x.x.", []),
        ("saturated", "xxxx.xxxx", []),
        ("saturated", "xxxxxx.x", [4, 5]),
    ],
)
def test_a_rule_fires_at_its_prediction_and_no_other(rule: str, signs: str, expected: list[int]):
    assert alarms(rule, signs) == expected


@pytest.mark.parametrize("rule", RULES)
def test_calm_predictions_break_nothing(rule: str):
    assert alarms(rule, "." * 12) == []


def test_a_retry_of_the_same_bar_counts_once():
    watch = InvariantWatch()
    retries = [watch.observe(Observation(frozenset({"clamped"}), as_of_ms=60_000)) for _ in range(9)]
    assert set(retries) == {CALM}
    watch.observe(Observation(frozenset({"clamped"}), as_of_ms=120_000))
    assert watch.observe(Observation(frozenset({"clamped"}), as_of_ms=180_000)) == {"clamped"}


def test_a_retry_takes_the_place_of_the_first_try():
    watch = InvariantWatch()
    assert watch.observe(Observation(frozenset({"not_finite"}), as_of_ms=60_000)) == {"not_finite"}
    assert watch.observe(Observation(CALM, as_of_ms=60_000)) == CALM


def test_predictions_without_a_time_count_each():
    watch = InvariantWatch()
    assert [bool(watch.observe(Observation(frozenset({"clamped"})))) for _ in range(3)] == [False, False, True]


def test_rules_are_kept_apart():
    watch = InvariantWatch()
    watch.observe(Observation(frozenset({"clamped", "off_scale"})))
    watch.observe(Observation(frozenset({"clamped"})))
    assert watch.observe(Observation(frozenset({"clamped", "clamp_tie"}))) == {"clamped", "clamp_tie"}


@pytest.mark.parametrize(
    ("raw_logits", "confidence", "off_scale", "expected"),
    [
        ([3.0, -9.0, 8.0], 0.5, False, set()),
        ([15.0, 0.0, 0.0], 0.5, False, set()),  # at the clamp is within it
        ([15.1, 0.0, 0.0], 0.5, False, {"clamped"}),
        ([0.0, -4e6, 0.0], 0.5, False, {"clamped"}),
        ([16.0, 17.0, 0.0], 0.49, False, {"clamped", "clamp_tie"}),
        ([0.0, 0.0, 0.0], 0.99, False, {"saturated"}),
        ([0.0, 0.0, 0.0], 0.9899, True, {"off_scale"}),
    ],
)
def test_what_one_prediction_shows(raw_logits: list[float], confidence: float, off_scale: bool, expected: set[str]):
    assert signs_of(np.array(raw_logits), 15.0, confidence, off_scale=off_scale) == expected


@pytest.mark.parametrize(
    ("raw_logits", "tie"),
    [
        ([42278.0, -23226.0, -11976.0], False),  # clamps to [15, -15, -15]: DOWN is the largest, no tie there
        ([42278.0, 15.0, 0.0], True),
        ([-20.0, -30.0, -40.0], True),  # all at -15
        ([-20.0, -30.0, -14.0], False),
        ([5.0, 5.0, 0.0], False),  # equal, but the network's own word
    ],
)
def test_a_tie_is_a_largest_class_that_the_clamp_made_arbitrary(raw_logits: list[float], tie: bool):
    assert is_tie(np.array(raw_logits), 15.0) == tie
