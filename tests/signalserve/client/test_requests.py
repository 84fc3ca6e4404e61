"""The bytes that the client sends, read by the service's own reader."""

import io
import json
import math
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import httpx
import numpy as np
import pytest
from fake_service import Script, ask, ok, prediction, refusal
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_st
from stores import AS_OF, BTC, ETH, by_name, candles, raw_window

from signalserve.candles import last, to_rows
from signalserve.client import Instance, InvalidInput, MalformedAnswer, NotReady, Outcome, OutcomeTally, requests
from signalserve.features import COLUMNS
from signalserve.npy import read_npy
from signalserve.outcome_request import MAX_OUTCOMES, OutcomeClaim, read_outcomes
from signalserve.request import USED_CANDLES, Request, SymbolSchema, read_request

SCHEMA = SymbolSchema(COLUMNS, True, 60, 60_000)
MOMENT = datetime(2025, 11, 24, 16, 1, tzinfo=UTC)
MOMENT_MS = 1_764_000_060_000


def read(call) -> Request:
    """What the service makes of a request."""
    headers = {name.lower(): value for name, value in call.headers.items()}
    return read_request(call.content, headers, {BTC: SCHEMA, ETH: SCHEMA}, is_ensemble=True)


def single(**fields):
    return requests.single(Instance(BTC, **fields), "ensemble")


def only_window(call):
    [window] = read(call).windows
    return window


def test_named_columns_arrive_as_they_are():
    window = only_window(single(features=by_name(raw_window()), request_id="bot-7", as_of=MOMENT, close=67012.5))
    np.testing.assert_array_equal(window.values, raw_window())
    assert (window.request_id, window.as_of_ms, window.close) == ("bot-7", MOMENT_MS, 67012.5)


def test_candles_arrive_with_their_time_and_close():
    bars = candles()
    window = only_window(single(candles=bars))
    assert (window.as_of_ms, window.close) == (MOMENT_MS, bars.close[-1])
    assert AS_OF == "2025-11-24T16:01:00Z"


@pytest.mark.parametrize("form", [to_rows, lambda c: np.array(to_rows(c)), lambda c: list(map(tuple, to_rows(c)))])
def test_rows_of_any_kind_are_the_same_candles(form):
    bars = candles()
    np.testing.assert_array_equal(
        only_window(single(candles=form(bars))).values, only_window(single(candles=bars)).values
    )


def test_as_many_candles_are_sent_as_the_service_uses():
    assert requests.SENT_CANDLES == USED_CANDLES
    many = candles(BTC, USED_CANDLES + 500)
    for form in (many, to_rows(many)):
        assert json.loads(single(candles=form).content)["candles"] == to_rows(last(many, USED_CANDLES))


def test_an_array_goes_as_the_bytes_of_an_npy_file():
    values = raw_window()
    call = single(features=values, request_id="bot-7", as_of=MOMENT, variant="v8")
    shape, data = read_npy(call.content)
    assert (shape, bytes(data)) == ((60, 72), values.tobytes())
    np.testing.assert_array_equal(np.load(io.BytesIO(call.content), allow_pickle=False), values)
    assert call.headers == {
        "Content-Type": "application/x-npy",
        "X-Symbol": BTC,
        "X-Request-Id": "bot-7",
        "X-As-Of": "2025-11-24T16:01:00Z",
        "X-Variant": "v8",
    }


