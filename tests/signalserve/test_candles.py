"""What a request's candles must be, by the words that a caller reads, and the helpers beside."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signalserve.candles import FIELDS, INTERVAL_MS, Candles, as_of_ms, check_candles, iso, last, parse_candles, to_rows
from signalserve.demo import demo_candles
from signalserve.errors import BadCandles

START = 1_746_372_780_000  # 2025-05-04T15:33:00Z
TIME, OPEN, HIGH, LOW, CLOSE, VOLUME = range(6)


def bars(n: int = 10, interval_ms: int = INTERVAL_MS) -> list[list[float]]:
    """n rows as JSON gives them, a bar each interval."""
    return [[START + i * interval_ms, 100.0, 101.5, 99, 100.5 + i % 10 / 10, 7.25] for i in range(n)]


def changed(row: int, column: int, value: object) -> list[list[object]]:
    rows = bars()
    rows[row][column] = value
    return rows


def parse(rows: object, minimum: int = 1) -> Candles:
    return parse_candles(rows, interval_ms=INTERVAL_MS, minimum=minimum)


def test_rows_become_arrays():
    candles = parse([[START, 100, 101.5, 99, 100.5, 7], [START + 60_000.0, 100.5, 102, 100, 101, 0]])
    assert candles.timestamp_ms.tolist() == [START, START + 60_000]
    assert candles.timestamp_ms.dtype == np.int64
    assert candles.high.tolist() == [101.5, 102.0]
    assert candles.volume.tolist() == [7.0, 0.0]
    assert len(candles) == 2


@given(st.integers(1, 40), st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_rows_survive_json_and_parsing_bit_by_bit(n, seed):
    candles = demo_candles("ETH-USD", n, end_ms=START, seed=seed)
    parsed = parse(json.loads(json.dumps(to_rows(candles))))
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(parsed, name), getattr(candles, name), strict=True)


def test_real_bars_pass(real_bars):
    for candles in real_bars.values():
        assert len(parse(to_rows(last(candles, 1060)), minimum=1060)) == 1060


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (None, r"a list of rows \[timestamp_ms, open, high, low, close, volume\], got null"),
        ({"open": []}, "a list of rows .*, got an object"),
        ("bars", 'got the string "bars"'),
        ([*bars(3), {"open": 1}], "got row 3 is an object"),
        ([*bars(3), None], "got row 3 is null"),
        (
            [*bars(3), [START, 1, 1, 1, 1]],
            "rows .timestamp_ms, open, high, low, close, volume., got row 3 with 5 values",
        ),
        ([*bars(3), []], "got row 3 with 0 values"),
    ],
)
def test_what_is_not_rows_of_six_is_refused(rows, words):
    with pytest.raises(BadCandles, match=words):
        parse(rows)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (True, "expected numbers only, got row 4 with close true"),
        (None, "expected numbers only, got row 4 with close null"),
        ("100.5", 'expected numbers only, got row 4 with close the string "100.5"'),
        ("x" * 99, f'got row 4 with close a string starting "{"x" * 20}"$'),
        ([100.5], "expected numbers only, got row 4 with close a list"),
        (float("nan"), "expected finite numbers under 1e18, got row 4 with close nan"),
        (float("inf"), "expected finite numbers under 1e18, got row 4 with close inf"),
        (float("-inf"), "expected finite numbers under 1e18, got row 4 with close -inf"),
        (1e300, "expected finite numbers under 1e18, got row 4 with close 1e[+]300"),
        (10**400, "expected finite numbers under 1e18, got row 4 with close of 401 digits"),
    ],
)
def test_what_is_not_a_finite_number_is_refused(value, words):
    with pytest.raises(BadCandles, match=words):
        parse(changed(4, CLOSE, value))


@pytest.mark.parametrize(
    ("timestamp", "words"),
    [
        (START + 0.5, "whole milliseconds since 1970, .* got row 4 with timestamp 1746372780000.5"),
        (START // 1000, "from the years 2000 to 2099, got row 4 with timestamp 1746372780$"),
        (START * 1000, "from the years 2000 to 2099, got row 4 with timestamp 1.74637278e[+]15"),
        (-START, "got row 4 with timestamp -1746372780000"),
        (float("nan"), "got row 4 with timestamp nan"),
        (START + 3 * 60_000, "one row a bar, got rows 3 and 4 both at 2025-05-04T15:36:00Z"),
        (START, "oldest first, got row 4 at 2025-05-04T15:33:00Z after row 3 at 2025-05-04T15:36:00Z"),
        (
            START + 4 * 60_000 - 500,
            "bars 60 s apart, got 59.5 s between row 3 at 2025-05-04T15:36:00Z and row 4 at 2025-05-04T15:36:59.500Z",
        ),
    ],
)
def test_a_timestamp_that_is_out_of_line_is_named(timestamp, words):
    with pytest.raises(BadCandles, match=words):
        parse(changed(4, TIME, timestamp))


def test_a_gap_is_named_by_the_bars_around_it():
    rows = bars()
    del rows[5:7]
    words = "without gaps, got a gap of 180 s between row 4 at 2025-05-04T15:37:00Z and row 5 at 2025-05-04T15:40:00Z"
    with pytest.raises(BadCandles, match=words):
        parse(rows)


def test_bars_of_another_interval_are_refused_by_their_interval():
    with pytest.raises(BadCandles, match="expected bars 60 s apart, got bars 300 s apart"):
        parse(bars(interval_ms=300_000))
    assert len(parse_candles(bars(interval_ms=60_000), interval_ms=60_000, minimum=1)) == 10


def test_newest_first_is_refused():
    with pytest.raises(
        BadCandles, match="rows sorted by time, oldest first, got row 1 at 2025-05-04T15:41:00Z after row 0"
    ):
        parse(bars()[::-1])


def test_bars_that_open_within_a_minute_are_refused():
    rows = [[row[TIME] + 7_000, *row[OPEN:]] for row in bars()]
    with pytest.raises(BadCandles, match="on multiples of 60 s, got row 0 at 2025-05-04T15:33:07Z"):
        parse(rows)


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        (OPEN, 0, r"positive prices \(1e-15 or more\), got row 4 with open 0$"),
        (HIGH, -1, "positive prices .*, got row 4 with high -1$"),
        (LOW, -99.0, "positive prices .*, got row 4 with low -99$"),
        (CLOSE, 0.0, "positive prices .*, got row 4 with close 0$"),
        (VOLUME, -0.5, "a volume of 0 or more, got row 4 with volume -0.5"),
        (HIGH, 98, "high at or above low, got row 4 with high 98, low 99"),
        (HIGH, 100.7, "high at or above open and close, got row 4 with open 100, high 100.7, close 100.9"),
        (LOW, 100.5, "low at or below open and close, got row 4 with open 100, low 100.5, close 100.9"),
    ],
)
def test_a_bar_that_no_market_makes_is_named_with_its_prices(column, value, words):
    with pytest.raises(BadCandles, match=words):
        parse(changed(4, column, value))


def test_too_few_rows_are_counted():
    with pytest.raises(BadCandles, match="expected at least 1060 rows, got 1059 rows"):
        parse(bars(1059), minimum=1060)
    with pytest.raises(BadCandles, match=r"expected at least 2 rows, got 1 row$"):
        parse(bars(1), minimum=2)
    assert len(parse(bars(1060), minimum=1060)) == 1060


def test_the_error_is_the_contracts():
    with pytest.raises(BadCandles) as caught:
        parse([], minimum=1060)
    assert caught.value.as_dict() == {
        "code": "bad_candles", "instance": 0, "field": "candles", "expected": "at least 1060 rows", "got": "0 rows"
    }  # fmt: skip


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5), st.lists, max_leaves=20
)


@given(st.lists(JSON) | st.lists(st.lists(JSON, min_size=6, max_size=6)) | JSON)
@settings(max_examples=50, deadline=None)
def test_whatever_json_gives_is_parsed_or_refused_in_words(rows):
    try:
        check_candles(parse(rows), INTERVAL_MS, 1)
    except BadCandles as error:
        assert error.got


def test_as_of_is_the_close_of_the_last_bar():
    assert iso(as_of_ms(parse(bars()), INTERVAL_MS)) == "2025-05-04T15:43:00Z"


def test_last_takes_the_newest_bars():
    candles = parse(bars())
    assert last(candles, 3).timestamp_ms.tolist() == [START + i * 60_000 for i in (7, 8, 9)]
    assert last(candles, 3).close.tolist() == candles.close[-3:].tolist()
    assert [len(last(candles, n)) for n in (0, 10, 99)] == [0, 10, 10]
