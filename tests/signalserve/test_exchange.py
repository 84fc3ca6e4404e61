"""Candles through ccxt's own client, from stand-ins of two exchanges on this machine."""

import importlib.util
import json
import re
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import fake_service
import numpy as np
import pytest
from fake_exchange import FakeCoinbase, FakeExchange, FakeKraken, Market
from fake_service import answer_any, serving
from hypothesis import given
from hypothesis import strategies as st
from stores import BTC, write_settings, write_store

from signalserve import exchange as exchange_module
from signalserve.candles import FIELDS, Candles, check_candles, last
from signalserve.commands.main import main
from signalserve.demo import demo_candles
from signalserve.errors import ConfigError, DataError
from signalserve.exchange import (
    LONGEST_GAP,
    bars_of_trades,
    fill_gaps,
    market_of,
    open_exchange,
    recent_candles,
)

N = 1060
MINUTE = 60_000
OPEN_BAR_MS = 1_764_000_000_000  # the opening of the bar that is open by the stand-ins' clock
TRUTH = demo_candles(BTC, 1300, end_ms=OPEN_BAR_MS + 100 * MINUTE)  # 100 bars of it are still to come
CLOSED = 1199

ccxt = pytest.importorskip("ccxt")


def closed(n: int = N, later: int = 0) -> Candles:
    """What n bars must be: the market's last ones before the open bar, or before one that opens later."""
    return last(rows(TRUTH, range(CLOSED + later)), n)


def rows(candles: Candles, kept) -> Candles:
    return Candles(*[getattr(candles, name)[list(kept)] for name in FIELDS])


def assert_same(got: Candles, expected: Candles) -> None:
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(got, name), getattr(expected, name), err_msg=name)


def market(kept=range(1300)) -> Market:
    """A market half a minute into its open bar, without the bars that are not kept."""
    return Market(rows(TRUTH, kept), OPEN_BAR_MS + 30_000)


def without(*gone: int) -> list[int]:
    """Every bar but these, counted back from the last closed one, which is 1."""
    return [row for row in range(1300) if CLOSED - row not in gone]


@pytest.fixture(autouse=True)
def prompt_answers(monkeypatch):
    """Without this an answer's body waits 40 ms for its head to be acknowledged."""
    monkeypatch.setattr(fake_service._Handler, "disable_nagle_algorithm", True)


@pytest.fixture
def client():
    """client(fake): ccxt's client of that exchange, pointed at the fake, which a server speaks for."""
    servers = []

    def connect(fake: FakeExchange):
        servers.append(serving(fake))
        return unhurried(open_exchange(name_of(fake), base_url=servers[-1].__enter__().url))

    yield connect
    for server in servers:
        server.__exit__(None, None, None)


def name_of(fake: FakeExchange) -> str:
    return "kraken" if isinstance(fake, FakeKraken) else "coinbase"


def unhurried(exchange):
    """The stand-in needs no rest between requests: the spacing is a millisecond."""
    exchange.rateLimit = 1
    exchange.options["maxRetriesOnFailureDelay"] = 0
    return exchange


def ask(exchange, n=N, **options):
    return recent_candles(exchange, market_of(exchange, BTC), n, **options)


# ---- the bars


def test_an_exchange_that_pages_gives_the_markets_closed_bars(client):
    fake = FakeCoinbase(market())
    candles = ask(client(fake))
    assert_same(candles, closed())
    check_candles(candles, MINUTE, N)
    assert fake.count("candles") == 4  # of at most 300


