"""Bytes -> windows: three forms that give the same bits, and every fault by the words that a caller reads."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stores import AS_OF, BTC, ETH, LAST_BAR_MS, by_name, candles, candles_body, npy_bytes, raw_window, request_body

from signalserve.errors import RequestError
from signalserve.features import COLUMNS, compute_features
from signalserve.request import BadRequests, Request, SymbolSchema, Window, read_request

JSON = {"content-type": "application/json"}
NPY = {"content-type": "application/x-npy", "x-symbol": BTC}
SCHEMA = SymbolSchema(COLUMNS, positional=True, window=60, interval_ms=60_000)
SCHEMAS = {BTC: SCHEMA, ETH: SCHEMA}
AS_OF_MS = LAST_BAR_MS + 60_000

WINDOW = raw_window()
NAMED = by_name(WINDOW)
ROWS = WINDOW.tolist()


def read(
    body: object,
    headers: Mapping[str, str] = JSON,
    schemas: Mapping[str, SymbolSchema] = SCHEMAS,
    *,
    is_ensemble: bool = True,
) -> Request:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_request(raw, headers, schemas, is_ensemble=is_ensemble)


def one(body: object, **options: Any) -> Window:
    (window,) = read(body, **options).windows
    return window


def faults(body: object, headers: Mapping[str, str] = JSON, **options: Any) -> tuple[RequestError, ...]:
    with pytest.raises(BadRequests) as caught:
        read(body, headers, **options)
    assert caught.value.errors
    return caught.value.errors


def fault(body: object, headers: Mapping[str, str] = JSON, **options: Any) -> str:
    """The words of a request's only fault."""
    (error,) = faults(body, headers, **options)
    return f"{error.status} {error}"


def with_features(features: object, **fields: Any) -> dict[str, Any]:
    return {"symbol": BTC, "features": features, **fields}


def with_cell(value: str, form: object = ROWS) -> bytes:
    """A right request in which one number is replaced by this text: row 7, column ema_10 (8)."""
    marked = json.loads(json.dumps(form))
    if isinstance(marked, dict):
        marked["ema_10"][7] = "HERE"
    else:
        marked[7][8] = "HERE"
    return json.dumps(with_features(marked)).replace('"HERE"', value).encode()


# ---- what is right


def test_the_three_forms_of_features_give_the_same_bits():
    named = one(with_features(dict(reversed(NAMED.items()))))
    rows = one(with_features(ROWS))
    (npy,) = read(npy_bytes(WINDOW), NPY).windows
    assert np.array_equal(named.values, WINDOW)
    assert np.array_equal(rows.values, WINDOW)
    assert np.array_equal(npy.values, WINDOW)
    assert named.values.dtype == rows.values.dtype == npy.values.dtype == np.float32


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_any_float32_bits_survive_json_and_npy_alike(seed: int):
    bits = np.random.default_rng(seed).integers(0, 2**32, (60, 72), dtype=np.uint32)
    window = np.nan_to_num(bits.view(np.float32), nan=0.0, posinf=1.0, neginf=-1.0)
    rows, named = one(with_features(window.tolist())), one(with_features(by_name(window)))
    (npy,) = read(npy_bytes(window), NPY).windows
    assert window.tobytes() == rows.values.tobytes() == named.values.tobytes() == npy.values.tobytes()


def test_candles_give_the_features_that_trained_the_models():
    window = one(candles_body())
    expected = compute_features(candles())[-60:].astype(np.float32)
    assert np.array_equal(window.values, expected)
    assert window.as_of_ms == AS_OF_MS
    assert window.close == candles().close[-1]


def test_thousands_of_older_candles_change_nothing_that_a_model_could_see():
    long = one(candles_body(n=5000)).values
    bars = candles(n=5000)
    expected = compute_features(bars)[-60:]
    assert np.abs(long / expected - 1).max() < 1e-5


def test_candles_fill_the_schemas_own_columns_in_its_order():
    schema = SymbolSchema(("rsi_14", "ema_10"), positional=True, window=60, interval_ms=60_000)
    values = one(candles_body(), schemas={BTC: schema}).values
    whole = compute_features(candles())[-60:].astype(np.float32)
    assert np.array_equal(values, whole[:, [COLUMNS.index("rsi_14"), COLUMNS.index("ema_10")]])


