"""Who answers how much, against a count of decisions; and when a change is said to widen it."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from signalserve.routing import decide
from signalserve.settings import Settings
from signalserve.toggles.exposure import EVERY_OTHER, exposure, remarks, widened

BTC, ETH = "BTC-USD", "ETH-USD"
HOUR_MS = 3_600_000
AB = {
    "name": "x",
    "split": {"v6_fixed": 0.8, "v8": 0.1, "ensemble": 0.1},
    "control": "v6_fixed",
    "salt": "s",
}


def settings(mode="v6_fixed", **fields):
    return Settings.model_validate({"defaults": {"mode": mode}, "experiment": AB, **fields})


def split(**shares):
    return {**AB, "split": shares}


def shares_of(n):
    return {"v6_fixed": n / 10, "v8": (10 - n) / 10}


SETTINGS = st.builds(
    lambda mode, own, n, m: settings(
        mode, symbols={BTC: {"mode": own, "weights": shares_of(n)}}, experiment=split(**shares_of(m), ensemble=0.0)
    ),
    st.sampled_from(["v6_fixed", "v8", "ensemble", "ab"]),
    st.sampled_from(["v6_fixed", "v8", "ensemble", "ab", None]),
    st.integers(0, 10),
    st.integers(0, 10),
)


@given(SETTINGS, st.sampled_from([BTC, ETH]))
def test_shares_are_those_of_the_decisions(given_settings, symbol):
    decided = Counter(decide(given_settings, symbol, hour * HOUR_MS).variant for hour in range(400))
    shares = exposure(given_settings, symbol)
    assert sum(shares.values()) == pytest.approx(1)
    assert all(abs(decided[arm] / 400 - share) < 0.12 for arm, share in shares.items())  # 4.8 standard deviations
    assert all(decided[arm] == 0 for arm, share in shares.items() if share == 0)


def test_an_ensemble_of_one_is_that_one():
    alone = settings("ensemble", symbols={BTC: {"weights": {"v6_fixed": 0, "v8": 1}}})
    assert exposure(alone, BTC) == {"v6_fixed": 0, "v8": 1, "ensemble": 0}


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (settings("v6_fixed"), settings("v8"), ["BTC-USD: v8 from 0 % to 100 % of the answers"]),
        (settings("v8"), settings("v6_fixed"), []),
        (settings("v8"), settings("ensemble"), ["BTC-USD: ensemble from 0 % to 100 % of the answers"]),
        (settings("ab"), settings("ab", experiment=split(v6_fixed=0.9, v8=0.1)), []),
        (
            settings("ab"),
            settings("ab", experiment=split(v6_fixed=0.7, v8=0.125, ensemble=0.175)),
            ["BTC-USD: v8 from 10 % to 12.5 % of the answers", "BTC-USD: ensemble from 10 % to 17.5 % of the answers"],
        ),
        (settings("ab"), settings("ab", experiment={**AB, "salt": "t", "name": "y", "block_minutes": 5}), []),
        (
            settings(),
            settings(experiment={**AB, "control": "v8"}),
            ["experiment: v8 takes v6_fixed's place where an arm is out"],
        ),
        (
            settings("ensemble"),
            settings("ensemble", symbols={BTC: {"pool": {"method": "log", "temperature": 2}}}),
            ["BTC-USD: the pool behind 100 % of the answers changes method, temperature"],
        ),
        (settings("v6_fixed"), settings("v6_fixed", symbols={BTC: {"weights": {"v8": 1}}}), []),
        (
            settings("ab", symbols={BTC: {"weights": {"v8": 1}}}, experiment=split(v6_fixed=0.7, v8=0.1, ensemble=0.2)),
            settings("ab", symbols={BTC: {"weights": {"v8": 1}}}, experiment=split(v6_fixed=0.7, v8=0.3)),
            [],  # 0.1 + 0.2 is a hair more than 0.3
        ),
        (settings(), settings(score_all_arms=True), []),
        (
            settings(),
            settings(allow_failed_gates=True),
            ["allow_failed_gates: models that failed their gates may answer"],
        ),
    ],
)
def test_what_widens_is_said(before, after, words):
    assert widened(before, after, [BTC]) == words


def test_the_control_is_the_one_from_before():
    control = {**AB, "control": "v8"}
    assert widened(settings("v6_fixed", experiment=control), settings("v8", experiment=control), [BTC]) == []
    assert widened(settings("v6_fixed"), settings("v8", experiment=control), [BTC])[0].startswith(
        "BTC-USD: v8 from 0 %"
    )


@hypothesis_settings(deadline=None)
@given(SETTINGS, SETTINGS)
def test_a_change_that_widens_nothing_leaves_more_to_the_control(before, after):
    if not widened(before, after, [BTC, EVERY_OTHER]):
        for symbol in (BTC, ETH):
            old, new = exposure(before, symbol), exposure(after, symbol)
            assert new["v6_fixed"] >= old["v6_fixed"] - 1e-9
            assert all(new[arm] <= old[arm] + 1e-9 for arm in ("v8", "ensemble"))


def test_defaults_that_do_not_reach_a_symbol_are_remarked():
    own = {"symbols": {BTC: {"mode": "v8"}, ETH: {"weights": {"v8": 1}}}}
    [remark] = remarks(settings("v6_fixed", **own), settings("v8", **own), [BTC, ETH])
    assert remark == "BTC-USD: own mode stays in force; change it with --symbol"


def test_a_temperature_that_was_fitted_to_other_weights_is_remarked():
    new = settings("ensemble", symbols={BTC: {"weights": {"v6_fixed": 0.3, "v8": 0.7}}})
    [remark] = remarks(settings("ensemble"), new, [BTC, ETH])
    assert remark.startswith("BTC-USD: the pool's temperature 1 was fitted to the weights before")


def test_an_experiment_that_nothing_uses_and_new_pins_are_remarked():
    new = settings(experiment={**AB, "salt": "t"}, bundles={BTC: {"v8": "3"}})
    assert [remark.partition(":")[0] for remark in remarks(settings(), new, [BTC])] == ["experiment", "bundles"]
