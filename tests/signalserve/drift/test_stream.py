"""A stream's parts belong together."""

import numpy as np
import pytest
from drift_streams import pool_of, weak_stream

from signalserve.drift.stream import Stream

TIMES = np.arange(2) * 60_000
PROBABILITIES = np.array([[0.5, 0.3, 0.2], [0.1, 0.3, 0.6]])


def test_confidence_is_the_largest_probability_and_the_class_its_place() -> None:
    stream = Stream(TIMES, PROBABILITIES, None, None)
    assert len(stream) == 2
    assert stream.confidence.tolist() == [0.5, 0.6]
    assert stream.classes.tolist() == [0, 2]


def test_the_last_of_a_stream_are_the_last_of_each_of_its_parts() -> None:
    stream = weak_stream(10)
    last = stream.last(3)
    assert last.time_ms.tolist() == stream.time_ms[7:].tolist()
    assert last.confidence.tolist() == stream.confidence[7:].tolist()
    assert last.largest_logit is not None and stream.largest_logit is not None
    assert last.largest_logit.tolist() == stream.largest_logit[7:].tolist()


def test_more_than_there_are_are_all_there_are() -> None:
    assert len(weak_stream(10).last(1440)) == 10
    assert pool_of(weak_stream(10)).last(3).largest_logit is None


def test_a_stream_of_nothing_has_no_confidence() -> None:
    empty = Stream(TIMES[:0], PROBABILITIES[:0], None, None)
    assert len(empty) == len(empty.confidence) == len(empty.classes) == 0


@pytest.mark.parametrize(
    ("probabilities", "largest"), [(PROBABILITIES[:, :2], None), (PROBABILITIES[:1], None), (PROBABILITIES, np.ones(3))]
)
def test_parts_of_different_lengths_are_refused(probabilities: np.ndarray, largest: np.ndarray | None) -> None:
    with pytest.raises(ValueError, match="n = 2 times"):
        Stream(TIMES, probabilities, largest, None)