def test_what_goes_with_a_request_is_read():
    window = one(request_body(request_id="bot-7 ü", as_of=AS_OF, close=104_000.5, variant="v8"))
    assert (window.request_id, window.as_of_ms, window.close, window.variant) == ("bot-7 ü", AS_OF_MS, 104_000.5, "v8")
    weighted = one(request_body(weights={"v6_fixed": 0.4, "v8": 0.6}))
    assert weighted.weights == {"v6_fixed": 0.4, "v8": 0.6}


def test_headers_carry_the_same_beside_npy():
    headers = {**NPY, "x-as-of": AS_OF, "x-request-id": "bot-7", "x-variant": "v8"}
    (window,) = read(npy_bytes(WINDOW), headers).windows
    assert (window.symbol, window.as_of_ms, window.request_id, window.variant) == (BTC, AS_OF_MS, "bot-7", "v8")


@pytest.mark.parametrize(
    "as_of", ["2025-11-24T16:01:00+00:00", "2025-11-24T17:01:00+01:00", "2025-11-24T16:01:00.000Z"]
)
def test_a_time_may_be_written_with_any_offset(as_of: str):
    assert one(request_body(as_of=as_of)).as_of_ms == AS_OF_MS


def test_null_means_not_given():
    nothing = dict.fromkeys(("request_id", "as_of", "close", "variant", "weights", "candles"))
    assert one(request_body(**nothing)).request_id is None


def test_a_batch_keeps_its_order_and_mixes_symbols():
    batch = read({"instances": [request_body(ETH, seed=1), request_body(BTC, seed=2), candles_body(ETH)]})
    assert batch.is_batch
    assert [window.symbol for window in batch.windows] == [ETH, BTC, ETH]
    assert np.array_equal(batch.windows[1].values, raw_window(BTC, seed=2))


def test_a_batch_of_one_is_a_batch():
    assert read({"instances": [request_body()]}).is_batch
    assert read(npy_bytes(WINDOW[None]), NPY).is_batch
    assert not read(request_body()).is_batch
    assert not read(npy_bytes(WINDOW), NPY).is_batch


def test_the_largest_batches_are_taken():
    assert len(read({"instances": [with_features(ROWS)] * 64}).windows) == 64
    assert len(read(npy_bytes(np.stack([WINDOW] * 256)), NPY).windows) == 256


def test_windows_of_an_npy_batch_get_ids_of_their_own():
    batch = read(npy_bytes(np.stack([WINDOW] * 3)), {**NPY, "x-request-id": "bot"})
    assert [window.request_id for window in batch.windows] == ["bot/0", "bot/1", "bot/2"]


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON", " application/json "])
def test_a_content_type_may_carry_parameters_and_any_case(content_type: str):
    assert one(request_body(), headers={"content-type": content_type}).symbol == BTC


# ---- 400: the body can't be read


@pytest.mark.parametrize(
    ("body", "headers", "words"),
    [
        (b"", JSON, "400 bad_json in body: expected a JSON object .*, got an empty body"),
        (b"{", JSON, "400 bad_json in body: expected a JSON object .*, got .* at line 1 column"),
        (b"[1]", JSON, "400 bad_json in body: .* got a list"),
        (b"null", JSON, "400 bad_json in body: .* got null"),
        (b"7", JSON, "400 bad_json in body: .* got a number"),
        (b'"text"', JSON, "400 bad_json in body: .* got a string"),
        (b"\xff\xfe{}", JSON, "400 bad_json in body"),
        (b'{"symbol": "\xed\xa0\x80"}', JSON, "400 bad_json in body"),  # half a surrogate pair
        (b"[" * 100_000, JSON, "400 bad_json in body"),
        (with_cell("NaN"), JSON, "400 bad_json in body: expected .*no NaN, no Infinity"),
        (with_cell("Infinity"), JSON, "400 bad_json in body: expected .*no NaN, no Infinity"),
        (with_cell("-Infinity"), JSON, "400 bad_json"),
        (with_cell("1e400"), JSON, "400 bad_json in body: .*got number is infinity"),
        (npy_bytes(WINDOW), {}, "400 bad_content_type in content-type: expected application/json or application/x-npy"),
        (b"{}", {"content-type": ""}, "400 bad_content_type .*got no content type"),
        (b"{}", {"content-type": "text/plain"}, "400 bad_content_type .*got 'text/plain'"),
        (b"", NPY, "400 bad_npy in body: expected an npy file: float32 .*, got an empty body"),
        (b"{}", NPY, "400 bad_npy in body: .*got bytes without the npy magic"),
        (npy_bytes(WINDOW.astype(np.float64)), NPY, "400 bad_npy in body: .*got type '<f8'"),
        (npy_bytes(WINDOW.astype(object), allow_pickle=True), NPY, "400 bad_npy in body: .*got a pickle"),
        (npy_bytes(np.asfortranarray(WINDOW)), NPY, "400 bad_npy in body: .*got Fortran order"),
        (
            npy_bytes(WINDOW)[:-1],
            NPY,
            r"400 bad_npy in body: expected 17280 bytes of data for shape \(60, 72\), got 17279",
        ),
        (npy_bytes(WINDOW) + b"x", NPY, "400 bad_npy in body: expected 17280 bytes .*, got 17281 bytes"),
    ],
)
def test_a_body_that_cannot_be_read_is_a_400_that_says_why(body: bytes, headers: dict[str, str], words: str):
    assert re.match(words, fault(body, headers))


