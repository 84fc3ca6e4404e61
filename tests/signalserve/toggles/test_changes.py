"""What each command writes, where there is something to decide."""

import pytest
from stores import whole

from signalserve.errors import ConfigError
from signalserve.settings import parse_settings
from signalserve.toggles import changes

AB = {
    "name": "x",
    "split": {"v6_fixed": 0.8, "v8": 0.2},
    "control": "v6_fixed",
    "salt": "s",
}


def settings(**content):
    return parse_settings(whole(content), "f")


def test_who_is_not_named_gets_nothing():
    before = settings(symbols={"BTC-USD": {"weights": {"v6_fixed": 0.3, "v8": 0.7}}}, experiment=AB)
    assert changes.weights(before, {"v8": 1.0}, "BTC-USD") == {
        ("symbols", "BTC-USD", "weights", "v6_fixed"): 0.0,
        ("symbols", "BTC-USD", "weights", "v8"): 1.0,
    }
    assert changes.experiment(before, split={"v6_fixed": 1.0}) == {
        ("experiment", "split", "v6_fixed"): 1.0,
        ("experiment", "split", "v8"): 0.0,
    }


def test_a_symbol_without_weights_gets_those_that_are_named():
    assert changes.weights(settings(), {"v8": 1.0}, "BTC-USD") == {("symbols", "BTC-USD", "weights", "v8"): 1.0}


def test_of_an_experiment_changes_what_is_given():
    assert changes.experiment(settings(experiment=AB), block_minutes=30) == {("experiment", "block_minutes"): 30}


def test_a_first_experiment_must_be_whole():
    with pytest.raises(
        ConfigError, match=r"a first one needs .*; got no --control and no --salt: signalserve toggle exp"
    ):
        changes.experiment(settings(), name="x", split={"v8": 1.0})