@settings(deadline=None)  # of an example; a busy machine is no defect
@given(numpy_st.arrays(np.float32, (60, 3), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_an_array_has_the_same_bits_as_npy_and_as_json(values):
    schema = {BTC: SymbolSchema(("a", "b", "c"), True, 60, 60_000)}
    for fields in ({}, {"close": 1.0}):
        call = single(features=values, **fields)
        headers = {name.lower(): value for name, value in call.headers.items()}
        [window] = read_request(call.content, headers, schema, is_ensemble=True).windows
        np.testing.assert_array_equal(window.values.view(np.int32), values.view(np.int32))


@pytest.mark.parametrize(
    "array",
    [
        raw_window().astype(np.float64),
        np.asfortranarray(raw_window()),
        raw_window().astype(">f4"),
        raw_window().tolist(),
    ],
    ids=["float64", "fortran", "big-endian", "lists"],
)
def test_any_array_of_numbers_becomes_float32_in_c_order(array):
    np.testing.assert_array_equal(only_window(single(features=array)).values, raw_window())


@pytest.mark.parametrize(
    "fields",
    [{"close": 67012.5}, {"weights": {"v6_fixed": 0.4, "v8": 0.6}}, {"request_id": "bot-ü"}, {"request_id": " a"}],
    ids=["close", "weights", "not ascii", "a blank that headers lose"],
)
def test_what_npy_can_not_carry_makes_an_array_json(fields):
    call = single(features=raw_window(), **fields)
    assert call.headers["Content-Type"] == "application/json"
    window = only_window(call)
    np.testing.assert_array_equal(window.values, raw_window())
    assert {name: getattr(window, name) for name in fields} == fields


def test_windows_go_as_one_npy():
    values = np.stack([raw_window(seed=i) for i in range(3)])
    call = requests.windows(BTC, values, "v8", "bot-7", None)
    request = read(call)
    assert (call.url, request.is_batch) == ("/predictions/v8", True)
    assert [window.request_id for window in request.windows] == ["bot-7/0", "bot-7/1", "bot-7/2"]
    np.testing.assert_array_equal([window.values for window in request.windows], values)


def test_a_batch_keeps_its_order_and_names_its_instances():
    instances = [Instance(ETH, features=by_name(raw_window(ETH))), Instance(BTC, features=raw_window(), request_id="x")]
    request = read(requests.batch(instances, "ensemble", "bot-7"))
    assert [(w.symbol, w.request_id) for w in request.windows] == [(ETH, "bot-7/0"), (BTC, "x")]


def test_a_batch_gives_results_in_its_order():
    answer = httpx.Response(200, json={"predictions": [prediction(ETH), prediction(BTC)]})
    instances = [Instance(ETH, features=raw_window(ETH)), Instance(BTC, features=raw_window())]
    for kind in ("sync", "async"):
        results = ask(kind, Script(answer), lambda c: c.predict_batch(instances))
        assert [result.symbol for result in results] == [ETH, BTC]


def test_a_time_in_another_zone_is_the_same_time():
    eastern = MOMENT.astimezone(timezone(timedelta(hours=-5)))
    assert only_window(single(features=raw_window(), as_of=eastern)).as_of_ms == MOMENT_MS


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float32("nan")])
@pytest.mark.parametrize("form", [list, tuple, np.array], ids=["list", "tuple", "array"])
def test_nan_in_a_column_is_refused_by_its_place(value, form):
    features = by_name(raw_window())
    features["rsi_14"] = form([*features["rsi_14"][:3], value, *features["rsi_14"][4:]])
    with pytest.raises(InvalidInput, match=r"^features\.rsi_14\[3\]: expected a finite number, got"):
        single(features=features)


def test_nan_in_a_candle_is_refused_by_its_place():
    rows = to_rows(candles())
    rows[17][4] = math.nan
    with pytest.raises(InvalidInput, match=r"^candles\[17\]\[4\]: expected a finite number, got nan"):
        single(candles=rows)


def test_nan_in_a_batch_is_refused_by_its_instance():
    instances = [Instance(BTC, features=raw_window()), Instance(BTC, features=np.full((60, 72), np.nan))]
    with pytest.raises(InvalidInput, match=r"^instances\[1\]\.features\[0\]\[0\]"):
        requests.batch(instances, "ensemble", None)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "expected exactly one of candles and features, got neither"),
        ({"candles": [[1]], "features": {}}, "expected exactly one of candles and features, got both"),
        ({"candles": [[1]], "features": raw_window()}, "got both"),
        ({"features": raw_window(), "as_of": datetime(2025, 1, 1)}, "as_of: expected a time with its zone"),
        ({"features": by_name(raw_window()), "close": math.nan}, "close: expected a finite number, got nan"),
        ({"features": by_name(raw_window()), "close": Decimal(1)}, "can't be written as JSON: .*Decimal"),
        ({"features": np.full((60, 72), 1e39)}, r"features\[0\]\[0\]: expected a finite float32, got 1e\+39"),
        ({"features": np.where(np.arange(72) == 5, np.nan, raw_window())}, r"features\[0\]\[5\]"),
        ({"features": np.zeros((2, 60, 72))}, r"shape \(2, 60, 72\); use predict_windows"),
        ({"features": np.zeros(72)}, r"expected numbers in an array of shape \(60, F\), got float64 of shape \(72,\)"),
        ({"features": [[1.0, 2.0], [3.0]]}, "rows of different lengths"),
        ({"features": np.array([["1"]])}, "expected numbers"),
        ({"features": np.array([[None]])}, "expected numbers"),
    ],
)
def test_what_makes_no_request_is_refused_before_it_is_sent(fields, words):
    script = Script(ok())
    with pytest.raises(InvalidInput, match=words) as caught:
        ask("sync", script, lambda c: c.predict(BTC, **fields))
    assert (script.requests, caught.value.attempts) == ([], 0)


