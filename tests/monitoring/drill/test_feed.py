"""What a drill's bot sends, right and wrong."""

import json
from dataclasses import replace

import numpy as np
import pytest
from stores import BTC, candles

from monitoring.drill.feed import Feed, frozen, read_feeds, shuffled, swapped, volatile
from signalserve.candles import INTERVAL_MS, check_candles
from signalserve.errors import DataError
from signalserve.features import COLUMNS, MIN_CANDLES, compute_features

MINUTES, SINCE = 200, 120


@pytest.fixture(scope="module")
def feed() -> Feed:
    [feed] = read_feeds([BTC], None, MINUTES, None)
    return feed


def asked(feed: Feed, minute: int) -> tuple[np.ndarray, str, float]:
    content = json.loads(feed.request(minute))
    return np.array(content["features"], dtype=np.float32), content["as_of"], content["close"]


def test_a_request_is_the_window_that_a_bot_would_send_at_that_minute(feed: Feed) -> None:
    window, _, close = asked(feed, SINCE)
    end = MIN_CANDLES - 1 + SINCE + 1
    bars = replace(feed.candles, **{name: getattr(feed.candles, name)[:end] for name in ("timestamp_ms", *_PRICES)})
    np.testing.assert_array_equal(window, compute_features(bars)[-60:].astype(np.float32))
    assert close == feed.candles.close[end - 1]


_PRICES = ("open", "high", "low", "close", "volume")


def test_a_frozen_feed_asks_about_one_bar_for_ever(feed: Feed) -> None:
    still = frozen(feed, SINCE)
    assert still.request(SINCE) == still.request(SINCE + 50) == feed.request(SINCE)
    assert still.request(SINCE - 1) == feed.request(SINCE - 1)


def test_tripled_volatility_triples_every_return_from_its_minute_on(feed: Feed) -> None:
    wild = volatile(feed, SINCE)
    before, after = (np.diff(np.log(one.candles.close))[feed.first + SINCE - 1 :] for one in (feed, wild))
    np.testing.assert_allclose(after, 3 * before, atol=1e-12)
    assert wild.request(SINCE - 1) == feed.request(SINCE - 1)
    check_candles(wild.candles, INTERVAL_MS, MIN_CANDLES)


def test_swapped_columns_stand_in_each_others_place_and_all_else_stays(feed: Feed) -> None:
    right, wrong = asked(feed, SINCE)[0], asked(swapped("rsi_30", "volatility_50")(feed, SINCE), SINCE)[0]
    i, j = COLUMNS.index("rsi_30"), COLUMNS.index("volatility_50")
    others = [k for k in range(len(COLUMNS)) if k not in (i, j)]
    np.testing.assert_array_equal(wrong[:, [i, j]], right[:, [j, i]])
    np.testing.assert_array_equal(wrong[:, others], right[:, others])


def test_shuffled_columns_are_the_same_numbers_in_one_other_order(feed: Feed) -> None:
    wrong = shuffled(feed, SINCE)
    for minute in (SINCE, SINCE + 1):
        right, mixed = asked(feed, minute)[0], asked(wrong, minute)[0]
        np.testing.assert_array_equal(np.sort(mixed, axis=1), np.sort(right, axis=1))
        assert not np.array_equal(mixed, right)


def test_too_few_bars_before_the_references_own_are_told(tmp_path, feed: Feed) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    bars = candles(BTC, 1500)
    columns = {name: getattr(bars, name) for name in ("timestamp_ms", *_PRICES)}
    parquet.write_table(pyarrow.table(columns), tmp_path / "BTCUSDT_1m.parquet")
    with pytest.raises(DataError, match="expected 1,159 bars before the reference's own, got 1,000"):
        read_feeds([BTC], tmp_path, 100, int(bars.timestamp_ms[1000]))
