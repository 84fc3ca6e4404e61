"""Each rule by the very prediction at which it fires, and at which it is silent again."""

import numpy as np
import pytest

from signalserve.invariants import RULES, TAKES_OUT, broken, is_tie, signs_of
from signalserve.recent import Recent

CALM = frozenset[str]()


def alarms(rule: str, signs: str) -> list[int]:
    """The indices at which the rule is broken; signs: 'x' for a prediction that shows it, '.' for one that does not."""
    recent = Recent(["v8"])
    shown = (recent.observe("v8", frozenset({rule}) if sign == "x" else CALM) for sign in signs)
    return [index for index, seen in enumerate(shown) if rule in broken(seen)]


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


def test_what_the_input_is_to_blame_for_takes_no_model_out():
    assert set(RULES) - TAKES_OUT == {"off_scale"}


def test_rules_are_kept_apart():
    seen = [frozenset({"clamped", "off_scale"}), frozenset({"clamped"}), frozenset({"clamped", "clamp_tie"})]
    assert broken(seen) == {"clamped", "clamp_tie"}


@pytest.mark.parametrize(
    ("raw_logits", "confidence", "scale", "expected"),
    [
        ([3.0, -9.0, 8.0], 0.5, None, set()),
        ([15.0, 0.0, 0.0], 0.5, None, set()),  # at the clamp is within it
        ([15.1, 0.0, 0.0], 0.5, None, {"clamped"}),
        ([0.0, -4e6, 0.0], 0.5, None, {"clamped"}),
        ([16.0, 17.0, 0.0], 0.49, None, {"clamped", "clamp_tie"}),
        ([0.0, 0.0, 0.0], 0.99, None, {"saturated"}),
        ([0.0, 0.0, 0.0], 0.9899, "scaler_off", {"scaler_off"}),
    ],
)
def test_what_one_prediction_shows(raw_logits: list[float], confidence: float, scale: str | None, expected: set[str]):
    assert signs_of(np.array(raw_logits), 15.0, confidence, scale=scale) == expected


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