def test_bars_that_kraken_shows_no_more_are_made_of_its_trades(client):
    fake = FakeKraken(market())
    candles = ask(client(fake))
    assert_same(candles, closed())
    check_candles(candles, MINUTE, N)
    needed = N + LONGEST_GAP - (fake.candles_at_most - 1)
    assert fake.count("Trades") == -(-needed * 4 // fake.trades_at_most)


def test_what_kraken_shows_is_enough_for_few_bars(client):
    fake = FakeKraken(market())
    assert_same(ask(client(fake), 600), closed(600))
    assert (fake.count("OHLC"), fake.count("Trades")) == (1, 0)


@pytest.mark.parametrize("trades_at_most", [3, 7])
def test_no_trade_is_lost_or_counted_twice_where_pages_meet(client, trades_at_most):
    fake = few_at_once(trades_at_most)
    assert_same(ask(client(fake), 20), closed(20))


def few_at_once(trades_at_most: int) -> FakeKraken:
    """A young market at an exchange with short pages."""
    fake = FakeKraken(market(range(1100, 1300)))
    fake.candles_at_most, fake.trades_at_most = 10, trades_at_most
    return fake


def test_trades_of_one_moment_may_fill_the_end_of_a_page(client, monkeypatch):
    monkeypatch.setattr("fake_exchange.TRADES_A_BAR_MS", (0, 40_000, 40_000, 40_000))
    candles = ask(client(few_at_once(6)), 20)
    np.testing.assert_array_equal(candles.volume, closed(20).volume)


def test_more_trades_in_a_moment_than_a_page_holds_are_no_bars(client, monkeypatch):
    monkeypatch.setattr("fake_exchange.TRADES_A_BAR_MS", (40_000,) * 4)
    exchange = client(few_at_once(3))
    with pytest.raises(DataError, match=r"kraken, BTC/USD: expected trades after those of .* got none; take"):
        ask(exchange, 20)


def test_bars_that_close_while_trades_are_read_are_there_at_the_end(client):
    fake = FakeKraken(market())

    def a_minute_later():
        fake.market.now_ms = OPEN_BAR_MS + 90_000
        return 200, fake.answer("Trades", fake.asked[-1][1])

    fake.wrong["Trades"] = a_minute_later
    assert_same(ask(client(fake)), closed(later=1))


def test_a_bar_is_closed_by_the_exchanges_clock_or_the_one_that_is_given(client):
    exchange = client(FakeCoinbase(market()))
    assert ask(exchange, 60).timestamp_ms[-1] == OPEN_BAR_MS - MINUTE
    assert ask(exchange, 60, now_ms=OPEN_BAR_MS).timestamp_ms[-1] == OPEN_BAR_MS - MINUTE
    assert ask(exchange, 60, now_ms=OPEN_BAR_MS - 1).timestamp_ms[-1] == OPEN_BAR_MS - 2 * MINUTE


def test_an_exchange_without_a_clock_has_this_machines(client, monkeypatch):
    exchange = client(FakeCoinbase(market()))
    exchange.has["fetchTime"] = False
    monkeypatch.setattr("signalserve.exchange.time.time_ns", lambda: (OPEN_BAR_MS + 1) * 1_000_000)
    assert_same(ask(exchange, 60), closed(60))


def test_only_what_is_new_is_asked_for(client):
    fake = FakeKraken(market())
    exchange = client(fake)
    known = ask(exchange)
    fake.market.now_ms += 3 * MINUTE
    fake.asked.clear()
    assert_same(ask(exchange, known=known), closed(later=3))
    assert [endpoint for endpoint, _ in fake.asked] == ["Time", "OHLC"]
    assert len(fake.answer("OHLC", fake.asked[-1][1])["result"]["XXBTZUSD"]) == 5  # the last known to the open one


def test_a_known_bar_that_has_grown_since_is_read_again(client):
    exchange = client(FakeKraken(market()))
    early = ask(exchange, 60)
    early.volume[-1] /= 2
    assert_same(ask(exchange, 60, known=early), closed(60))


def test_known_bars_that_are_too_old_or_too_few_are_left_alone(client):
    fake = FakeCoinbase(market())
    exchange = client(fake)
    assert_same(ask(exchange, 60, known=closed(60, later=-900)), closed(60))
    assert_same(ask(exchange, 60, known=closed(30)), closed(60))
    assert fake.count("candles") == 2  # one page each


def test_progress_is_told_up_to_all_bars(client):
    told = []
    ask(client(FakeKraken(market())), on_progress=lambda *bars: told.append(bars))
    assert told[0] == (719, N + LONGEST_GAP)
    assert told[-1] == (N + LONGEST_GAP, N + LONGEST_GAP)
    assert told == sorted(told)


# ---- its rate


@pytest.mark.parametrize("fake", [FakeKraken, FakeCoinbase])
def test_every_request_waits_for_the_exchanges_rate(client, monkeypatch, fake):
    fake = fake(market())
    exchange = client(fake)
    waits = []
    monkeypatch.setattr(exchange, "throttle", waits.append)
    ask(exchange)
    assert exchange.enableRateLimit
    assert len(waits) == len(fake.asked) > 5
    assert open_exchange(exchange.id).rateLimit == getattr(ccxt, exchange.id)().rateLimit


# ---- gaps


def test_a_minute_without_a_trade_has_the_close_before_it_and_no_volume(client):
    got = ask(client(FakeCoinbase(market(without(5, 6, 900)))), 1000)
    expected = closed(1000)
    quiet = [-5, -6, -900]
    for gone, before in zip(quiet, (-7, -7, -901), strict=True):
        filled = {name: getattr(got, name)[gone] for name in FIELDS[1:]}
        close = expected.close[before]
        assert filled == {"open": close, "high": close, "low": close, "close": close, "volume": 0}
    traded = np.delete(np.arange(1000), quiet)
    assert_same(rows(got, traded), rows(expected, traded))


def test_a_minute_without_a_trade_is_filled_among_trades_too(client):
    fake = FakeKraken(market(without(1000)))
    candles = ask(client(fake))
    assert candles.volume[-1000] == 0
    assert candles.close[-1000] == closed().close[-1001]


def test_a_gap_where_the_bars_begin_has_the_close_before_it(client):
    candles = ask(client(FakeCoinbase(market(without(50, 49)))), 50)
    assert len(candles) == 50
    assert candles.open[0] == closed(51).close[0]


def test_a_newest_bar_that_is_late_is_not_made_up(client):
    got = ask(client(FakeCoinbase(market(without(1)))), 60)
    assert_same(got, closed(60, later=-1))


def test_a_long_gap_is_an_error(client):
    exchange = client(FakeCoinbase(market(without(*range(100, 100 + LONGEST_GAP + 1)))))
    with pytest.raises(DataError, match=r"coinbase, BTC/USD: expected at most 15 bars in a row without a trade, got 16 "
                                        r"after 2025-11-24T14:04:00Z; take another exchange, or a file"):  # fmt: skip
        ask(exchange)
    silent = client(FakeCoinbase(market(without(*range(LONGEST_GAP + 2)))))
    with pytest.raises(DataError, match="in a row without a trade, got 16 after 2025-11-24T15:43:00Z"):
        ask(silent)


def test_many_short_gaps_are_an_error(client):
    exchange = client(FakeCoinbase(market(without(*range(2, 1060, 8)))))
    with pytest.raises(DataError, match=r"expected at most 10% of the bars without a trade, got 133 of 1,075"):
        ask(exchange)


def test_bars_that_an_exchange_lists_without_a_trade_count_as_gaps(client):
    fake = FakeCoinbase(market())
    fake.market.candles.volume[CLOSED - 30 : CLOSED - 14] = 0
    with pytest.raises(DataError, match="at most 15 bars in a row without a trade, got 16 after"):
        ask(client(fake), 60)


@given(kept=st.sets(st.integers(0, 29), min_size=1))
def test_filling_keeps_what_is_there(kept):
    bars = rows(TRUTH, sorted(kept))
    whole = fill_gaps(bars, MINUTE)
    check_candles(whole, MINUTE, max(kept) - min(kept) + 1)
    there = np.array(sorted(kept)) - min(kept)
    assert_same(rows(whole, there), bars)
    gone = np.setdiff1d(np.arange(len(whole)), there)
    assert (whole.volume[gone] == 0).all()
    assert (whole.close[gone] == whole.close[gone - 1]).all()


# ---- bars of trades

trades = st.lists(
    st.tuples(
        st.integers(OPEN_BAR_MS, OPEN_BAR_MS + 5 * MINUTE),
        st.floats(0.01, 1e6),
        st.floats(1e-8, 1e4),
    ),
    max_size=60,
)


@given(trades)
def test_bars_of_trades_are_what_a_reader_would_add_up(traded):
    traded.sort(key=lambda trade: trade[0])
    minutes = defaultdict(list)
    for traded_at, price, amount in traded:
        minutes[traded_at - traded_at % MINUTE].append((price, amount))
    columns = np.array(traded, dtype=np.float64).reshape(-1, 3).T
    bars = bars_of_trades(columns[0].astype(np.int64), columns[1], columns[2], MINUTE)
    assert bars.timestamp_ms.tolist() == list(minutes)
    for row, of_minute in enumerate(minutes.values()):
        prices = [price for price, _ in of_minute]
        got = [getattr(bars, name)[row] for name in FIELDS[1:5]]
        assert got == [prices[0], max(prices), min(prices), prices[-1]]
        assert bars.volume[row] == pytest.approx(sum(amount for _, amount in of_minute), rel=1e-12)


# ---- errors in words


def test_too_few_bars_name_the_number_and_the_way_out(client):
    young = client(FakeCoinbase(market(range(CLOSED - 500, 1300))))
    way_out = r"take another exchange, or a file of candles \(--candles FILE\)"
    with pytest.raises(DataError, match=rf"1,060 closed bars, got 500: it shows none from before .*Z; {way_out}"):
        ask(young)
    with pytest.raises(DataError, match="expected at least 1,060 closed bars, got none"):
        ask(client(FakeCoinbase(market(range(CLOSED + 1, 1300)))))


def test_an_exchange_that_shows_neither_old_candles_nor_old_trades_gives_too_few(client):
    fake = FakeKraken(market())
    newest = {"XXBTZUSD": [["1", "1", (OPEN_BAR_MS - MINUTE) / 1000, "b", "l", "", 1]], "last": "1"}
    fake.wrong["Trades"] = lambda: (200, {"error": [], "result": newest})
    with pytest.raises(DataError, match="kraken, BTC/USD: expected at least 1,060 closed bars, got 719"):
        ask(client(fake))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda: None, "kraken gave no answer: see whether this machine reaches it, or ask again later"),
        (lambda: (503, "down"), "gave no answer: .*ExchangeNotAvailable"),
        (lambda: (200, {"error": ["EService:Unavailable"]}), "gave no answer: .*EService:Unavailable"),
        (lambda: (429, {}), "was asked too often from this address: wait a few minutes"),
        (lambda: (200, {"error": ["EAPI:Rate limit exceeded"]}), "was asked too often"),
        (lambda: (200, {"error": ["EGeneral:Invalid arguments"]}), "can't do what was asked: take another exchange"),
        (lambda: (451, {}), r"kraken .*\("),
    ],
)
def test_an_exchanges_trouble_is_one_line_that_says_what_to_do(client, answer, words):
    fake = FakeKraken(market())
    exchange = client(fake)
    market_of(exchange, BTC)
    fake.wrong["OHLC"] = answer
    with pytest.raises(DataError, match=words) as caught:
        ask(exchange)
    assert "\n" not in str(caught.value)


