"""Which bars may judge: the border lies after the last bar that a window or a label of a fit touched."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stores import BTC, write_model

from export.series import Series
from export.split import Part
from export.unseen import all_ends, overlaps, unseen
from signalserve.bundle import Manifest, Span, load_bundle
from signalserve.candles import iso
from signalserve.errors import DataError

START_MS, MINUTE = 1_746_000_000_000, 60_000
WINDOW, HORIZON = 60, 15


def series(n: int = 1000, first_row: int = 100) -> Series:
    times = START_MS + MINUTE * np.arange(n)
    return Series(BTC, Path("bars"), MINUTE, ("a",), np.zeros((n, 1)), times, np.ones(n), first_row)


def span(first_bar: int, last_bar: int) -> Span:
    return Span(start=iso(START_MS + MINUTE * first_bar), end=iso(START_MS + MINUTE * last_bar))


def manifest(tmp_path: Path, **spans: Span | None) -> Manifest:
    whole: dict[str, Any] = {"train": None, "calibration": None, "test": None} | spans
    return load_bundle(write_model(tmp_path, spans=whole)).manifest


def test_a_window_is_unseen_from_the_bar_after_the_training_span_on(tmp_path: Path):
    part = unseen(series(), manifest(tmp_path, train=span(0, 499)), HORIZON, by_calibration_too=False)
    assert part.bars.start == 500  # the first bar of the first window
    assert part.ends[-1] == 999 - HORIZON


def test_no_bar_of_a_fit_is_shared_with_what_split_in_time_would_have_called_training(tmp_path: Path):
    train = Part(np.arange(159, 400), WINDOW, HORIZON)
    known = series().span_of(train)
    part = unseen(series(), manifest(tmp_path, train=known), HORIZON, by_calibration_too=False)
    assert not set(part.bars) & set(train.bars)
    assert part.ends[0] == train.ends[-1] + WINDOW + HORIZON  # the embargo of `split.cut`


def test_the_calibration_span_counts_where_it_is_asked_for(tmp_path: Path):
    spans = {"train": span(0, 299), "calibration": span(300, 599)}
    both = unseen(series(), manifest(tmp_path, **spans), HORIZON, by_calibration_too=True)
    assert both.bars.start == 600


def test_an_unknown_training_span_is_refused_unless_the_caller_vouches(tmp_path: Path):
    unknown = manifest(tmp_path)
    with pytest.raises(DataError, match=r"does not say which bars it was trained on.*--trained START END"):
        unseen(series(), unknown, HORIZON, by_calibration_too=False)
    assert len(unseen(series(), unknown, HORIZON, by_calibration_too=False, assume_unseen=True)) == 1000 - 159 - HORIZON


def test_bars_that_end_before_the_training_span_does_are_refused(tmp_path: Path):
    with pytest.raises(DataError, match=r"has seen bars up to .*; give later bars"):
        unseen(series(), manifest(tmp_path, train=span(0, 2000)), HORIZON, by_calibration_too=False)


def test_too_few_bars_for_one_window_are_refused_with_the_number():
    with pytest.raises(DataError, match=r"expected at least 175 bars for one window, got 150"):
        all_ends(series(150), WINDOW, HORIZON)


@pytest.mark.parametrize(("first", "last", "shared"), [(0, 9, False), (0, 10, True), (15, 18, True), (21, 30, False)])
def test_spans_overlap_where_they_share_a_bar(first: int, last: int, shared: bool):
    assert overlaps(span(first, last), span(10, 20)) is shared


def test_an_unknown_span_overlaps_nothing():
    assert not overlaps(None, span(10, 20))


def test_bars_that_the_scaler_was_fitted_on_are_seen_too(tmp_path: Path):
    known = manifest(tmp_path, train=span(0, 299), scaler=span(300, 599))
    assert unseen(series(), known, HORIZON, by_calibration_too=False).bars.start == 600
    assert known.spans.scaler_fit == span(300, 599)
