"""Generated candles: always valid, always the same, shaped like a market's."""

import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signalserve.candles import FIELDS, INTERVAL_MS, Candles, check_candles, to_rows
from signalserve.demo import MARKETS, demo_candles

END = 1_746_372_780_000  # 2025-05-04T15:33:00Z
SYMBOLS = st.sampled_from([*MARKETS, "XRP-USD", "ж"])


@given(SYMBOLS, st.integers(1, 300), st.integers(-(2**70), 2**70) | st.none())
@settings(max_examples=60, deadline=None)
def test_every_seed_gives_bars_that_pass_the_checks(symbol, n, seed):
    candles = demo_candles(symbol, n, end_ms=END, seed=seed)
    check_candles(candles, INTERVAL_MS, n)
    assert len(candles) == n


def same(left: Candles, right: Candles) -> bool:
    return all(np.array_equal(getattr(left, name), getattr(right, name)) for name in FIELDS[1:])


def test_a_symbol_and_a_seed_are_one_market():
    first = demo_candles("BTC-USD", 50, seed=7)
    assert same(first, demo_candles("BTC-USD", 50, end_ms=END, seed=7))
    assert not same(first, demo_candles("BTC-USD", 50, seed=8))
    assert not same(first, demo_candles("BTC-USD", 50))
    assert not same(demo_candles("ADA-USD", 50), demo_candles("XRP-USD", 50))


def test_another_process_generates_the_same():
    script = (
        f"from signalserve.demo import demo_candles; print(demo_candles('ETH-USD', 9, end_ms={END}).close.tolist())"
    )
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == str(demo_candles("ETH-USD", 9, end_ms=END).close.tolist())


def test_the_last_bar_opens_at_the_end_asked_for():
    assert demo_candles("BTC-USD", 3, end_ms=END).timestamp_ms.tolist() == [END - 120_000, END - 60_000, END]
    assert demo_candles("BTC-USD", 3, end_ms=END + 59_999).timestamp_ms[-1] == END


def test_without_an_end_the_last_bar_has_just_closed():
    before = time.time_ns() // 1_000_000
    closed = int(demo_candles("BTC-USD", 2).timestamp_ms[-1]) + INTERVAL_MS
    assert before - INTERVAL_MS < closed <= time.time_ns() // 1_000_000


@pytest.mark.parametrize(
    ("symbol", "level"), [("BTC-USD", 104_000), ("ETH-USD", 2_500), ("SOL-USD", 165), ("X-USD", 100)]
)
def test_prices_start_at_the_symbols_level(symbol, level):
    candles = demo_candles(symbol)
    assert len(candles) == 1200
    assert candles.open[0] == level
    assert np.abs(candles.close / level - 1).max() < 0.25


@pytest.mark.parametrize("symbol", MARKETS)
def test_moves_are_of_a_markets_kind(symbol):
    """Against May 2025's bars: |return| correlates 0.22 to 0.27 with the last, 0.48 to 0.55 with log volume."""
    candles = demo_candles(symbol, 20_000, end_ms=END)
    returns = np.diff(np.log(candles.close))
    sizes = np.abs(returns)
    assert returns.std() == pytest.approx(MARKETS[symbol].volatility, rel=0.2)
    assert np.mean((returns - returns.mean()) ** 4) / returns.var() ** 2 > 5
    assert 0.1 < np.corrcoef(sizes[1:], sizes[:-1])[0, 1] < 0.4
    assert 0.4 < np.corrcoef(sizes, np.log(candles.volume[1:]))[0, 1] < 0.7
    assert to_rows(candles)[0][1] == MARKETS[symbol].price


def test_a_market_of_no_bars_is_refused():
    with pytest.raises(ValueError, match="n: expected at least 1 bar, got 0"):
        demo_candles("BTC-USD", 0)