def test_trouble_that_passes_is_not_seen(client):
    fake = FakeKraken(market())
    answers = [(503, "down"), None]
    usual = fake.answer

    def troubled():
        return answers.pop() if answers else (200, usual("OHLC", fake.asked[-1][1]))

    fake.wrong["OHLC"] = troubled
    assert_same(ask(client(fake), 600), closed(600))


def test_bars_that_no_market_makes_are_refused(client):
    fake = FakeCoinbase(market())
    fake.market.candles.high[CLOSED - 10] = 1.0
    with pytest.raises(DataError, match="coinbase, BTC/USD: expected high at or above low, got row"):
        ask(client(fake), 60)


def test_an_answer_that_is_none_of_the_exchanges_is_no_market_and_no_bars(client):
    fake = FakeKraken(market())
    exchange = client(fake)
    fake.wrong["AssetPairs"] = lambda: (200, "log in here first")
    with pytest.raises(DataError, match="kraken lists no markets: see whether this machine reaches it"):
        market_of(exchange, BTC)
    fake.wrong = {"Trades": lambda: (200, {"error": [], "result": {"XXBTZUSD": [None]}})}
    with pytest.raises(DataError, match="kraken sent what ccxt can't read: ask again later"):
        ask(exchange)


def test_an_unknown_exchange_or_market_is_named_with_what_there_is(client):
    with pytest.raises(ConfigError, match=r"expected a name that ccxt knows, such as kraken.*, got 'krakn'"):
        open_exchange("krakn")
    exchange = client(FakeKraken(market()))
    with pytest.raises(ConfigError, match="expected a market that it has, got BTC/EUR; it has BTC/USD, BTC/USDT: name"):
        market_of(exchange, BTC, "BTC/EUR")
    with pytest.raises(ConfigError, match="got XYZ/USD; take another exchange"):
        market_of(exchange, "XYZ-USD")
    assert market_of(exchange, BTC, "BTC/USDT") == "BTC/USDT"