def test_no_body_at_all_is_an_empty_one():
    with pytest.raises(BadRequests, match=r"bad_json in body: .*got an empty body"):
        read_request(None, JSON, SCHEMAS, is_ensemble=True)


# ---- 413: too many


def test_65_instances_are_too_many():
    assert fault({"instances": [{}] * 65}) == "413 too_large in instances: expected 1 to 64 requests, got 65"


def test_257_windows_are_too_many():
    words = fault(npy_bytes(np.zeros((257, 60, 72), np.float32)), NPY)
    assert words == "413 too_large in body: expected at most 256 windows, got 257"


def npy_header(shape: str) -> bytes:
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def test_a_header_that_claims_terabytes_is_too_large_at_once():
    words = fault(npy_header("(1000000000000, 60, 72)"), NPY)
    assert words.startswith("413 too_large in body: expected at most 256 windows")


def test_a_header_with_a_number_that_python_refuses_to_write_is_refused():
    words = fault(npy_header(f"(0x{'f' * 3900}, 60, 72)"), NPY)
    assert words == "400 bad_npy in body: expected a shape of whole numbers, got a number too long to write"


# ---- 422: read, and wrong


def changed(column: str, value: object) -> dict[str, Any]:
    return with_features({**NAMED, column: value})


WRONG_SHAPES: list[tuple[object, str]] = [
    (ROWS[:59], "bad_shape in features: expected 60 x 72 finite numbers, got 59 x 72"),
    ([*ROWS, ROWS[0]], "bad_shape in features: expected 60 x 72 finite numbers, got 61 x 72"),
    ([row[:71] for row in ROWS], "bad_shape in features: expected 60 x 72 finite numbers, got 60 x 71"),
    ([[*row, 0.0] for row in ROWS], "bad_shape in features: expected 60 x 72 finite numbers, got 60 x 73"),
    (WINDOW.T.tolist(), "bad_shape in features: expected 60 x 72 finite numbers, got 72 x 60"),
    ([], "bad_shape in features: expected 60 x 72 finite numbers, got 0 x 0"),
    ([*ROWS[:59], ROWS[0][:3]], "bad_shape in features: .*got ragged rows: row 0 has 72 numbers, row 59 has 3"),
    ([*ROWS[:59], 7], "bad_shape in features: .*got a number as row 59"),
    ([*ROWS[:59], None], "bad_shape in features: .*got null as row 59"),
    ("text", "bad_field in features: expected an object column -> 60 numbers, or 60 rows, got a string"),
    (True, "bad_field in features: .*got a boolean"),
    (7, "bad_field in features: .*got a number"),
]


