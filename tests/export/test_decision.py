"""The owners' criteria on figures made up for them, in words that go no further than the numbers."""

from typing import Any

import pytest
from contests import gates

from export.bootstrap import Interval
from export.comparison import Contestant
from export.contest import BASE_RATES, FULL_FIT, V6, V8
from export.decision import decide, in_words, percent, serving_lines
from export.paired import Confidence, Difference, Estimate, Figures, Judged
from export.selective import Threshold
from signalserve.settings import parse_settings

POOL = FULL_FIT["log"]
HONEST = Confidence(mean=0.7, error=0.01, null=0.01, limit=0.02)
TIMID = Confidence(mean=0.4, error=0.01, null=0.01, limit=0.02)
DISTORTED = Confidence(mean=0.7, error=0.03, null=0.01, limit=0.02)


def estimate(value: float, half: float = 0.01) -> Estimate:
    return Estimate(value, Interval(value - half, value + half))


def judged(
    *,
    v6: Confidence = HONEST,
    v8: Confidence = HONEST,
    accuracy: float = 0.7,
    nll: tuple[float, float, float] = (0.80, 0.78, 0.75),
) -> Judged:
    """nll: of v6_fixed, v8 and the pool; a difference of more than 0.01 is shown."""
    level = {V6: nll[0], V8: nll[1], POOL: nll[2], BASE_RATES: 1.1}
    acted_on = Threshold(0.75, 0, 0.0, None, None, 0.0)
    figures = {
        name: Figures(estimate(accuracy), estimate(value), estimate(0.5), HONEST, [1 / 3] * 3, acted_on)
        for name, value in level.items()
    }
    pairs = [(V8, V6), (POOL, V6), (POOL, V8), *((name, BASE_RATES) for name in (V6, V8, POOL))]
    differences = tuple(Difference(a, b, estimate(level[a] - level[b]), estimate(0), estimate(0)) for a, b in pairs)
    return Judged("BTC-USD", 1000, 500.0, POOL, figures, {V6: v6, V8: v8}, differences, [0.3, 0.4, 0.3])


PASSED, FAILED = gates(), gates("accuracy", "balance")


@pytest.mark.parametrize(
    ("found", "v8_gates", "urgent", "choice"),
    [
        (judged(), PASSED, True, "ensemble"),
        (judged(), PASSED, False, "ensemble"),  # urgency is a reason for V6-fixed alone
        (judged(nll=(0.80, 0.78, 0.775)), PASSED, False, "v8"),  # better than V6-fixed, but not beyond V8's interval
        (judged(accuracy=0.67), PASSED, False, "v8"),
        (judged(v6=DISTORTED), PASSED, True, "v8"),
        (judged(v6=TIMID), PASSED, True, "v8"),
        (judged(), FAILED, True, "v6_fixed"),
        (judged(), None, True, "v6_fixed"),  # not judged is not passed
        (judged(v8=TIMID), PASSED, True, "v6_fixed"),
        (judged(nll=(0.75, 0.78, 0.75)), PASSED, True, "v6_fixed"),  # both are met, and V6-fixed is better
        (judged(nll=(0.78, 0.78, 0.78)), PASSED, True, "v8"),  # both are met, and neither is better
        (judged(), FAILED, False, None),
        (judged(), None, False, None),
        (judged(accuracy=0.67), FAILED, True, None),
        (judged(v6=DISTORTED, v8=TIMID), PASSED, True, None),
    ],
)
def test_the_owners_criteria_decide(found: Judged, v8_gates: Any, urgent: bool, choice: str | None) -> None:
    decision = decide(found, {"BTC-USD": v8_gates}, urgent=urgent, accuracy=0.68)
    assert decision.choice == choice
    assert decision.mode == (choice or decision.fallback)