def test_an_interval_that_it_lacks_is_named(client):
    with pytest.raises(ConfigError, match="kraken: expected candles of 7 s, it has those of 1m, 5m"):
        ask(client(FakeKraken(market())), interval_ms=7000)


def test_without_ccxt_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ccxt", None)
    with pytest.raises(ConfigError, match=r"need ccxt: pip install 'signalserve\[exchange\]'"):
        open_exchange("kraken")


# ---- where it is used


@pytest.fixture
def kraken(monkeypatch):
    """A stand-in that `open_exchange("kraken")` leads to, wherever it is called."""
    fake = FakeKraken(market())
    with serving(fake) as server:
        monkeypatch.setattr(exchange_module, "open_exchange", partial(opened, server.url, open_exchange))
        yield fake


def opened(url: str, open_exchange: Callable, name: str):
    return unhurried(open_exchange(name, base_url=url))


@pytest.fixture
def predict(tmp_path_factory, capfd):
    """predict(*arguments): exit code, standard output and standard error."""
    store = write_store(tmp_path_factory.mktemp("store"))
    settings = write_settings(store / "serving.yaml")

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["predict", "--model-store", str(store), "--settings", str(settings), *arguments])
        return code, *capfd.readouterr()

    return run


def test_predict_asks_an_exchange_and_says_which_market(kraken, predict):
    code, out, err = predict("--symbol", BTC, "--exchange", "kraken")
    shown = " ".join(out.split())
    assert (code, err) == (0, "signalserve: candles of BTC/USD at kraken\n")
    assert re.search(r"BTC-USD (DOWN|NEUTRAL|UP) confidence .* as of 2025-11-24 16:00:00 UTC", shown)
    assert "! candles of BTC/USD at kraken: the reference models learned from Binance's perpetuals in USDT" in shown
    code, out, _ = predict("--symbol", BTC, "--exchange", "kraken", "--market", "BTC/USDT", "--json")
    assert (code, json.loads(out)["as_of"]) == (0, "2025-11-24T16:00:00Z")
    assert {query["pair"] for endpoint, query in kraken.asked if endpoint == "OHLC"} == {"XXBTZUSD", "XBTUSDT"}