@pytest.mark.parametrize(("features", "words"), WRONG_SHAPES)
def test_features_of_another_shape_say_which_they_have(features: object, words: str):
    assert re.match("422 " + words, fault(with_features(features)))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("null", r"not_finite in features\[7\].ema_10: expected 60 x 72 finite numbers, got null"),
        ('"7"', r"bad_field in features\[7\].ema_10: .*got '7'"),
        ("true", r"bad_field in features\[7\].ema_10: .*got True"),
        ("[]", r"bad_field in features\[7\].ema_10: .*got a list"),
        ("{}", r"bad_field in features\[7\].ema_10: .*got an object"),
        ("1e39", r"not_finite in features\[7\].ema_10: .*got infinity, or a number beyond float32 \(3.4e38\)"),
        ("-1e300", r"not_finite in features\[7\].ema_10: .*beyond float32"),
        ("1" + "0" * 60, r"not_finite in features\[7\].ema_10: .*beyond float32"),
    ],
)
@pytest.mark.parametrize("form", [ROWS, NAMED], ids=["rows", "named"])
def test_a_cell_that_is_no_number_is_named(value: str, words: str, form: object):
    assert re.match("422 " + words, fault(with_cell(value, form)))


@pytest.mark.parametrize("value", ["1e12", "1e38", "-0.0", "1e-320", "5"])
def test_a_cell_that_is_a_float32_is_read_whatever_its_size(value: str):
    # whether it is on the models' scale is not the reader's question
    assert one(with_cell(value)).values[7, 8] == np.float32(float(value))


NAMES: list[tuple[object, str]] = [
    ({name: NAMED[name] for name in COLUMNS[1:]}, "missing_columns in features: .*72 columns.* got none of atr_14$"),
    ({name: NAMED[name] for name in COLUMNS[9:]}, "missing_columns .*got none of atr_14, .* and 4 more"),
    ({}, "missing_columns in features: .*atr_14"),
    ({**NAMED, "rsi_99": [0.0] * 60}, "unknown_columns in features: .* got also rsi_99"),
    ({**NAMED, "atr_14": [0.0] * 59}, "bad_shape in features.atr_14: expected 60 finite numbers, got 59 numbers"),
    ({**NAMED, "atr_14": [0.0] * 61}, "bad_shape in features.atr_14: expected 60 finite numbers, got 61 numbers"),
    ({**NAMED, "atr_14": 7}, "bad_shape in features.atr_14: expected 60 finite numbers, got a number"),
    ({**NAMED, "atr_14": None}, "bad_shape in features.atr_14: expected 60 finite numbers, got null"),
]


@pytest.mark.parametrize(("features", "words"), NAMES)
def test_columns_that_do_not_fit_are_named(features: object, words: str):
    assert re.match("422 " + words, fault(with_features(features)))


def test_a_misspelt_column_is_reported_as_missing_and_as_unknown():
    misspelt = {("rsi14" if name == "rsi_14" else name): column for name, column in NAMED.items()}
    errors = faults(with_features(misspelt))
    assert {error.code: error.got for error in errors} == {
        "missing_columns": "none of rsi_14",
        "unknown_columns": "also rsi14",
    }


def candle_rows(change: Callable[[list[list[Any]]], object], n: int = 1060) -> dict[str, Any]:
    body = candles_body(n=n)
    change(body["candles"])
    return body


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (candles_body(n=1059), "bad_candles in candles: expected at least 1060 rows, got 1059 rows"),
        (
            candle_rows(lambda rows: rows.reverse()),
            "bad_candles in candles: expected rows sorted by time, oldest first",
        ),
        (
            candle_rows(lambda rows: rows.pop(500), n=1061),
            "bad_candles in candles: expected bars 60 s apart without gaps",
        ),
        (candle_rows(lambda rows: rows[3].__setitem__(2, None)), "bad_candles .*row 3 with high null"),
        (candle_rows(lambda rows: rows[3].__setitem__(4, -1.0)), "bad_candles .*expected positive prices"),
        (candle_rows(lambda rows: rows[3].__setitem__(0, 1_746_372_780)), "bad_candles .*timestamps in whole milli"),
        (candle_rows(lambda rows: rows[3].pop()), "bad_candles .*got row 3 with 5 values"),
        ({"symbol": BTC, "candles": "csv"}, 'bad_candles in candles: expected a list of rows .*got the string "csv"'),
        (
            candles_body(as_of="2025-11-24T16:02:00Z"),
            "bad_field in as_of: expected 2025-11-24T16:01:00Z, as the candles say, or nothing, got",
        ),
        (candles_body(close=1.0), "bad_field in close: expected .*, as the candles say, or nothing, got 1.0"),
    ],
)
def test_candles_that_are_no_series_of_bars_say_where(body: object, words: str):
    assert re.match("422 " + words, fault(body))


