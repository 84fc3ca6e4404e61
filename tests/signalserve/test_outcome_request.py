"""Outcomes as callers tell them: what is read, and every fault by its place and words."""

import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stores import AS_OF, BTC, LAST_BAR_MS

from signalserve.candles import iso
from signalserve.errors import RequestError
from signalserve.outcome_request import MAX_OUTCOMES, OutcomeClaim, read_outcomes
from signalserve.request import BadRequests

AS_OF_MS = LAST_BAR_MS + 60_000


def read(*outcomes: Any) -> list[OutcomeClaim]:
    return read_outcomes({"outcomes": list(outcomes)})


def faults(content: dict[str, Any]) -> tuple[RequestError, ...]:
    with pytest.raises(BadRequests) as caught:
        read_outcomes(content)
    return caught.value.errors


def fault(outcome: Any) -> str:
    (only,) = faults({"outcomes": [outcome]})
    return f"{only.status} {only}"


def test_each_of_the_four_forms_is_read():
    assert read(
        {"prediction_id": "0193", "direction": "UP"},
        {"prediction_id": "0193", "close": 67012.5},
        {"symbol": BTC, "as_of": AS_OF, "direction": "DOWN"},
        {"symbol": BTC, "as_of": "2025-11-24T17:01:00+01:00", "close": 67012},
    ) == [
        OutcomeClaim("0193", None, None, 2, None),
        OutcomeClaim("0193", None, None, None, 67012.5),
        OutcomeClaim(None, BTC, AS_OF_MS, 0, None),
        OutcomeClaim(None, BTC, AS_OF_MS, None, 67012.0),
    ]


@given(
    st.integers(AS_OF_MS - 7 * 10**11, AS_OF_MS + 2 * 10**12),
    st.floats(min_value=0, exclude_min=True, allow_infinity=False),
)
def test_any_time_and_any_price_arrive_as_they_are(as_of_ms: int, close: float):
    [claim] = read({"symbol": "XRP-USD", "as_of": iso(as_of_ms), "close": close})
    assert (claim.as_of_ms, claim.close) == (as_of_ms, close)


def test_null_means_not_given():
    assert read({"prediction_id": "0193", "symbol": None, "as_of": None, "direction": "NEUTRAL", "close": None}) == [
        OutcomeClaim("0193", None, None, 1, None)
    ]


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        ([], "422 bad_field in outcome: expected an object, got a list"),
        ({"direction": "UP"}, "422 missing_field in prediction_id: expected exactly one of prediction_id and"),
        ({"symbol": BTC, "direction": "UP"}, "422 missing_field in as_of: .*, got symbol alone"),
        ({"as_of": AS_OF, "direction": "UP"}, "422 missing_field in symbol: .*, got as_of alone"),
        ({"prediction_id": "0193", "symbol": BTC, "direction": "UP"}, "422 extra_field in prediction_id: .* got both"),
        ({"prediction_id": "0193"}, "422 missing_field in direction: expected exactly one of direction and close"),
        ({"prediction_id": "0193", "direction": "UP", "close": 1.0}, "422 extra_field in direction: .* got both"),
        ({"prediction_id": "0193", "direction": "up"}, "422 bad_field in direction: .* DOWN, NEUTRAL, UP, got 'up'"),
        ({"prediction_id": "0193", "direction": 2}, "422 bad_field in direction: .*, got 2"),
        ({"prediction_id": "0193", "direction": ["UP"]}, "422 bad_field in direction: .*, got a list"),
        ({"prediction_id": "0193", "close": 0}, "422 bad_field in close: expected a price above 0, got 0"),
        ({"prediction_id": "0193", "close": math.inf}, "422 bad_field in close: .*, got inf"),
        ({"prediction_id": "0193", "close": True}, "422 bad_field in close: .*, got True"),
        ({"prediction_id": "", "direction": "UP"}, "422 bad_field in prediction_id: expected 1 to 128 printable"),
        ({"symbol": 7, "as_of": AS_OF, "direction": "UP"}, "422 bad_field in symbol: .*, got 7"),
        ({"symbol": BTC, "as_of": "2025-11-24T16:01", "close": 1}, "422 bad_field in as_of: expected a time with its"),
        ({"prediction_id": "0193", "direction": "UP", "arm": "v8"}, "422 extra_field in arm: expected only .*'arm'"),
    ],
)
def test_an_outcome_that_is_none_is_refused_by_its_field(outcome: Any, words: str):
    assert re.match(words, fault(outcome))


def test_all_faults_of_all_outcomes_are_listed_with_their_places():
    right, wrong = {"prediction_id": "0193", "direction": "UP"}, {"symbol": BTC, "close": -1}
    found = faults({"outcomes": [right, wrong, right, {"prediction_id": "0193", "close": 0, "note": "x"}]})
    places = [(fault.instance, fault.field) for fault in found]
    assert places == [(1, "as_of"), (1, "close"), (3, "note"), (3, "close")]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"outcomes": []}, "bad_field in outcomes: expected 1 to 1,000 outcomes, got an empty list"),
        ({"outcomes": {}}, "bad_field in outcomes: expected 1 to 1,000 outcomes, got an object"),
        ({"outcomes": None}, "bad_field in outcomes: expected 1 to 1,000 outcomes, got null"),
        ({"outcomes": [{}], "instances": []}, "extra_field in instances: expected nothing beside outcomes, got the"),
        ({"outcomes": [{}] * (MAX_OUTCOMES + 1)}, "too_large in outcomes: expected 1 to 1,000 outcomes, got 1001"),
    ],
)
def test_a_list_that_is_none_is_refused_as_a_whole(content: dict[str, Any], words: str):
    [only] = faults(content)
    assert str(only).startswith(words)


def test_a_thousand_outcomes_are_read():
    assert len(read(*[{"prediction_id": "0193", "direction": "UP"}] * MAX_OUTCOMES)) == MAX_OUTCOMES
