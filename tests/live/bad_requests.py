"""Requests that are wrong, each with the status and code that the contract gives it."""

import io
import json
import pickle
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from live.windows import JSON, Case, npy_of

NPY = {"Content-Type": "application/x-npy", "X-Symbol": "BTC-USD"}


@dataclass(frozen=True)
class Bad:
    name: str
    status: int
    code: str
    body: bytes
    headers: dict[str, str] = field(default_factory=lambda: JSON)


def bad_requests(case: Case) -> Iterator[Bad]:
    """case: a good BTC-USD window, of which each of these is a spoiled copy."""
    yield from _bodies()
    yield from _features(case)
    yield from _candles(case)
    yield from _fields(case)
    yield from _arrays(case)


def _json(name: str, status: int, code: str, content: Any) -> Bad:
    return Bad(name, status, code, json.dumps(content).encode())


def _bodies() -> Iterator[Bad]:
    yield Bad("empty body", 400, "bad_json", b"")
    yield Bad("no content type", 400, "bad_content_type", b"{}", {})
    yield Bad(
        "form content type", 400, "bad_content_type", b"a=1", {"Content-Type": "application/x-www-form-urlencoded"}
    )
    yield Bad("text content type", 400, "bad_content_type", b"{}", {"Content-Type": "text/plain"})
    yield Bad("malformed JSON", 400, "bad_json", b'{"symbol": "BTC-USD", ')
    yield Bad("bytes that are no text", 400, "bad_json", b"\xff\xfe\x00")
    yield Bad("nested beyond reason", 400, "bad_json", b"[" * 100_000)
    yield _json("a list", 400, "bad_json", [1, 2])


def _features(case: Case) -> Iterator[Bad]:
    rows = case.by_position()["features"]
    named = case.by_name()["features"]

    def with_rows(new: Any) -> dict[str, Any]:
        return {"symbol": "BTC-USD", "features": new}

    def with_value(value: Any) -> dict[str, Any]:
        return with_rows([[*rows[0][:5], value, *rows[0][6:]], *rows[1:]])

    for word in ("NaN", "Infinity", "-Infinity"):
        yield Bad(f"the word {word}", 400, "bad_json", json.dumps(with_value(0.125)).replace("0.125", word, 1).encode())
    yield Bad("1e400", 400, "bad_json", json.dumps(with_value(0.125)).replace("0.125", "1e400", 1).encode())
    yield _json("null among numbers", 422, "not_finite", with_value(None))
    yield _json("a string among numbers", 422, "bad_field", with_value("1.0"))
    yield _json("a boolean among numbers", 422, "bad_field", with_value(True))
    yield _json("1e39, beyond float32", 422, "not_finite", with_value(1e39))
    yield _json("ragged rows", 422, "bad_shape", with_rows([rows[0][:-1], *rows[1:]]))
    yield _json("59 rows", 422, "bad_shape", with_rows(rows[1:]))
    yield _json("61 rows", 422, "bad_shape", with_rows([*rows, rows[0]]))
    yield _json("71 columns", 422, "bad_shape", with_rows([row[1:] for row in rows]))
    yield _json("73 columns", 422, "bad_shape", with_rows([[*row, 0.0] for row in rows]))
    yield _json("transposed", 422, "bad_shape", with_rows(case.values.T.tolist()))
    yield _json("no rows", 422, "bad_shape", with_rows([]))
    yield _json("features as a number", 422, "bad_field", with_rows(3))
    yield _json(
        "a missing column", 422, "missing_columns", with_rows({k: v for k, v in named.items() if k != "rsi_14"})
    )
    yield _json("a surplus column", 422, "unknown_columns", with_rows(named | {"rsi_15": named["rsi_14"]}))
    yield _json("a short column", 422, "bad_shape", with_rows(named | {"rsi_14": named["rsi_14"][1:]}))
    for size in (1e12, 1e38):
        garbage = np.full((60, 72), size)
        yield _json(f"garbage of {size:g}", 422, "features_off_scale", with_rows(garbage.tolist()))
    yield _json("neither features nor candles", 422, "missing_field", {"symbol": "BTC-USD"})


