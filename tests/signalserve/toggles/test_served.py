"""A change against the models that are there."""

import pytest
from stores import BTC, whole, write_model, write_store

from signalserve.errors import BundleError, ConfigError
from signalserve.settings import parse_settings
from signalserve.toggles.exposure import EVERY_OTHER
from signalserve.toggles.served import check_served, served_symbols


@pytest.fixture
def store(tmp_path):
    return write_store(tmp_path / "store", generations=["v6_fixed"], gates=None)


def settings(mode="v6_fixed", *, allow=True, **fields):
    return parse_settings(whole({"defaults": {"mode": mode}, "allow_failed_gates": allow, **fields}), "f")


def test_what_the_models_can_do_passes(store):
    assert check_served(settings(), store) is None


@pytest.mark.parametrize(
    ("wished", "error", "words"),
    [
        (settings("v8"), ConfigError, "BTC-USD: mode or weights ask for v8, of which there is no bundle"),
        (settings(symbols={"DOGE-USD": {}}), ConfigError, "expected symbols among BTC-USD, got DOGE-USD"),
        (settings(allow=False), ConfigError, "v6_fixed/BTC-USD/1 was never judged"),
        (
            settings(bundles={BTC: {"v6_fixed": "7"}}),
            BundleError,
            "BTC-USD pins v6_fixed version 7, which is not under",
        ),
    ],
)
def test_what_the_service_would_refuse_is_refused(store, wished, error, words):
    with pytest.raises(error, match=words):
        check_served(wished, store)


def test_the_newest_version_counts(store):
    write_model(store, "v6_fixed", version="2", gates={"passed": ["all"], "failed": [], "report": {}})
    assert check_served(settings(allow=False), store) is None


def test_a_damaged_bundle_keeps_nobody_from_the_toggles(store):
    [weights] = store.rglob("weights.safetensors")
    weights.write_bytes(b"damage")
    words = check_served(settings("v8"), store)
    assert words is not None
    assert words.startswith("not checked against the models: ")
    assert "weights.safetensors: sha256" in words


def test_symbols_are_the_stores_else_the_settings_own(store, tmp_path):
    assert served_symbols(store, settings()) == [BTC]
    own = settings(symbols={"ETH-USD": {}})
    assert served_symbols(tmp_path / "nowhere", own, settings()) == ["ETH-USD", EVERY_OTHER]