def test_what_predict_cannot_get_is_one_line(kraken, predict):
    kraken.wrong["OHLC"] = lambda: None
    code, out, err = predict("--symbol", BTC, "--exchange", "kraken", "--json")
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith("signalserve: kraken gave no answer")
    assert predict("--symbol", BTC, "--demo", "--market", "BTC/USDT")[0] == 2


@pytest.fixture
def bot(kraken, monkeypatch):
    """bot(*arguments, rounds=1): the example's loop in this process; it stops when it would start another round."""
    path = Path(__file__).resolve().parents[2] / "examples" / "bot.py"
    spec = importlib.util.spec_from_file_location("bot", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def run(*arguments: str, between: list[Callable[[], object]]) -> int:
        def sleep(seconds):
            if not between:
                raise KeyboardInterrupt
            between.pop(0)()

        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=time.monotonic, sleep=sleep))
        with serving(answer_any) as service:
            monkeypatch.setattr(sys, "argv", ["bot.py", "--url", service.url, "--exchange", "kraken", *arguments])
            return module.main()

    return run


def test_the_bot_asks_only_for_new_bars_and_holds_through_trouble(kraken, bot, capfd):
    def a_minute_later():
        kraken.market.now_ms += MINUTE
        kraken.asked.clear()

    between = [a_minute_later, lambda: kraken.wrong.update(Time=lambda: None), kraken.wrong.clear]
    assert bot("--symbols", BTC, between=between) == 0
    lines = capfd.readouterr().out.splitlines()
    decisions = [line.partition("hold")[2] for line in lines]
    assert decisions[0] == decisions[1] == decisions[3] == " (below 0.75)"
    assert "(no candles: kraken gave no answer" in decisions[2]
    assert lines[4] == "stopped"
    assert (kraken.count("OHLC"), kraken.count("Trades"), kraken.count("AssetPairs")) == (2, 0, 0)


def test_the_bot_ends_on_a_market_that_is_not_there(bot, capfd):
    assert bot("--symbols", "XYZ-USD", between=[]) == 1
    assert "got XYZ/USD; take another exchange" in capfd.readouterr().err