def test_what_follows_from_candles_may_be_given_too():
    assert one(candles_body(as_of=AS_OF, close=candles().close[-1])).as_of_ms == AS_OF_MS


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            with_features(NAMED, symbol="DOGE-USD"),
            "unknown_symbol in symbol: expected one of BTC-USD, ETH-USD, got 'DOGE-USD'",
        ),
        (with_features(NAMED, symbol=7), "unknown_symbol in symbol: .*got 7"),
        (with_features(NAMED, symbol=[BTC]), "unknown_symbol in symbol: .*got a list"),
        (with_features(NAMED, symbol=None), "missing_field in symbol: expected one of BTC-USD, ETH-USD, got nothing"),
        ({"symbol": BTC}, "missing_field in features: expected exactly one of features and candles, got neither"),
        (
            candles_body(features=NAMED),
            "extra_field in candles: expected exactly one of features and candles, got both",
        ),
        (request_body(featurs=1), "extra_field in featurs: expected only as_of, candles, .* got the field 'featurs'"),
        (request_body(request_id=""), "bad_field in request_id: expected 1 to 128 printable characters, got ''"),
        (request_body(request_id="x" * 129), "bad_field in request_id: expected 1 to 128"),
        (request_body(request_id="a\nb"), r"bad_field in request_id: .*got 'a\\nb'"),
        (request_body(request_id=7), "bad_field in request_id: .*got 7"),
        (request_body(as_of="yesterday"), "bad_field in as_of: expected a time with its offset, .*got 'yesterday'"),
        (request_body(as_of="2025-11-24T16:01:00"), "bad_field in as_of: expected a time with its offset"),
        (request_body(as_of=1_764_000_060_000), "bad_field in as_of: .*got 1764000060000"),
        (request_body(as_of="1970-01-01T00:00:00Z"), "bad_field in as_of"),
        (request_body(as_of="9999-12-31T23:59:59-23:59"), "bad_field in as_of"),
        (request_body(close=0), "bad_field in close: expected a price above 0, got 0"),
        (request_body(close="7"), "bad_field in close: expected a price above 0, got '7'"),
        (request_body(close=True), "bad_field in close: .*got True"),
        (request_body(variant="v7"), "bad_variant in variant: expected one of v6_fixed, v8, ensemble, got 'v7'"),
        (request_body(variant=[]), "bad_variant in variant: .*got a list"),
        (request_body(weights={"v6_fixed": -0.5, "v8": 1.5}), r"bad_weights in weights.v6_fixed: .*got -0.5"),
        (request_body(weights={"v6_fixed": 0.5, "v8": 0.6}), "bad_weights in weights: .*got a sum of 1.1"),
        (request_body(weights={"v6_fixed": 0.5, "v9": 0.5}), "bad_weights in weights: .*got the name 'v9'"),
        (request_body(weights={"v8": "1"}), "bad_weights in weights.v8: .*got '1'"),
        (request_body(weights={"v8": True}), "bad_weights in weights.v8: .*got True"),
        (request_body(weights={}), "bad_weights in weights"),
        (request_body(weights=[0.4, 0.6]), "bad_weights in weights: .*got a list"),
        (
            request_body(weights={"v8": 1}, variant="v8"),
            "bad_weights in weights: expected variant or weights, not both",
        ),
        ({"instances": []}, "bad_field in instances: expected 1 to 64 requests, got an empty list"),
        ({"instances": {}}, "bad_field in instances: expected 1 to 64 requests, got an object"),
        ({"instances": [7]}, "bad_field in request: expected an object, got a number"),
        ({"instances": [request_body()], "symbol": BTC}, "extra_field in symbol: expected nothing beside instances"),
    ],
)
def test_a_field_that_is_wrong_is_named_with_what_came(body: object, words: str):
    assert re.match("422 " + words, fault(body))


@pytest.mark.parametrize("total", [0.999999, 1.000001])
def test_weights_may_miss_1_by_1e_6(total: float):
    assert one(request_body(weights={"v6_fixed": 0.25, "v8": total - 0.25})).weights is not None


