"""The client for asyncio: `SignalClient`'s mirror image. What arguments mean and what is raised stands there."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Self, TypeVar

import httpx
import numpy.typing as npt

from signalserve.client import requests
from signalserve.client.connection import KEEPALIVE, READY_URL, TIMEOUT, Connection
from signalserve.client.exchange import Attempt, Exchange
from signalserve.client.requests import Call, Endpoint, Features, Instance, Outcome, Rows
from signalserve.client.responses import Answer
from signalserve.client.results import NOTHING_TOLD, OutcomeTally, Prediction, Readiness
from signalserve.client.retries import Retries

T = TypeVar("T")


class AsyncSignalClient:
    """As SignalClient, to be awaited. Keep one for an event loop; any number of calls may be under way at once.

    Cancelling a call is safe: a prediction has no other effect.  sleep: trio's bots give trio.sleep.
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8080",
        *,
        timeout: httpx.Timeout | float = TIMEOUT,
        retries: Retries | int = Retries(),  # noqa: B008 - frozen
        transport: httpx.AsyncBaseTransport | None = None,
        headers: Mapping[str, str] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._connection = Connection.of(base_url, timeout, retries, headers, clock, draw)
        self._sleep = sleep
        trust_env = not self._connection.is_loopback
        self._http = httpx.AsyncClient(limits=KEEPALIVE, transport=transport, trust_env=trust_env)

    async def predict(
        self,
        symbol: str,
        *,
        candles: Rows | None = None,
        features: Features | None = None,
        endpoint: Endpoint = "ensemble",
        request_id: str | None = None,
        as_of: datetime | None = None,
        close: float | None = None,
        variant: str | None = None,
        weights: Mapping[str, float] | None = None,
    ) -> Prediction:
        """Ask for one prediction, from exactly one of candles and features; see SignalClient.predict."""
        instance = Instance(symbol, candles, features, request_id, as_of, close, variant, weights)
        return await self.send(requests.single(instance, endpoint))

    async def predict_batch(
        self, instances: Sequence[Instance], *, endpoint: Endpoint = "ensemble", request_id: str | None = None
    ) -> list[Prediction]:
        """Ask for several predictions in one request, symbols mixed; see SignalClient.predict_batch."""
        return await self.send(requests.batch(instances, endpoint, request_id))

    async def predict_windows(
        self,
        symbol: str,
        windows: npt.ArrayLike,
        *,
        endpoint: Endpoint = "ensemble",
        request_id: str | None = None,
        variant: str | None = None,
    ) -> list[Prediction]:
        """Ask for many windows (N, 60, F) of one symbol by the fast path; see SignalClient.predict_windows."""
        return await self.send(requests.windows(symbol, windows, endpoint, request_id, variant))

    async def outcomes(self, outcomes: Sequence[Outcome]) -> OutcomeTally:
        """Tell what became of earlier predictions, in as many requests as it takes; see SignalClient.outcomes."""
        return sum([await self.send(call) for call in requests.outcomes(outcomes)], NOTHING_TOLD)

    async def ping(self) -> bool:
        """Whether TorchServe is up, models or not; asks once."""
        return await self.send(requests.ping())

    async def ready(self, url: str = READY_URL) -> Readiness:
        """Whether every endpoint and symbol answers correctly now; asks the watcher at url once."""
        return await self.send(requests.ready(url))

    async def send(self, call: Call[T]) -> T:
        """Send a call made by `signalserve.client.requests` until it has a result or an error that stays."""
        exchange = Exchange(call, self._connection.policy)
        while not exchange.take(await self._attempt(call, exchange.timeout())):
            await self._sleep(exchange.wait_s)
        return exchange.result

    async def _attempt(self, call: Call[T], timeout: httpx.Timeout) -> Attempt:
        try:
            response = await self._http.send(self._connection.request(call, timeout))
        except httpx.RequestError as error:
            return error
        return Answer(response.status_code, response.content)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()
