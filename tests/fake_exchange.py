"""What stands in for exchanges: a market of known bars, and two exchanges' public APIs over it, to be `serving`."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from signalserve.candles import Candles, to_rows

Query = Mapping[str, str]

TRADES_A_BAR_MS = (0, 20_000, 40_000, 59_999)
"""When in its minute a bar's open, high, low and close were traded, a quarter of its volume each."""


@dataclass
class Market:
    """What is traded at an exchange. candles: the newest may be open still.  now_ms: the exchange's clock."""

    candles: Candles
    now_ms: int

    def bars(self) -> list[list[float]]:
        """Those that have opened by now, in the order of FIELDS."""
        return [row for row in to_rows(self.candles) if row[0] <= self.now_ms]

    def trades(self) -> list[tuple[float, float, int]]:
        """Price, amount and time in ms of each trade until now, in order."""
        return [
            (price, row[5] / 4, int(row[0]) + offset)
            for row in self.bars()
            for price, offset in zip(row[1:5], TRADES_A_BAR_MS, strict=True)
            if row[0] + offset <= self.now_ms
        ]


class FakeExchange:
    """Answers a server's requests, and keeps them. wrong: answers in place of the usual ones, by the path's last part.

    An answer is a status and what becomes its JSON, or None to hang up.
    """

    def __init__(self, market: Market) -> None:
        self.market = market
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.wrong: dict[str, Callable[[], tuple[int, Any] | None]] = {}

    def __call__(self, path: str, body: bytes) -> tuple[int, bytes] | None:
        address = urlsplit(path)
        endpoint = address.path.rpartition("/")[2]
        query = dict(parse_qsl(address.query))
        self.asked.append((endpoint, query))
        answer = self.wrong[endpoint]() if endpoint in self.wrong else (200, self.answer(endpoint, query))
        return answer and (answer[0], json.dumps(answer[1]).encode())

    def answer(self, endpoint: str, query: Query) -> Any:
        raise NotImplementedError

    def count(self, endpoint: str) -> int:
        return [name for name, _ in self.asked].count(endpoint)


class FakeKraken(FakeExchange):
    """The newest 720 candles whatever is asked, and all trades, 1,000 at once; `since` itself left out."""

    candles_at_most = 720
    trades_at_most = 1000

    def answer(self, endpoint: str, query: Query) -> Any:
        return {"error": [], "result": getattr(self, endpoint)(query)}

    def Time(self, query: Query) -> Any:  # noqa: N802 - Kraken's names
        return {"unixtime": self.market.now_ms // 1000}

    def Assets(self, query: Query) -> Any:  # noqa: N802
        names = {"XXBT": "XBT", "ZUSD": "USD", "USDT": "USDT"}
        return {id_: {"altname": name, "decimals": 10, "status": "enabled"} for id_, name in names.items()}

    def AssetPairs(self, query: Query) -> Any:  # noqa: N802
        common = {"base": "XXBT", "pair_decimals": 1, "lot_decimals": 8, "status": "online"}
        return {
            "XXBTZUSD": {**common, "altname": "XBTUSD", "wsname": "XBT/USD", "quote": "ZUSD"},
            "XBTUSDT": {**common, "altname": "XBTUSDT", "wsname": "XBT/USDT", "quote": "USDT"},
        }

    def OHLC(self, query: Query) -> Any:  # noqa: N802
        assert query["interval"] == "1"
        since = float(query.get("since", 0))
        rows = [
            [int(time) // 1000, *map(str, (open_, high, low, close, close, volume)), 4]
            for time, open_, high, low, close, volume in self.market.bars()
            if time / 1000 > since
        ]
        rows = rows[-self.candles_at_most :]
        return {query["pair"]: rows, "last": rows[-1][0] if rows else since}

    def Trades(self, query: Query) -> Any:  # noqa: N802
        since = int(query["since"])  # in nanoseconds
        found = [
            [str(price), str(amount), time / 1000, "b", "l", "", number]
            for number, (price, amount, time) in enumerate(self.market.trades(), start=10**8)
            if time * 1_000_000 > since
        ][: self.trades_at_most]
        return {query["pair"]: found, "last": str(round(found[-1][2] * 1e9)) if found else query["since"]}


class FakeCoinbase(FakeExchange):
    """300 candles at once, newest first, none for a minute without trades; no trades by their time."""

    candles_at_most = 300

    def answer(self, endpoint: str, query: Query) -> Any:
        match endpoint:
            case "time":
                return {"data": {"epoch": self.market.now_ms // 1000}}
            case "currencies" | "crypto":
                return {"data": []}
            case "exchange-rates":
                return {"data": {"rates": {}}}
            case "products":
                return {"products": [] if "product_type" in query else [self.product()]}
            case "candles":
                return {"candles": self.candles(int(query["start"]), int(query["end"]))}
        raise AssertionError(f"nobody asks Coinbase for {endpoint}")

    def product(self) -> dict[str, str]:
        ids = {"product_id": "BTC-USD", "base_currency_id": "BTC", "quote_currency_id": "USD", "product_type": "SPOT"}
        return {**ids, "base_increment": "0.00000001", "price_increment": "0.01", "status": "online"}

    def candles(self, start: int, end: int) -> list[dict[str, str]]:
        assert (end - start) // 60 <= self.candles_at_most
        names = ("open", "high", "low", "close", "volume")
        return [
            {"start": str(int(row[0]) // 1000), **dict(zip(names, map(str, row[1:]), strict=True))}
            for row in reversed(self.market.bars())
            if start <= row[0] / 1000 <= end
        ]
