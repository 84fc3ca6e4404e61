"""Who answers: shares that come out as asked, keys that stay where they are, and what a caller may override."""

from collections import Counter
from functools import cache

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from signalserve.routing import Decision, assign, decide, fall_back
from signalserve.settings import Experiment, Settings

SPLIT = {"v6_fixed": 0.8, "v8": 0.1, "ensemble": 0.1}
HOUR_MS = 3_600_000


def experiment(split: dict[str, float] = SPLIT, **fields: object) -> Experiment:
    control = max(split, key=split.__getitem__)
    return Experiment(**{"name": "rollout", "split": split, "control": control, "salt": "s", **fields})


@cache
def keys() -> list[tuple[str, int]]:
    """100,000 blocks: ten symbols, 10,000 hours each."""
    return [(f"S{i}-USD", (400_000 + hour) * HOUR_MS) for i in range(10) for hour in range(10_000)]


@cache
def _arms_of(split: tuple[tuple[str, float], ...], **fields: object) -> list[str]:
    ab = experiment(dict(split), **fields)
    return [assign(ab, symbol, time_ms) for symbol, time_ms in keys()]


def arms_of(split: dict[str, float], **fields: object) -> list[str]:
    return _arms_of(tuple(split.items()), **fields)


@pytest.mark.parametrize("split", [SPLIT, {"v6_fixed": 0.5, "v8": 0.5}, {"ensemble": 0.01, "v8": 0.99}])
def test_100_000_keys_come_within_half_a_point_of_the_split(split: dict[str, float]):
    counts = Counter(arms_of(split))
    assert all(abs(counts[arm] / 100_000 - share) < 0.005 for arm, share in split.items())


def test_every_symbol_gets_its_share():
    arms = arms_of({"v6_fixed": 0.5, "v8": 0.5})
    shares = [arms[i : i + 10_000].count("v8") / 10_000 for i in range(0, 100_000, 10_000)]
    assert max(abs(share - 0.5) for share in shares) < 0.02


def test_a_change_of_split_moves_only_the_keys_that_must_move():
    before, after = arms_of({"v6_fixed": 0.9, "v8": 0.1}), arms_of({"v6_fixed": 0.7, "v8": 0.3})
    moves = Counter((old, new) for old, new in zip(before, after, strict=True) if old != new)
    assert moves.keys() == {("v6_fixed", "v8")}
    assert moves["v6_fixed", "v8"] / 100_000 == pytest.approx(0.2, abs=0.005)


def test_of_three_arms_the_one_whose_borders_stay_keeps_its_keys():
    before, after = arms_of(SPLIT), arms_of({"v6_fixed": 0.7, "v8": 0.1, "ensemble": 0.2})
    moves = {(old, new) for old, new in zip(before, after, strict=True) if old != new}
    assert moves == {("v6_fixed", "ensemble")}


def test_an_arm_of_share_0_gets_nothing_and_moves_nobody():
    two = {"v6_fixed": 0.9, "ensemble": 0.1}
    assert arms_of({**two, "v8": 0.0}) == arms_of(two)


def test_shares_that_sum_to_a_hair_under_1_leave_no_key_without_an_arm():
    assert Counter(arms_of({"v6_fixed": 0.3333333, "v8": 0.6666666})).keys() == {"v6_fixed", "v8"}


@pytest.mark.parametrize("fields", [{"salt": "other"}, {"name": "second"}])
def test_another_salt_or_name_deals_anew_and_independently(fields: dict[str, str]):
    half = {"v6_fixed": 0.5, "v8": 0.5}
    same = sum(old == new for old, new in zip(arms_of(half), arms_of(half, **fields), strict=True))
    assert same / 100_000 == pytest.approx(0.5, abs=0.01)


@given(st.integers(1, 10080), st.integers(0, 10**6), st.integers(0, 10**9))
def test_a_symbol_keeps_its_arm_within_a_block(minutes: int, block: int, offset: int):
    ab, length = experiment(block_minutes=minutes), minutes * 60_000
    start = block * length
    arms = {assign(ab, "BTC-USD", time_ms) for time_ms in (start, start + offset % length, start + length - 1)}
    assert len(arms) == 1


def test_blocks_change_the_arm_and_symbols_are_dealt_apart():
    ab = experiment({"v6_fixed": 0.5, "v8": 0.5})
    rows = {symbol: [assign(ab, symbol, hour * HOUR_MS) for hour in range(200)] for symbol in ("BTC-USD", "ETH-USD")}
    assert all(70 < row.count("v8") < 130 for row in rows.values())
    assert rows["BTC-USD"] != rows["ETH-USD"]


# ---- the decision

AB = Settings(
    defaults={"mode": "ab", "weights": {"v6_fixed": 0.4, "v8": 0.6}, "pool": {"method": "log", "temperature": 1.1}},
    experiment=experiment(),
    symbols={"SOL-USD": {"mode": "v6_fixed"}, "ETH-USD": {"mode": "ensemble", "weights": {"v8": 1.0}}},
)


@hypothesis_settings(deadline=None)
@given(st.sampled_from(["BTC-USD", "ETH-USD", "SOL-USD"]), st.integers(0, 2**42))
def test_the_decision_is_pure(symbol: str, time_ms: int):
    assert decide(AB, symbol, time_ms) == decide(AB, symbol, time_ms)