def test_where_no_criterion_is_met_that_is_said_with_who_would_be_best_and_how_surely() -> None:
    found = judged(v6=TIMID, v8=TIMID, accuracy=0.36, nll=(1.0961, 1.0860, 1.0950))
    decision = decide(found, {"BTC-USD": None}, urgent=False, accuracy=0.68)
    assert decision.sentence == "BTC-USD: no criterion is met: neither model should trade, alone or pooled."
    words = "\n".join(decision.reasons)
    assert "If one must be served, v8 has the lowest NLL on the test part: 1.0860 nats, 95 % interval" in words
    assert "v8 is better than v6_fixed: NLL lower by 0.0101 nats, 95 % interval 0.0001 to 0.0201." in words
    assert "The fitted pool against v8: no difference can be shown, NLL 0.0090 nats" in words
    assert "v6_fixed: its accuracy is at least 68 %: not met (36 %, 95 % interval 35 % to 37 %; the commonest" in words
    assert "v8: it passes all gates: not judged (BTC-USD: run signalserve judge first)." in words


def test_a_decision_names_what_failed_for_each_symbol() -> None:
    decision = decide(judged(), {"BTC-USD": PASSED, "ETH-USD": FAILED}, urgent=True, accuracy=0.68)
    assert decision.criteria[3].found == "ETH-USD fails accuracy, balance"


def test_a_difference_says_who_is_better_whichever_was_named_first() -> None:
    worse = judged(nll=(0.70, 0.80, 0.75))
    assert in_words(worse, worse.difference(V8, V6)) == (
        "v6_fixed is better than v8: NLL lower by 0.1000 nats, 95 % interval 0.0900 to 0.1100."
    )
    same = judged(nll=(0.8, 0.8, 0.75))
    assert in_words(same, same.difference(V8, V6)) == (
        "v8 against v6_fixed: no difference can be shown, NLL 0.0000 nats, 95 % interval −0.0100 to 0.0100."
    )


def test_a_share_is_a_percentage_without_a_needless_digit() -> None:
    assert [percent(0.75), percent(0.6814), percent(0)] == ["75 %", "68.1 %", "0 %"]


def pool(weight: float, temperature: float) -> Contestant:
    return Contestant(POOL, "", "log", weight, None, temperature)


def test_the_lines_to_adopt_validate_and_say_what_was_decided() -> None:
    decision = decide(judged(), {"BTC-USD": PASSED}, urgent=False, accuracy=0.68)
    settings = parse_settings("\n".join(serving_lines([decision], {"BTC-USD": pool(0.4022, 0.6051)})), "lines")
    found = settings.of("BTC-USD")
    assert (found.mode, found.pool.method, found.pool.temperature) == ("ensemble", "log", 0.6051)
    assert found.weights == {"v6_fixed": 0.4022, "v8": 0.5978}
    assert settings.of("ETH-USD").weights == {"v6_fixed": 0.4, "v8": 0.6}  # what was not compared keeps its defaults


@pytest.mark.parametrize("weight", [0.0, 1.0, 0.0001, 0.3333])
@pytest.mark.parametrize("temperature", [0.05, 1.0, 12.34, 1000.0])
def test_the_lines_validate_at_the_ends_of_a_fit_and_wrapped_by_a_terminal(weight: float, temperature: float) -> None:
    decision = decide(judged(), {"BTC-USD": PASSED}, urgent=False, accuracy=0.68)
    text = "\n".join(serving_lines([decision], {"BTC-USD": pool(weight, temperature)}))
    found = parse_settings(text.replace(", ", ",\n"), "lines").of("BTC-USD")
    assert (found.weights["v6_fixed"], found.pool.temperature) == (weight, temperature)


def test_one_mode_for_all_symbols_is_the_default_too() -> None:
    found = [decide(judged(accuracy=0.6), {"BTC-USD": PASSED}, urgent=False, accuracy=0.68)] * 2
    assert (
        parse_settings("\n".join(serving_lines(found[:1], {"BTC-USD": pool(0.5, 1)})), "").defaults.mode == "ensemble"
    )
    two = [found[0], type(found[0])(**{**found[0].__dict__, "scope": "ETH-USD"})]
    lines = serving_lines(two, {"BTC-USD": pool(0.5, 1), "ETH-USD": pool(0.25, 2)})
    settings = parse_settings("\n".join(lines), "")
    assert settings.defaults.mode == "v8"
    assert settings.of("ETH-USD").weights["v6_fixed"] == 0.25
