"""Spool lines: what is written is read again, and nothing else is."""

import json
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from journal_lines import arm, closes, config, prediction

from signalserve.journal.lines import (
    ArmLine,
    BundleLine,
    ClosesLine,
    ConfigLine,
    EventLine,
    Line,
    PredictionLine,
    decode_line,
    encode_line,
    new_event,
)

TEXT = st.text(max_size=20)
MS = st.integers(0, 2**53)
FLOAT = st.floats(allow_nan=False, allow_infinity=False)
FLOATS = st.lists(FLOAT, max_size=3)


def built(cls: type, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.builds(cls, **fields)


ARMS = built(
    ArmLine, arm=TEXT, answered=st.booleans(), out=st.booleans(), probabilities=FLOATS, raw_logits=FLOATS | st.none(),
    temperature=FLOAT, bundles=st.lists(TEXT, max_size=2), weights=FLOATS, method=TEXT | st.none(),
    warnings=st.lists(TEXT, max_size=2), off_scale=FLOAT | st.none(), largest_z=FLOAT | st.none(),
)  # fmt: skip
LINES = st.one_of(
    built(
        PredictionLine, prediction_id=TEXT, request_id=TEXT | st.none(), endpoint=TEXT, symbol=TEXT,
        as_of_ms=MS | st.none(), received_ms=MS, close=FLOAT | st.none(), feed=TEXT | st.none(), config=TEXT, mode=TEXT,
        assigned=TEXT, override=st.booleans(), degraded=TEXT | st.none(), latency_ms=FLOAT,
        arms=st.lists(ARMS, max_size=2),
    ),
    built(ClosesLine, symbol=TEXT, feed=TEXT, begins=st.booleans(), interval_ms=MS, last_ms=MS, closes=FLOATS),
    built(
        BundleLine, sha256=TEXT, generation=TEXT, symbol=TEXT, version=TEXT, temperature=FLOAT, clamp=FLOAT,
        interval_ms=MS, horizon_bars=MS | st.none(), neutral_band=FLOAT | st.none(), base_rates=FLOATS | st.none(),
    ),
    built(ConfigLine, sha256=TEXT, text=TEXT, at_ms=MS, endpoint=TEXT, worker=MS, error=TEXT | st.none()),
    built(
        EventLine, event_id=TEXT, at_ms=MS, event=TEXT, who=TEXT, why=TEXT | st.none(),
        content=st.dictionaries(TEXT, TEXT | MS | st.none() | FLOATS, max_size=3),
    ),
)  # fmt: skip


@given(line=LINES)
def test_a_line_is_read_as_it_was_written(line: Line):
    assert decode_line(encode_line(line)) == line


@given(line=LINES)
def test_a_line_holds_one_newline_at_its_end_whatever_its_values(line: Line):
    raw = encode_line(line)
    assert (raw.index(b"\n"), len(raw.splitlines())) == (len(raw) - 1, 1)


@given(line=LINES, data=st.data())
def test_a_line_that_was_cut_anywhere_is_refused(line: Line, data: st.DataObject):
    raw = encode_line(line)
    cut = data.draw(st.integers(0, len(raw) - 2))
    with pytest.raises(ValueError, match=r".+"):
        decode_line(raw[:cut])


def test_a_line_is_plain_json_that_names_its_version_and_kind():
    assert json.loads(encode_line(closes(100.0, 101.0))) == {
        "v": 1,
        "kind": "closes",
        "symbol": "BTC-USD",
        "feed": "w-1",
        "begins": False,
        "interval_ms": 60_000,
        "last_ms": 1_764_000_060_000,
        "closes": [100.0, 101.0],
    }


@pytest.mark.parametrize("raw", [b"[]", b"7", b"{}", b'{"kind":"config"}', b'{"v":2,"kind":"config"}', b'{"v":"1"}'])
def test_a_line_of_another_version_or_of_none_is_refused(raw: bytes):
    with pytest.raises(ValueError, match=r"expected an object of version 1, got b'.*': another signalserve wrote it"):
        decode_line(raw)


@pytest.mark.parametrize("raw", [b'{"v":1}', b'{"v":1,"kind":"trade"}'])
def test_an_unknown_kind_is_refused_with_the_known_ones(raw: bytes):
    with pytest.raises(ValueError, match="prediction, closes, bundle, config, event"):
        decode_line(raw)


def test_a_field_that_is_missing_or_unknown_is_refused():
    content = {"v": 1, "kind": "config", **asdict(config())}
    for wrong in ({**content, "extra": 1}, {key: value for key, value in content.items() if key != "worker"}):
        with pytest.raises(ValueError, match="expected the fields of a config line"):
            decode_line(json.dumps(wrong).encode())


def test_an_arm_of_a_worker_that_told_no_scale_yet_is_read_without_one():
    content = json.loads(encode_line(prediction([arm(off_scale=0.25, largest_z=11.0)])))
    for name in ("off_scale", "largest_z"):
        del content["arms"][0][name]
    [read] = decode_line(json.dumps(content).encode()).arms  # type: ignore[union-attr]
    assert read == arm(off_scale=None, largest_z=None)


def test_an_arm_with_a_field_that_is_missing_or_unknown_is_refused():
    content = json.loads(encode_line(prediction()))
    [written] = content["arms"]
    without = {name: value for name, value in written.items() if name != "warnings"}
    for wrong in ({**written, "extra": 1}, without):
        with pytest.raises(ValueError, match=r"extra|warnings"):
            decode_line(json.dumps({**content, "arms": [wrong]}).encode())


def test_arms_are_read_as_arms():
    assert isinstance(decode_line(encode_line(prediction())).arms[0], ArmLine)  # type: ignore[union-attr]


def test_two_events_have_two_ids():
    one, other = (new_event("toggle", "anna", None, {}) for _ in range(2))
    assert one.event_id != other.event_id
