"""torch.save's files come out as torch wrote them; files of other kinds are named, with what to do."""

import argparse
import io
import json
import os
import pickle
import sys
import zipfile
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler

from export.checkpoints.pickles import StandIn, read_pickle
from export.checkpoints.torch_files import read_file, read_torch
from signalserve.errors import CheckpointError
from tests.export.checkpoints.originals import in_main

NUMPY_DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.int64, torch.int32, torch.int16, torch.int8, torch.bool),
    *(torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.complex64, torch.complex128),
]


def saved(value: object, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


@pytest.fixture
def reread(tmp_path: Path) -> Any:
    """A value, saved by torch and read."""

    def reread(value: object, **options: Any) -> Any:
        path = tmp_path / "lstm_BTC-USD.pt"
        torch.save(value, path, **options)
        return read_torch(path)

    return reread


def small_network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.BatchNorm1d(5), torch.nn.LSTM(5, 4, 2))


def assert_same(found: Any, weights: dict[str, torch.Tensor]) -> None:
    assert list(found) == list(weights)
    for name, tensor in weights.items():
        np.testing.assert_array_equal(found[name], tensor.detach().numpy())
        assert found[name].dtype == tensor.detach().numpy().dtype


@pytest.mark.parametrize("dtype", NUMPY_DTYPES)
def test_every_type_of_numbers_comes_out_as_it_went_in(dtype: torch.dtype, reread: Any) -> None:
    weights = {"a": torch.arange(24).reshape(2, 3, 4).to(dtype), "scalar": torch.tensor(1).to(dtype)}
    assert_same(reread(weights), weights)


def test_bfloat16_becomes_float32_exactly(reread: Any) -> None:
    tensor = torch.tensor([0.1, -3.0, 1e-7, 6e4, float("inf"), float("-inf"), float("nan")]).bfloat16()
    assert_same({"a": reread(tensor)}, {"a": tensor.float()})
    assert_same({"a": reread(tensor[:0])}, {"a": tensor[:0].float()})


@pytest.mark.parametrize(
    "view",
    {
        "transposed": lambda t: t.T,
        "every second": lambda t: t[:, ::2],
        "one row": lambda t: t[2],
        "one number": lambda t: t[1, 3],
        "nothing": lambda t: t[:0],
        "expanded": lambda t: t[0, 1].expand(3, 2),
    }.values(),
)
def test_a_view_of_a_storage_is_that_view(view: Any, reread: Any) -> None:
    tensor = torch.arange(20.0).reshape(4, 5)
    assert_same(reread({"view": view(tensor)}), {"view": view(tensor)})


def test_tensors_of_one_storage_share_memory(reread: Any) -> None:
    weight = torch.arange(6.0)
    found = reread({"base_model.fc1": weight, "fc1": weight[2:]})
    assert np.shares_memory(found["base_model.fc1"], found["fc1"])
    with pytest.raises(ValueError, match="read-only"):
        found["fc1"][0] = 1


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_state_dict_comes_out_of_every_protocol(protocol: int, reread: Any) -> None:
    weights = small_network().state_dict()
    assert_same(reread(weights, pickle_protocol=protocol), weights)


def test_parameters_are_their_numbers(reread: Any) -> None:
    parameters = dict(small_network().named_parameters())
    assert_same(reread(parameters), parameters)


def test_the_state_of_an_optimizer_after_a_step(reread: Any) -> None:
    layer = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.01)
    layer(torch.ones(4, 3)).sum().backward()
    optimizer.step()
    found, state = reread(optimizer.state_dict()), optimizer.state_dict()
    assert found["param_groups"] == state["param_groups"]
    for number, moments in state["state"].items():
        assert_same(found["state"][number], moments)


def test_a_checkpoint_of_v8_with_its_processor(monkeypatch: pytest.MonkeyPatch, reread: Any) -> None:
    processor_class = type("V8FeatureProcessor", (), {"__module__": "__main__"})
    monkeypatch.setattr(sys.modules["__main__"], "V8FeatureProcessor", processor_class, raising=False)
    processor = processor_class()
    processor.scaler = StandardScaler().fit(np.eye(4))
    processor.fitted = True
    weights = small_network().state_dict()
    statistics = {"shares": np.array([0.2, 0.5, 0.3]), "accuracy": np.float64(0.44)}
    found = reread({"model_state_dict": weights, "processor": processor, "statistics": statistics})
    assert_same(found["model_state_dict"], weights)
    assert found["statistics"]["accuracy"] == 0.44
    assert isinstance(found["processor"], StandIn)
    assert found["processor"].name == "__main__.V8FeatureProcessor"
    np.testing.assert_array_equal(found["processor"].state["scaler"].state["mean_"], np.full(4, 0.25))


def test_what_serves_training_alone_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "lstm_BTC.pt"
    torch.save({"model_state_dict": {"w": torch.ones(3)}, "optimizer_state_dict": {"w": torch.full((3,), 7.0)}}, path)
    path.write_bytes(path.read_bytes().replace(np.full(3, 7, "<f4").tobytes(), bytes(12)))  # its checksum fails
    assert list(read_torch(path)) == ["model_state_dict"]


def test_what_else_a_configuration_holds(reread: Any) -> None:
    found = reread({"dtype": torch.bfloat16, "shape": torch.Size([60, 72]), "device": torch.device("cuda:1")})
    assert found == {"dtype": "torch.bfloat16", "shape": (60, 72), "device": "cuda:1"}


def test_a_type_of_8_bits_is_refused_by_name(reread: Any) -> None:
    with pytest.raises(CheckpointError, match=r"refers to torch\.float8_e4m3fn"):
        reread({"weight": torch.zeros(2, dtype=torch.float8_e4m3fn)})


