"""Plain pickles come out as what was put in, from every protocol, and a damaged one only ever says so."""

import collections
import datetime
import pickle
import sys
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler

from export.checkpoints.pickles import StandIn, read_pickle
from signalserve.errors import CheckpointError

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
OBJECT_PROTOCOLS = range(2, pickle.HIGHEST_PROTOCOL + 1)  # 0 and 1 write objects by copyreg's calls, which are refused

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False), inner, max_size=4)
    ),
)


def features(rows: int = 50) -> np.ndarray:
    return np.random.default_rng(0).normal(3.0, 2.0, size=(rows, 4))


class V8FeatureProcessor:
    """As its owners have it: a class of the script they ran."""

    def __init__(self) -> None:
        self.scaler = StandardScaler().fit(features())
        self.feature_columns = ["rsi_14", "sma_5"]
        self.fitted = True


@pytest.fixture
def reread(tmp_path: Path) -> Any:
    """A value, pickled and read."""

    def reread(value: object, protocol: int = 4) -> Any:
        path = tmp_path / "value.pkl"
        path.write_bytes(pickle.dumps(value, protocol))
        return read_pickle(path)

    return reread


@given(PLAIN, st.sampled_from(PROTOCOLS))
@settings(deadline=None)
def test_plain_values_come_out_as_they_went_in(
    tmp_path_factory: pytest.TempPathFactory, value: Any, protocol: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "plain.pkl"
    path.write_bytes(pickle.dumps(value, protocol))
    assert repr(read_pickle(path)) == repr(value)  # repr: 1, 1.0 and True are equal


@pytest.mark.parametrize("protocol", OBJECT_PROTOCOLS)
def test_a_fitted_scaler_is_its_attributes(protocol: int, reread: Any) -> None:
    scaler = StandardScaler().fit(features())
    found = reread(scaler, protocol)
    assert isinstance(found, StandIn)
    assert found.name == "sklearn.preprocessing._data.StandardScaler"
    assert set(found.state) == {*vars(scaler), "_sklearn_version"}
    for name in ("mean_", "scale_", "var_"):
        np.testing.assert_array_equal(found.state[name], getattr(scaler, name))
    assert found.state["n_samples_seen_"] == 50
    assert type(found.state["n_samples_seen_"]) in (int, float)


@pytest.mark.parametrize("protocol", OBJECT_PROTOCOLS)
def test_a_scaler_fitted_on_a_table_keeps_its_columns_names(protocol: int, reread: Any) -> None:
    scaler = StandardScaler().fit(pd.DataFrame(features(), columns=["rsi_14", "sma_5", "é", "returns"]))
    assert reread(scaler, protocol).state["feature_names_in_"] == ["rsi_14", "sma_5", "é", "returns"]


def test_a_scaler_of_an_old_scikit_learn_is_known(tmp_path: Path) -> None:
    path = tmp_path / "scaler.pkl"
    new = pickle.dumps(StandardScaler().fit(features()), 2)
    path.write_bytes(new.replace(b"csklearn.preprocessing._data\n", b"csklearn.preprocessing.data\n"))
    found = read_pickle(path)
    assert found.name == "sklearn.preprocessing.data.StandardScaler"
    assert found.state["n_features_in_"] == 4


def test_a_processor_pickled_from_a_script_is_its_attributes(monkeypatch: pytest.MonkeyPatch, reread: Any) -> None:
    monkeypatch.setattr(V8FeatureProcessor, "__module__", "__main__")
    monkeypatch.setattr(sys.modules["__main__"], "V8FeatureProcessor", V8FeatureProcessor, raising=False)
    found = reread(V8FeatureProcessor())
    assert found.name == "__main__.V8FeatureProcessor"
    assert (found.state["feature_columns"], found.state["fitted"]) == (["rsi_14", "sma_5"], True)
    np.testing.assert_array_equal(found.state["scaler"].state["mean_"], features().mean(axis=0))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("dtype", ["?", "i1", "u2", "i4", "i8", "u8", "f2", "f4", "f8", "c16", "U5", "S3"])
def test_arrays_come_out_as_they_went_in(dtype: str, protocol: int, reread: Any) -> None:
    array = np.arange(12).reshape(3, 4).astype(dtype)
    for given_array in (array, np.asfortranarray(array), array[:, ::2], array[:0], array[:1, :1].reshape(())):
        found = reread(given_array, protocol)
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, given_array)


