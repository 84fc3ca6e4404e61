"""Series of prices, told apart by the closes that they share."""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from signalserve.feeds import MOST_CLOSES, MOST_FEEDS, TOLD, Feeds, News
from signalserve.journal.lines import ClosesLine
from signalserve.request import Window

MINUTE = 60_000
MARKETS = {name: 100 + np.random.default_rng(name).normal(size=4000).cumsum() * 0.01 for name in range(40)}


def window(end: int, market: int = 0, bars: int = 1060, symbol: str = "BTC-USD") -> Window:
    closes = MARKETS[market][end - bars : end]
    return Window(symbol, np.zeros((0, 0), np.float32), None, end * MINUTE, float(closes[-1]), closes=closes)


def told(feeds: Feeds, *windows: Window) -> list[list[ClosesLine]]:
    return [[*feeds.news(one, MINUTE).lines] for one in windows]


def test_the_first_candles_are_told_whole_and_then_only_what_is_new():
    [first], [second], third = told(Feeds("w"), window(2000), window(2003), window(2003))
    assert list(first.closes) == MARKETS[0][940:2000].tolist()
    assert (list(second.closes), second.last_ms) == (MARKETS[0][2000:2003].tolist(), 2003 * MINUTE)
    assert first.feed == second.feed and third == []
    assert (first.begins, second.begins) == (True, False)


def test_no_request_tells_more_than_a_day_and_an_hour():
    [line] = Feeds("w").news(window(3000, bars=3000), MINUTE).lines
    assert list(line.closes) == MARKETS[0][3000 - MOST_CLOSES : 3000].tolist()


def test_two_markets_that_take_turns_are_two_series():
    windows = [window(2000 + minute, market=minute % 2) for minute in range(6)]
    lines = [line for news in told(Feeds("w"), *windows) for line in news]
    assert len(lines) == 6
    assert [line.feed for line in lines] == [lines[0].feed, lines[1].feed] * 3
    assert [len(line.closes) for line in lines] == [1060, 1060, 2, 2, 2, 2]


def test_a_bar_that_was_revised_belongs_to_the_same_series():
    revised = window(2001)
    assert revised.closes is not None
    closes = revised.closes.copy()
    closes[-2] *= 1.001
    [first], [second] = told(Feeds("w"), window(2000), replace(revised, closes=closes))
    assert first.feed == second.feed


def test_earlier_candles_of_the_same_market_are_nothing_new():
    assert told(Feeds("w"), window(2000), window(1990))[1] == []


def test_what_shares_no_bar_with_what_is_known_begins_anew():
    feeds = Feeds("w")
    lines = [line for news in told(feeds, window(1500), window(3900), window(1200)) for line in news]
    assert len({line.feed for line in lines}) == 3


def test_the_series_that_was_silent_for_longest_is_forgotten():
    feeds = Feeds("w")
    told(feeds, *(window(2000, market) for market in range(MOST_FEEDS + 1)))
    assert len(told(feeds, window(2001, MOST_FEEDS))[0][0].closes) == 1
    assert len(told(feeds, window(2001, 0))[0][0].closes) == 1060


def test_symbols_are_kept_apart():
    [one], [other] = told(Feeds("w"), window(2000), window(2000, symbol="ETH-USD"))
    assert one.feed != other.feed and other.symbol == "ETH-USD"


def test_a_close_beside_features_is_told_as_such_and_without_a_time_not_at_all():
    alone = Window("BTC-USD", np.zeros((0, 0), np.float32), None, 5 * MINUTE, 100.5)
    news = Feeds("w").news(alone, MINUTE)
    assert news == News(TOLD, [ClosesLine("BTC-USD", TOLD, False, MINUTE, 5 * MINUTE, [100.5])])
    assert Feeds("w").news(replace(alone, as_of_ms=None), MINUTE) == News()
    assert Feeds("w").news(replace(alone, close=None), MINUTE) == News()


def test_a_window_knows_its_series_also_where_it_brings_nothing_new():
    feeds = Feeds("w")
    first = feeds.news(window(2000), MINUTE)
    assert feeds.news(window(1990), MINUTE) == News(first.feed)


def test_what_could_not_be_written_is_told_again():
    feeds = Feeds("w")
    feeds.news(window(2000), MINUTE)
    before = feeds.state
    lost = feeds.news(window(2005), MINUTE)
    feeds.state = before
    assert feeds.news(window(2006), MINUTE).feed == lost.feed
    feeds.state = before
    assert len(feeds.news(window(2006), MINUTE).lines[0].closes) == 6


@given(st.lists(st.integers(1, 90), min_size=1, max_size=12), st.integers(1, 3))
def test_whatever_the_pauses_the_lines_of_a_series_are_its_closes_without_a_hole(pauses: list[int], markets: int):
    feeds = Feeds("w")
    known: dict[str, dict[int, float]] = {}
    end = 1200
    for turn, pause in enumerate(pauses):
        end += pause
        for line in feeds.news(window(end, turn % markets), MINUTE).lines:
            times = range(line.last_ms - (len(line.closes) - 1) * MINUTE, line.last_ms + MINUTE, MINUTE)
            known.setdefault(line.feed, {}).update(zip(times, line.closes, strict=True))
    for closes in known.values():
        times = sorted(closes)
        assert times == list(range(times[0], times[-1] + MINUTE, MINUTE))
        market = next(m for m in range(markets) if MARKETS[m][times[0] // MINUTE - 1] == closes[times[0]])
        assert all(closes[time] == MARKETS[market][time // MINUTE - 1] for time in times)