def test_in_mode_ab_the_arm_answers():
    hours = range(300)
    decisions = [decide(AB, "BTC-USD", hour * HOUR_MS) for hour in hours]
    assert [d.arm for d in decisions] == [assign(experiment(), "BTC-USD", hour * HOUR_MS) for hour in hours]
    assert {d.variant for d in decisions} == {"v6_fixed", "v8", "ensemble"}
    assert all(d.variant == d.arm and d.mode == "ab" and not d.override for d in decisions)


def test_one_generation_answers_alone_with_weight_1():
    decision = decide(AB, "SOL-USD", 0)
    assert (decision.variant, decision.weights, decision.arm) == ("v6_fixed", {"v6_fixed": 1.0}, None)
    assert decision.generations == ("v6_fixed",)


def test_the_ensemble_runs_what_has_a_share():
    assert decide(AB, "BTC-USD", 0, variant="ensemble").generations == ("v6_fixed", "v8")
    assert decide(AB, "ETH-USD", 0).generations == ("v8",)


def test_a_variant_overrides_mode_and_arm():
    decision = decide(AB, "BTC-USD", 0, variant="v8")
    assert (decision.variant, decision.weights, decision.override) == ("v8", {"v8": 1.0}, True)
    assert decision.mode == "ab"


@pytest.mark.parametrize(
    ("weights", "calibrated"),
    [
        ({"v6_fixed": 0.4, "v8": 0.6}, True),
        ({"v8": 0.6, "v6_fixed": 0.4}, True),
        ({"v6_fixed": 0.5, "v8": 0.5}, False),
    ],
)
def test_weights_override_and_only_the_configured_ones_are_calibrated(weights: dict, calibrated: bool):
    decision = decide(AB, "BTC-USD", 0, weights=weights)
    assert (decision.variant, decision.override, decision.calibrated) == ("ensemble", True, calibrated)
    assert decision.weights == weights
    assert decision.pool.temperature == 1.1


def test_a_weight_on_one_model_alone_is_that_model():
    decision = decide(AB, "BTC-USD", 0, weights={"v6_fixed": 0.0, "v8": 1.0})
    assert (decision.variant, decision.weights, decision.calibrated) == ("v8", {"v8": 1.0}, True)
    assert decision.override


def test_without_an_override_the_decision_is_calibrated_and_no_override():
    decision = decide(Settings(), "BTC-USD", 0)
    pool = Settings().defaults.pool
    assert decision == Decision("ensemble", "ensemble", {"v6_fixed": 0.5, "v8": 0.5}, pool, "ensemble")


# ---- where a model is out

BOTH = ("v6_fixed", "v8")
OUT = {"v8": "v8 is out: clamped"}


def settings_of(mode: str, **fields: object) -> Settings:
    return Settings.model_validate({"defaults": {"mode": mode}, **fields})


def test_what_no_model_of_is_out_stays_as_it_is():
    decision = decide(settings_of("v6_fixed"), "BTC-USD", 0)
    assert fall_back(decision, settings_of("v6_fixed"), "BTC-USD", BOTH, OUT) is decision


@pytest.mark.parametrize("mode", ["v8", "ensemble"])
def test_the_control_answers_for_every_arm_that_the_model_is_part_of(mode: str):
    settings = settings_of(mode)
    fallen = fall_back(decide(settings, "BTC-USD", 0), settings, "BTC-USD", BOTH, OUT)
    assert fallen is not None
    assert (fallen.variant, fallen.weights, fallen.assigned) == ("v6_fixed", {"v6_fixed": 1.0}, mode)
    assert fallen.degraded == "v8 is out: clamped"


def test_the_experiments_control_comes_first_and_its_arm_is_kept():
    ab = {"name": "x", "split": {"v8": 0.5, "v6_fixed": 0.5}, "control": "v8", "salt": "s"}
    settings = settings_of("ab", experiment=ab)
    times = (hour * HOUR_MS for hour in range(99))
    asked = next(d for d in (decide(settings, "BTC-USD", t) for t in times) if d.arm == "v6_fixed")
    fallen = fall_back(asked, settings, "BTC-USD", BOTH, {"v6_fixed": "out"})
    assert fallen is not None and (fallen.variant, fallen.arm) == ("v8", "v6_fixed")


def test_where_the_control_is_out_too_the_arm_that_is_left_answers():
    settings = settings_of("v6_fixed")
    fallen = fall_back(decide(settings, "BTC-USD", 0), settings, "BTC-USD", BOTH, {"v6_fixed": "out"})
    assert fallen is not None and fallen.variant == "v8"


@pytest.mark.parametrize("available", [BOTH, ("v8",)])
def test_with_all_arms_out_there_is_no_decision(available: tuple[str, ...]):
    settings = settings_of("ensemble")
    decision = decide(settings, "BTC-USD", 0)
    assert fall_back(decision, settings, "BTC-USD", available, {"v6_fixed": "out", **OUT}) is None  # type: ignore[arg-type]
    assert fall_back(decision, settings, "BTC-USD", ("v8",), OUT) is None
