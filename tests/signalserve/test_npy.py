"""npy bytes: their shape and data, and nothing that a header could make us do."""

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from stores import npy_bytes

from signalserve.errors import BadNpy
from signalserve.npy import read_npy


def with_header(header: str | bytes, version: int = 1, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else header.encode("latin-1")
    return b"\x93NUMPY" + bytes([version, 0]) + len(text).to_bytes(2 if version == 1 else 4, "little") + text + data


def header(descr: str = "'<f4'", fortran: str = "False", shape: str = "(1,)") -> bytes:
    return with_header(f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n")


@pytest.mark.parametrize("shape", [(60, 72), (3, 60, 72), (0,), ()])
def test_shape_and_data_are_those_of_the_array(shape: tuple[int, ...]):
    array = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    got, data = read_npy(npy_bytes(array))
    assert got == shape
    assert np.array_equal(np.frombuffer(data, np.float32).reshape(shape), array)


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_format_of_numpy_is_read(version: tuple[int, int]):
    file = io.BytesIO()
    np.lib.format.write_array(file, np.ones((2, 3), np.float32), version=version)
    assert read_npy(bytearray(file.getvalue()))[0] == (2, 3)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "expected an npy file: float32 .*, got an empty body"),
        (b'{"symbol": 1}', "got bytes without the npy magic"),
        (b"\x93NUMPY", "expected npy format 1, 2 or 3, got format 0"),
        (b"\x93NUMPY\x09\x00\x00\x00", "got format 9"),
        (npy_bytes(np.ones(3, np.float32))[:40], "got a truncated or oversized header"),
        (with_header(b" " * 5000), "got a truncated or oversized header"),
        (with_header(b" " * 5000, version=2), "got a truncated or oversized header"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}", "got a truncated or oversized header"),
        (with_header("not a header"), "got a header that is not one"),
        (with_header("{'descr': '<f4'}"), "got a header that is not one"),
        (with_header("[1, 2]"), "got a header that is not one"),
        (with_header("{[]: 1}"), "got a header that is not one"),
        (with_header("(" * 3000), "got a header that is not one"),
        (with_header("-" * 3000 + "1"), "got a header that is not one"),
        (with_header("__import__('os').system('true')"), "got a header that is not one"),
        (npy_bytes(np.ones(3)), r"got type '<f8'; convert with array.astype\('<f4'\)"),
        (npy_bytes(np.ones(3, ">f4")), "got type '>f4'"),
        (npy_bytes(np.ones(3, np.int32)), "got type '<i4'"),
        (npy_bytes(np.ones(3, [("a", "<f4")])), "got type a list"),
        (npy_bytes(np.array([{}]), allow_pickle=True), "got a pickle"),
        (npy_bytes(np.asfortranarray(np.ones((3, 2), np.float32))), "got Fortran order; convert with numpy.ascont"),
        (header(fortran="None"), "Fortran order"),
        (header(shape="[1]"), "expected a shape of whole numbers, got a list"),
        (header(shape="(1.0,)"), "expected a shape of whole numbers"),
        (header(shape="(True,)"), "expected a shape of whole numbers"),
        (header(shape="(-1,)"), "expected a shape of whole numbers"),
        (header(shape="(-0x" + "f" * 3900 + ",)"), "expected a shape of whole numbers"),  # too long for str()
    ],
)
def test_what_is_not_a_float32_array_is_refused_in_words(body: bytes, words: str):
    with pytest.raises(BadNpy, match=words):
        read_npy(body)


class Trap:
    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("/tmp/executed"),)


def test_a_pickle_inside_is_never_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    executed = tmp_path / "executed"
    monkeypatch.setattr(Trap, "__reduce__", lambda self: (Path.touch, (executed,)))
    body = npy_bytes(np.array([Trap()], dtype=object), allow_pickle=True)
    assert pickle.dumps(Trap())[-20:] in body or b"touch" in body
    with pytest.raises(BadNpy, match="pickle"):
        read_npy(body)
    assert not executed.exists()


def test_a_header_that_claims_terabytes_allocates_nothing():
    shape, data = read_npy(header(shape="(10**9, 60, 72)".replace("10**9", "1000000000")))
    assert shape == (1_000_000_000, 60, 72)
    assert len(data) == 0


@settings(deadline=None)
@given(st.binary(max_size=300) | st.text(max_size=200).map(lambda text: with_header(text.encode())))
@example(with_header("{'descr': '<f4', 'fortran_order': False, 'shape': 0x" + "f" * 3900 + "}"))
def test_any_bytes_are_an_array_or_bad_npy(body: bytes):
    try:
        read_npy(body)
    except BadNpy as error:
        assert error.status == 400