def _candles(case: Case) -> Iterator[Bad]:
    rows = case.rows

    def edited(index: int, **changes: float) -> list[list[float]]:
        place = {name: i for i, name in enumerate(("timestamp_ms", "open", "high", "low", "close", "volume"))}
        row = list(rows[index])
        for name, value in changes.items():
            row[place[name]] = value
        return [*rows[:index], row, *rows[index + 1 :]]

    def bad(name: str, candles: Any) -> Bad:
        return _json(f"candles: {name}", 422, "bad_candles", {"symbol": "BTC-USD", "candles": candles})

    yield bad("unsorted", [rows[1], rows[0], *rows[2:]])
    yield bad("newest first", rows[::-1])
    yield bad("duplicated", [*rows[:500], rows[499], *rows[500:]])
    yield bad("with a gap", [[row[0] - 60_000, *row[1:]] for row in rows[:500]] + rows[500:])
    yield bad(
        "of five minutes", [[rows[0][0] // 300_000 * 300_000 + 300_000 * i, *row[1:]] for i, row in enumerate(rows)]
    )
    yield bad("a negative price", edited(700, low=-1.0))
    yield bad("high below low", edited(700, high=rows[700][3] - 1))
    yield bad("a negative volume", edited(700, volume=-1.0))
    yield bad("too few", rows[1:])
    yield bad("not rows", {"open": []})
    yield bad("a null", edited(700, close=None))  # type: ignore[arg-type]
    yield bad("a short row", [*rows[:-1], rows[-1][:5]])


def _fields(case: Case) -> Iterator[Bad]:
    good = case.by_position()
    yield _json("no symbol", 422, "missing_field", {"features": good["features"]})
    yield _json("unknown symbol", 422, "unknown_symbol", good | {"symbol": "DOGE-USD"})
    yield _json("symbol as a number", 422, "unknown_symbol", good | {"symbol": 7})
    yield _json("a surplus field", 422, "extra_field", good | {"leverage": 100})
    yield _json("both features and candles", 422, "extra_field", good | {"candles": case.rows})
    yield _json("as_of without an offset", 422, "bad_field", good | {"as_of": "2026-11-24T10:15:00"})
    yield _json("request_id too long", 422, "bad_field", good | {"request_id": "x" * 129})
    yield _json("close of 0", 422, "bad_field", good | {"close": 0})
    yield _json("unknown variant", 422, "bad_variant", good | {"variant": "v9"})
    for weights in ({"v6_fixed": -0.1, "v8": 1.1}, {"v6_fixed": 0.5, "v8": 0.4}, {"v9": 1.0}, {}, [0.5, 0.5]):
        yield _json(f"weights {weights}", 422, "bad_weights", good | {"weights": weights})
    yield _json("weights and variant", 422, "bad_weights", good | {"weights": {"v8": 1.0}, "variant": "v8"})
    yield _json("65 instances", 413, "too_large", {"instances": [{"symbol": "BTC-USD"}] * 65})
    yield _json("no instances", 422, "bad_field", {"instances": []})
    yield _json("one bad instance", 422, "unknown_symbol", {"instances": [good, good | {"symbol": "X"}]})


def _arrays(case: Case) -> Iterator[Bad]:
    good = npy_of(case.values)
    evil = io.BytesIO()
    np.save(evil, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    spoiled = case.values.copy()
    spoiled[3, 4] = np.nan
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 60, 72), }\n"
    terabytes = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
    yield Bad("npy: empty", 400, "bad_npy", b"", NPY)
    yield Bad("npy: garbage", 400, "bad_npy", b"\x00" * 500, NPY)
    yield Bad("npy: a bare pickle", 400, "bad_npy", pickle.dumps([1, 2]), NPY)
    yield Bad("npy: a pickle inside", 400, "bad_npy", evil.getvalue(), NPY)
    yield Bad("npy: float64", 400, "bad_npy", npy_of(case.values.astype(np.float64)), NPY)
    yield Bad("npy: big endian", 400, "bad_npy", npy_of(case.values.astype(">f4")), NPY)
    yield Bad("npy: Fortran order", 400, "bad_npy", npy_of(np.asfortranarray(case.values)), NPY)
    yield Bad("npy: truncated", 400, "bad_npy", good[:-1], NPY)
    yield Bad("npy: truncated header", 400, "bad_npy", good[:40], NPY)
    yield Bad("npy: surplus bytes", 400, "bad_npy", good + b"\x00", NPY)
    yield Bad("npy: terabytes claimed, no data", 413, "too_large", terabytes, NPY)
    yield Bad("npy: transposed", 422, "bad_shape", npy_of(np.ascontiguousarray(case.values.T)), NPY)
    yield Bad("npy: NaN", 422, "not_finite", npy_of(spoiled), NPY)
    yield Bad("npy: no symbol", 422, "missing_field", good, {"Content-Type": "application/x-npy"})
    yield Bad("npy: unknown symbol", 422, "unknown_symbol", good, NPY | {"X-Symbol": "DOGE-USD"})
    yield Bad("npy: 257 windows", 413, "too_large", npy_of(np.zeros((257, 60, 72), dtype=np.float32)), NPY)
    yield Bad("npy: unknown variant", 422, "bad_variant", good, NPY | {"X-Variant": "v9"})
