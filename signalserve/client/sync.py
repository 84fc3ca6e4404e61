"""The client for ordinary code."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
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


class SignalClient:
    """Asks a running service. Keep one and use it from any thread: its connections stay open between calls.

    base_url: of TorchServe's inference port or of the proxy in front of it.
    timeout: seconds for each of connecting, sending and waiting for the answer, or an httpx.Timeout.
    retries: how many further attempts, or a `Retries` with waits and a deadline for the whole call; 0 asks once.
    headers: sent with every request to base_url and nowhere else, such as the proxy's Authorization.
    transport: what carries the requests; httpx.MockTransport needs no network.
    sleep, clock, draw: how to wait (seconds), tell time (seconds, monotonic) and draw from [0, 1), for tests.
    Raises InvalidInput for a base_url that is none, ValueError for retries that are none.
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8080",
        *,
        timeout: httpx.Timeout | float = TIMEOUT,
        retries: Retries | int = Retries(),  # noqa: B008 - frozen
        transport: httpx.BaseTransport | None = None,
        headers: Mapping[str, str] | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._connection = Connection.of(base_url, timeout, retries, headers, clock, draw)
        self._sleep = sleep
        trust_env = not self._connection.is_loopback
        self._http = httpx.Client(limits=KEEPALIVE, transport=transport, trust_env=trust_env)

    def predict(
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
        """Ask for one prediction, from exactly one of candles and features.

        candles: `Candles` or rows [timestamp_ms, open, high, low, close, volume]: closed bars, oldest first, at least
        1,060 (the newest 3,000 are sent).  features: raw and finite, 60 bars, oldest first, as a mapping column -> 60
        numbers or as an array (60, F) in the model's column order; an array is the fast path.
        endpoint: "v6_fixed" and "v8" ask that model; "ensemble" asks whatever serving.yaml says.
        request_id: at most 128 printable characters, the same in every attempt; drawn where none is given.
        as_of: aware, when the last bar closed; follows from candles.  close: that bar's close, for outcomes.
        variant or weights: overrule serving.yaml; only on the ensemble endpoint.
        Raises SignalError: InvalidInput, RequestRefused, ServiceUnavailable, NoAnswer or MalformedAnswer.
        """
        instance = Instance(symbol, candles, features, request_id, as_of, close, variant, weights)
        return self.send(requests.single(instance, endpoint))

    def predict_batch(
        self, instances: Sequence[Instance], *, endpoint: Endpoint = "ensemble", request_id: str | None = None
    ) -> list[Prediction]:
        """Ask for several predictions in one request, symbols mixed; the results are in the order of the instances.

        instances: 1 to 64.  All or nothing: where one is wrong, RequestRefused lists every fault of all of them.
        request_id: the whole request's; instances without their own get it with their position, as in `id/3`.
        """
        return self.send(requests.batch(instances, endpoint, request_id))

    def predict_windows(
        self,
        symbol: str,
        windows: npt.ArrayLike,
        *,
        endpoint: Endpoint = "ensemble",
        request_id: str | None = None,
        variant: str | None = None,
    ) -> list[Prediction]:
        """Ask for many windows of one symbol by the fast path; the results are in their order.

        windows: (N, 60, F), raw, finite, N from 1 to 256.  This form can't tell the windows' times: where outcomes are
        to be joined later, use predict_batch.
        """
        return self.send(requests.windows(symbol, windows, endpoint, request_id, variant))

    def outcomes(self, outcomes: Sequence[Outcome]) -> OutcomeTally:
        """Tell what became of earlier predictions, for the journal; more than 1,000 go as several requests.

        Bars that later requests bring label predictions by themselves: this is for bots that send features, and for
        what only they know. Telling the same outcomes again changes nothing: where an error is raised, tell all again.
        Raises SignalError; NotReady where the service keeps no journal, or can't reach it now.
        """
        return sum((self.send(call) for call in requests.outcomes(outcomes)), NOTHING_TOLD)

    def ping(self) -> bool:
        """Whether TorchServe is up. It says so with no model loaded: see `ready`. Asks once, without retries.

        Raises NoAnswer where nothing answers.
        """
        return self.send(requests.ping())

    def ready(self, url: str = READY_URL) -> Readiness:
        """Whether every endpoint and symbol answers correctly now. url: of the watcher. Asks once, without retries.

        Raises NoAnswer where nothing answers.
        """
        return self.send(requests.ready(url))

    def send(self, call: Call[T]) -> T:
        """Send a call made by `signalserve.client.requests` until it has a result or an error that stays."""
        exchange = Exchange(call, self._connection.policy)
        while not exchange.take(self._attempt(call, exchange.timeout())):
            self._sleep(exchange.wait_s)
        return exchange.result

    def _attempt(self, call: Call[T], timeout: httpx.Timeout) -> Attempt:
        try:
            response = self._http.send(self._connection.request(call, timeout))
        except httpx.RequestError as error:
            return error
        return Answer(response.status_code, response.content)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