@pytest.mark.parametrize("field", [{"variant": "v8"}, {"weights": {"v8": 1}}])
def test_variant_and_weights_belong_to_the_ensemble(field: dict[str, Any]):
    words = fault(request_body(**field), is_ensemble=False)
    assert re.match("422 extra_field in (variant|weights): .*only on /predictions/ensemble", words)


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"x-symbol": "DOGE-USD"}, "unknown_symbol in X-Symbol: .*got 'DOGE-USD'"),
        ({"x-as-of": "soon"}, "bad_field in X-As-Of: expected a time with its offset"),
        ({"x-request-id": "x" * 129}, "bad_field in X-Request-Id"),
        ({"x-variant": "v7"}, "bad_variant in X-Variant: expected one of v6_fixed, v8, ensemble, got 'v7'"),
    ],
)
def test_a_header_that_is_wrong_is_named(headers: dict[str, str], words: str):
    assert re.match("422 " + words, fault(npy_bytes(WINDOW), {**NPY, **headers}))


def test_npy_without_a_symbol_says_which_header_it_needs():
    words = fault(npy_bytes(WINDOW), {"content-type": "application/x-npy"})
    assert words.startswith("422 missing_field in X-Symbol: expected one of BTC-USD, ETH-USD")


def test_npy_with_a_variant_outside_the_ensemble_is_refused():
    assert "extra_field in X-Variant" in fault(npy_bytes(WINDOW), {**NPY, "x-variant": "v8"}, is_ensemble=False)


@pytest.mark.parametrize("shape", [(60, 71), (59, 72), (72, 60), (60,), (1, 1, 60, 72), (0, 60, 72)])
def test_npy_of_another_shape_says_which_it_has(shape: tuple[int, ...]):
    words = fault(npy_bytes(np.zeros(shape, np.float32)), NPY)
    assert words == f"422 bad_shape in body: expected (60, 72) or (N, 60, 72), got {shape}"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_npy_that_is_not_finite_names_the_cell_and_the_window(value: float):
    windows = np.stack([WINDOW] * 3)
    windows[2, 59, 71] = value
    (error,) = faults(npy_bytes(windows), NPY)
    assert (error.code, error.instance, error.field) == ("not_finite", 2, "body[59].williams_r_21")


def test_without_an_order_that_all_models_share_only_names_will_do():
    schemas = {BTC: SymbolSchema(COLUMNS, positional=False, window=60, interval_ms=60_000)}
    assert "expected features by name" in fault(with_features(ROWS), schemas=schemas)
    assert "expected JSON features by name" in fault(npy_bytes(WINDOW), NPY, schemas=schemas)
    assert np.array_equal(one(with_features(NAMED), schemas=schemas).values, WINDOW)


def test_candles_are_refused_where_they_do_not_give_a_models_columns():
    schemas = {BTC: SymbolSchema(("sentiment",), positional=True, window=60, interval_ms=60_000)}
    assert re.search(
        "bad_field in candles: .*candles do not give, such as sentiment", fault(candles_body(), schemas=schemas)
    )


# ---- all faults at once


def test_all_faults_of_a_request_are_listed():
    body = with_features(NAMED, symbol="DOGE-USD", request_id="", as_of="soon", close=-1, variant="v7", surplus=1)
    assert {error.code for error in faults(body)} == {"unknown_symbol", "bad_field", "bad_variant", "extra_field"}
    assert {error.field for error in faults(body)} == {"symbol", "request_id", "as_of", "close", "variant", "surplus"}


def test_every_surplus_field_is_named():
    words = " ".join(str(error) for error in faults(request_body(surplus=1, featurs=2)))
    assert "surplus" in words
    assert "featurs" in words


def test_all_faults_of_a_batch_carry_their_instance():
    right, short = request_body(), with_features(ROWS[:59], request_id="")
    errors = faults({"instances": [right, short, right, with_features(NAMED, symbol="DOGE-USD"), 7]})
    assert [(error.instance, error.code) for error in errors] == [
        (1, "bad_field"),
        (1, "bad_shape"),
        (3, "unknown_symbol"),
        (4, "bad_field"),
    ]


def test_every_header_fault_is_listed():
    headers = {**NPY, "x-as-of": "soon", "x-request-id": "\n", "x-variant": "v7"}
    assert len(faults(npy_bytes(WINDOW[:59]), headers)) == 4


def test_a_wrong_request_says_which_symbols_it_asked_for():
    with pytest.raises(BadRequests) as caught:
        read({"instances": [request_body(ETH), with_features(ROWS[:59]), with_features(NAMED, symbol="DOGE-USD")]})
    assert caught.value.symbols == (ETH, BTC)