def test_a_conjugate_view_is_refused_with_what_to_do(reread: Any) -> None:
    with pytest.raises(CheckpointError, match=r"save tensor\.resolve_conj\(\)"):
        reread({"weight": torch.zeros(2, dtype=torch.complex64).conj()})


def test_a_file_too_large_for_a_checkpoint_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.pt"
    with path.open("wb") as file:
        file.write(b"PK\x03\x04")
        file.truncate(2**28 + 1)  # takes no space: a file with a hole
    with pytest.raises(CheckpointError, match="at most 268,435,456 bytes, got 268,435,457"):
        read_file(path)


def test_a_whole_model_is_refused_with_what_to_do(reread: Any) -> None:
    with pytest.raises(
        CheckpointError, match=r"torch\.nn\.modules\.\S+, which is no .* save model\.state_dict\(\) instead"
    ):
        reread(torch.nn.Linear(2, 2))


def test_a_whole_model_of_a_script_is_refused_with_what_to_do(reread: Any) -> None:
    with in_main("Net") as made, pytest.raises(CheckpointError, match=r"__main__\.Net, .* save model\.state_dict\(\)"):
        reread(made())


@pytest.mark.parametrize("value", [pd.Series([1.0]), pd.Timestamp(0), argparse.Namespace(lr=0.1), range(3)])
def test_what_owners_keep_beside_their_weights_is_refused_without_alarm(value: object, reread: Any) -> None:
    with pytest.raises(CheckpointError, match=r"which is not read here; nothing was executed.*save it again without"):
        reread({"weight": torch.ones(2), "history": value})


def test_the_content_decides_and_not_the_name(tmp_path: Path) -> None:
    (tmp_path / "weights.pkl").write_bytes(saved({"a": torch.ones(2)}))
    (tmp_path / "scaler.pt").write_bytes(pickle.dumps({"a": 1}))
    (tmp_path / "old.txt").write_bytes(pickle.dumps({"a": 1}, 0))
    np.testing.assert_array_equal(read_file(tmp_path / "weights.pkl")["a"], [1, 1])
    assert read_file(tmp_path / "scaler.pt") == read_file(tmp_path / "old.txt") == {"a": 1}


def dumped_by_joblib(**options: Any) -> bytes:
    file = io.BytesIO()
    joblib.dump(StandardScaler().fit(np.eye(3)), file, **options)
    return file.getvalue()


def npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, mean=np.zeros(3))
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (saved({"a": torch.ones(2)}, _use_new_zipfile_serialization=False), r"before torch 1\.6.*save it again with"),
        (dumped_by_joblib(), r"refers to joblib\..*It was written by joblib\.dump: where it was made, save it with"),
        (dumped_by_joblib(compress=("zlib", 3)), r"a compressed file of joblib\.dump; where it was made, save it with"),
        (dumped_by_joblib(compress=("gzip", 3)), "a gzip file; decompress it first"),
        (safetensors.torch.save({"a": torch.ones(2)}), r"a safetensors file; save what it holds with torch\.save"),
        (
            pickle.dumps(torch.ones(2)),
            r"torch\._utils\._rebuild_tensor_v2.*pickled without torch\.save.*use torch\.save",
        ),
        (npz(), r"expected a zip of torch\.save with one data\.pkl in its folder, got 0 of them"),
        (json.dumps({"accuracy": 0.68}).encode(), "a text file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "pointer of Git LFS, .* run git lfs pull"),
        (b"", "an empty file"),
        (bytes(range(1, 40)), "bytes of no known kind"),
    ],
)
def test_a_file_of_another_kind_is_named_with_what_to_do(data: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "lstm_BTC.pt"
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=words):
        read_file(path)


@pytest.mark.parametrize("read", [read_file, read_torch, read_pickle])
def test_what_is_no_file_is_not_waited_for(read: Any, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="expected a file, got a folder"):
        read(tmp_path)
    os.mkfifo(tmp_path / "pipe.pt")
    (tmp_path / "zero.pt").symlink_to("/dev/zero")
    for name in ("pipe.pt", "zero.pt"):
        with pytest.raises(CheckpointError, match=rf"{name}: expected a file, got a pipe or a device"):
            read(tmp_path / name)


EDITS = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=5)
CHECKPOINT = saved({"model_state_dict": {"w": torch.arange(6.0).reshape(2, 3).T, "h": torch.ones(2).half()}, "T": 8.0})


def edited(data: bytes, edits: list[tuple[int, int]]) -> bytes:
    damaged = bytearray(data)
    for position, byte in edits:
        damaged[position % len(damaged)] = byte
    return bytes(damaged)


def assert_read_or_refused(data: bytes, folder: Path) -> None:
    path = folder / "damaged.pt"
    path.write_bytes(data)
    try:
        repr(read_torch(path))
    except CheckpointError as error:
        assert str(error).startswith(str(path))


@given(EDITS)
@settings(deadline=None, max_examples=200)
def test_a_damaged_zip_is_read_or_refused_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, int]]
) -> None:
    assert_read_or_refused(edited(CHECKPOINT, edits), tmp_path_factory.getbasetemp())


@given(EDITS)
@settings(deadline=None, max_examples=300)
def test_a_sound_zip_around_a_damaged_pickle_is_read_or_refused_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, int]]
) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(CHECKPOINT)) as sound, zipfile.ZipFile(file, "w") as damaged:
        for name in sound.namelist():
            data = sound.read(name)
            damaged.writestr(name, edited(data, edits) if name.endswith("data.pkl") else data)
    assert_read_or_refused(file.getvalue(), tmp_path_factory.getbasetemp())