def test_windows_of_one_dimension_too_few_are_refused():
    with pytest.raises(InvalidInput, match=r"shape \(N, 60, F\), got float32 of shape \(60, 72\)"):
        requests.windows(BTC, raw_window(), "v8", None, None)


# ---- outcomes


def tally(**counts):
    names = ("joined", "already_known", "unknown", "contradicting", "undecidable")
    return {**dict.fromkeys(names, 0), **counts}


def test_outcomes_arrive_as_they_were_told():
    told = [
        Outcome("0193", direction="UP"),
        Outcome("0193", close=np.float64(67012.5)),
        Outcome(symbol=BTC, as_of=MOMENT.astimezone(timezone(timedelta(hours=-5))), direction="DOWN"),
    ]
    [call] = requests.outcomes(told)
    assert read_outcomes(read(call).outcomes) == [
        OutcomeClaim("0193", None, None, 2, None),
        OutcomeClaim("0193", None, None, None, 67012.5),
        OutcomeClaim(None, BTC, MOMENT_MS, 0, None),
    ]


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_any_number_of_outcomes_is_told_in_pieces_that_the_service_takes(kind):
    told = [Outcome(str(i), direction="UP") for i in range(2 * MAX_OUTCOMES + 1)]
    script = Script(*[httpx.Response(200, json=tally(joined=n, unknown=7 - n)) for n in (1, 2, 4)])
    assert ask(kind, script, lambda c: c.outcomes(told)) == OutcomeTally(**tally(joined=7, unknown=14))
    pieces = [json.loads(request.content)["outcomes"] for request in script.requests]
    assert [len(piece) for piece in pieces] == [MAX_OUTCOMES, MAX_OUTCOMES, 1]
    assert [one["prediction_id"] for piece in pieces for one in piece] == [one.prediction_id for one in told]


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_no_outcomes_need_no_request(kind):
    script = Script(ok())
    assert ask(kind, script, lambda c: c.outcomes([])) == OutcomeTally(**tally())
    assert script.requests == []


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_outcomes_are_told_again_while_the_watcher_does_not_answer(kind):
    script = Script(refusal("not_ready", 503), httpx.Response(200, json=tally(joined=1)))
    assert ask(kind, script, lambda c: c.outcomes([Outcome("0193", close=1.0)])).joined == 1
    assert [request.content for request in script.requests] == [script.requests[0].content] * 2
    with pytest.raises(NotReady):
        ask(kind, Script(refusal("not_ready", 503)), lambda c: c.outcomes([Outcome("0193", close=1.0)]))


def test_an_answer_that_is_no_tally_is_malformed():
    with pytest.raises(MalformedAnswer, match="undecidable: Field required"):
        script = Script(httpx.Response(200, json={"joined": 1, "already_known": 0, "unknown": 0, "contradicting": 0}))
        ask("sync", script, lambda c: c.outcomes([Outcome("0193", close=1.0)]))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"direction": "UP"}, r"expected exactly one of prediction_id and \(symbol and as_of\), got neither"),
        ({"symbol": BTC, "direction": "UP"}, "got symbol$"),
        ({"prediction_id": "0193", "as_of": MOMENT, "direction": "UP"}, "got prediction_id and as_of"),
        ({"prediction_id": "0193"}, "expected exactly one of direction and close, got neither"),
        ({"prediction_id": "0193", "direction": "UP", "close": 1.0}, "direction and close, got both"),
        ({"prediction_id": "0193", "direction": "up"}, "direction: expected one of DOWN, NEUTRAL, UP, got 'up'"),
        ({"prediction_id": "0193", "close": 0}, "close: expected a price above 0, got 0"),
        ({"prediction_id": "0193", "close": math.nan}, "close: expected a price above 0, got nan"),
        ({"symbol": BTC, "as_of": datetime(2025, 1, 1), "close": 1.0}, "as_of: expected a time with its zone"),
    ],
)
def test_what_is_no_outcome_is_refused_where_it_is_made(fields, words):
    with pytest.raises(InvalidInput, match=words):
        Outcome(**fields)