LONG = "k" * 100_000


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (request_body(**{LONG: 1}), JSON),
        ({"instances": [], LONG: 1}, JSON),
        (with_features(NAMED, symbol=LONG, request_id=LONG, as_of=LONG, variant=LONG), JSON),
        (request_body(weights={LONG: 1}), JSON),
        (with_features({**NAMED, LONG: []}), JSON),
        (b"{}", {"content-type": LONG}),
    ],
)
def test_an_error_does_not_echo_what_came_at_length(body: object, headers: dict[str, str]):
    assert all(len(json.dumps(error.as_dict())) < 1000 for error in faults(body, headers))


# ---- whatever comes


SMALL = {BTC: SymbolSchema(("rsi_14", "returns"), positional=True, window=2, interval_ms=60_000)}

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=9), children, max_size=3),
    max_leaves=8,
)
fields = st.sampled_from(
    ["symbol", "features", "candles", "request_id", "as_of", "close", "variant", "weights", "instances", "rsi_14", "v8"]
)
near_numbers = (
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from([1e39, 1e308, 10**30]) | st.text(max_size=2)
)
pairs = st.lists(near_numbers, min_size=1, max_size=3)
near_requests = st.fixed_dictionaries(
    {"symbol": st.just(BTC) | json_values},
    optional={
        "features": st.lists(pairs, max_size=3) | st.dictionaries(st.sampled_from(["rsi_14", "returns", "x"]), pairs),
        "candles": st.lists(st.lists(near_numbers, min_size=6, max_size=6), max_size=3),
        "request_id": json_values,
        "as_of": json_values
        | st.datetimes().map(str)
        | st.from_regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d)"),
        "close": near_numbers,
        "variant": st.sampled_from(["v8", "ensemble"]) | json_values,
        "weights": st.dictionaries(st.sampled_from(["v6_fixed", "v8"]), near_numbers) | json_values,
    },
)
anything = settings(deadline=None, max_examples=150)


def reads_or_refuses(body: bytes, headers: Mapping[str, str], *, is_ensemble: bool) -> None:
    """Anything but a Request of finite windows or BadRequests fails the test; so does a fault that is no JSON."""
    try:
        request = read_request(body, headers, SMALL, is_ensemble=is_ensemble)
    except BadRequests as bad:
        assert all(error.status in {400, 413, 422} for error in bad.errors)
        assert orjson.dumps([error.as_dict() for error in bad.errors])
    else:
        assert all(np.isfinite(window.values).all() and window.values.shape == (2, 2) for window in request.windows)


@anything
@given(st.binary(), st.sampled_from(["application/json", "application/x-npy"]) | st.text(), st.booleans())
def test_any_bytes_are_read_or_refused(body: bytes, content_type: str, is_ensemble: bool):
    reads_or_refuses(body, {"content-type": content_type, "x-symbol": BTC}, is_ensemble=is_ensemble)


@anything
@given(json_values | st.dictionaries(fields, json_values), st.booleans())
def test_any_json_is_read_or_refused(content: object, is_ensemble: bool):
    reads_or_refuses(orjson.dumps(content), JSON, is_ensemble=is_ensemble)


@anything
@given(near_requests | st.lists(near_requests, max_size=3).map(lambda many: {"instances": many}), st.booleans())
def test_anything_near_a_request_is_read_or_refused(content: object, is_ensemble: bool):
    reads_or_refuses(json.dumps(content).encode(), JSON, is_ensemble=is_ensemble)


@anything
@given(
    st.dictionaries(st.sampled_from(["x-symbol", "x-as-of", "x-request-id", "x-variant"]), st.text()),
    st.binary(max_size=16),
)
def test_any_headers_beside_npy_are_read_or_refused(headers: dict[str, str], data: bytes):
    body = npy_header("(2, 2)") + data
    reads_or_refuses(body, {"content-type": "application/x-npy", "x-symbol": BTC, **headers}, is_ensemble=True)


@anything
@given(st.integers(0, 300), st.integers(0, 255))
def test_an_npy_file_with_a_changed_byte_is_read_or_refused(at: int, value: int):
    body = bytearray(npy_bytes(np.ones((3, 2, 2), np.float32)))
    body[at % len(body)] = value
    reads_or_refuses(bytes(body), NPY, is_ensemble=True)