def test_arrays_cannot_be_written_to(reread: Any) -> None:
    with pytest.raises(ValueError, match="read-only"):
        reread(np.zeros(3))[0] = 1


@pytest.mark.parametrize("scalar", [np.float32(0.1), np.int64(-3), np.bool_(True), np.str_("BTC"), np.float64(7)])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_numpy_scalars_become_plain(scalar: Any, protocol: int, reread: Any) -> None:
    found = reread(scalar, protocol)
    assert found == scalar
    assert type(found) in (float, int, bool, str)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_collections_become_plain(protocol: int, reread: Any) -> None:
    given_value = [
        collections.OrderedDict(b=1, a=2),
        collections.Counter("aab"),
        {1, 2},
        frozenset("x"),
        bytearray(b"y"),
    ]
    found = reread(given_value, protocol)
    assert found == [{"b": 1, "a": 2}, {"a": 2, "b": 1}, {1, 2}, {"x"}, b"y"]
    assert [type(value) for value in found] == [dict, dict, set, set, bytes]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_owners_keep_beside_numbers_becomes_plain(protocol: int, reread: Any) -> None:
    given_value = {
        "history": collections.defaultdict(list, loss=[0.5, 0.4]),
        "last": collections.deque([1, 2], maxlen=5),
        "at": datetime.time(16, 1, 2, 345678),
        "root": 1 + 2j,
        "from": PurePosixPath("/data/x.parquet"),
        "to": PureWindowsPath("C:/data/x.parquet"),
        "here": Path("x"),
    }
    assert reread(given_value, protocol) == {
        "history": {"loss": [0.5, 0.4]},
        "last": [1, 2],
        "at": "16:01:02.345678",
        "root": "(1+2j)",
        "from": "/data/x.parquet",
        "to": "C:\\data\\x.parquet",
        "here": "x",
    }


def test_a_default_of_an_unknown_kind_is_refused_by_name(reread: Any) -> None:
    with pytest.raises(CheckpointError, match=r"refers to builtins\.object"):
        reread(collections.defaultdict(object))
    with pytest.raises(CheckpointError, match=r"expected to make lists, .*, got collections\.OrderedDict"):
        reread(collections.defaultdict(collections.OrderedDict))


@pytest.mark.parametrize("zone", [None, datetime.UTC, datetime.timezone(datetime.timedelta(hours=-5, minutes=-30))])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_times_become_iso_text(protocol: int, zone: datetime.tzinfo | None, reread: Any) -> None:
    time = datetime.datetime(2025, 11, 24, 16, 1, 2, 345678, zone)
    assert reread({"training_date": time, "day": time.date()}, protocol) == {
        "training_date": time.isoformat(),
        "day": "2025-11-24",
    }


def test_what_was_shared_is_shared(reread: Any) -> None:
    mean = np.zeros(3)
    found = reread({"mean": mean, "again": mean})
    assert found["mean"] is found["again"]


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no\.pkl: cannot be read: No such file"):
        read_pickle(tmp_path / "no.pkl")


@given(st.sampled_from(OBJECT_PROTOCOLS), st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1))
@settings(deadline=None, max_examples=300)
def test_a_damaged_pickle_is_read_or_refused_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, protocol: int, edits: list[tuple[int, int]]
) -> None:
    value = {
        "scaler": StandardScaler().fit(features()),
        "at": datetime.datetime.now(datetime.UTC),
        "n": {1: (2.5, b"")},
    }
    damaged = bytearray(pickle.dumps(value, protocol))
    for position, byte in edits:
        damaged[position % len(damaged)] = byte
    path = tmp_path_factory.getbasetemp() / "damaged.pkl"
    path.write_bytes(damaged)
    try:
        repr(read_pickle(path))
    except CheckpointError as error:
        assert str(error).startswith(f"{path}: ")
