"""What a bar is called, and where the band comes from."""

import numpy as np
import pytest

from export.labels import UNKNOWN, direction_labels, forward_returns, neutral_band
from signalserve.demo import demo_candles

HORIZON = 15


@pytest.fixture(scope="module")
def close() -> np.ndarray:
    return demo_candles("BTC-USD", 3000, end_ms=1_750_000_000_000).close


def test_the_close_fifteen_bars_on_decides() -> None:
    close = np.full(40, 100.0)
    close[20], close[21], close[22] = 102.0, 98.0, 100.5
    labels = direction_labels(close, HORIZON, band=0.01)
    assert labels[5:8].tolist() == [2, 0, 1]


def test_the_last_rows_are_unknown_and_only_they(close: np.ndarray) -> None:
    labels = direction_labels(close, HORIZON, 1e-3)
    assert (labels[-HORIZON:] == UNKNOWN).all()
    assert set(labels[:-HORIZON]) == {0, 1, 2}


def test_a_move_of_exactly_the_band_is_neutral() -> None:
    close = np.concatenate([np.full(HORIZON, 100.0), np.full(HORIZON, 100.5)])
    band = float(forward_returns(close, HORIZON)[0])
    assert (direction_labels(close, HORIZON, band)[:HORIZON] == 1).all()


def test_a_label_knows_nothing_beyond_its_horizon(close: np.ndarray) -> None:
    changed = close.copy()
    changed[1000 + HORIZON + 1 :] *= 3
    before, after = direction_labels(close, HORIZON, 1e-3), direction_labels(changed, HORIZON, 1e-3)
    assert (before[:1001] == after[:1001]).all()


def test_the_band_calls_a_third_of_its_span_neutral(close: np.ndarray) -> None:
    span = range(200, 2000)
    labels = direction_labels(close, HORIZON, neutral_band(close, HORIZON, span))
    inside = labels[span.start : span.stop - HORIZON]
    assert (inside == 1).mean() == pytest.approx(1 / 3, abs=1 / len(inside))


def test_the_band_knows_nothing_outside_its_span(close: np.ndarray) -> None:
    changed = close.copy()
    changed[2000:] *= np.linspace(1, 2, 1000)
    changed[:200] *= 0.5
    span = range(200, 2000)
    assert neutral_band(close, HORIZON, span) == neutral_band(changed, HORIZON, span)


def test_mirrored_prices_swap_down_and_up(close: np.ndarray) -> None:
    labels = direction_labels(close, HORIZON, 0.0)
    mirrored = direction_labels(1 / close, HORIZON, 0.0)
    known = labels != UNKNOWN
    assert (mirrored[known] == 2 - labels[known]).all()


@pytest.mark.parametrize(
    ("close", "horizon", "band", "words"),
    [
        ([1.0, -1.0], 1, 0.1, "finite prices above 0"),
        ([1.0, np.nan], 1, 0.1, "finite prices above 0"),
        ([1.0, 1.0], 0, 0.1, "at least 1 bar"),
        ([1.0, 1.0], 1, -0.1, "at least 0"),
    ],
)
def test_wrong_input_is_refused_in_words(close: list[float], horizon: int, band: float, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        direction_labels(np.array(close), horizon, band)


@pytest.mark.parametrize("span", [range(15), range(4000), range(0, 100, 2)])
def test_a_span_without_a_whole_return_is_refused(close: np.ndarray, span: range) -> None:
    with pytest.raises(ValueError, match="span: expected"):
        neutral_band(close, HORIZON, span)
