"""One call from its first attempt to its result or error, without doing the sending: sync and async share it.

exchange = Exchange(call, policy)
while not exchange.take(send(call, exchange.timeout())):
    sleep(exchange.wait_s)
return exchange.result
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import httpx

from signalserve.client.errors import ConnectionFailed, InvalidInput, MalformedAnswer, NoAnswer, SignalError, TimedOut
from signalserve.client.requests import Call
from signalserve.client.responses import Answer
from signalserve.client.retries import Retries

T = TypeVar("T")

Attempt = Answer | httpx.RequestError
"""What an attempt came to: an HTTP answer of any status, or why there is none."""


@dataclass(frozen=True)
class Policy:
    """retries: how often and how long.  timeout: of each phase of an attempt.

    clock: seconds, monotonic.  draw: uniform in [0, 1), for the jitter.
    """

    retries: Retries
    timeout: httpx.Timeout
    clock: Callable[[], float]
    draw: Callable[[], float]


LEAST_S = 1e-3  # for an attempt: in less nothing answers


class Exchange(Generic[T]):
    """The state of one call: attempts so far, what is left of the deadline, the wait before the next attempt."""

    result: T

    def __init__(self, call: Call[T], policy: Policy) -> None:
        self._call = call
        self._policy = policy
        total_s = policy.retries.total_s
        self._deadline = None if total_s is None else policy.clock() + total_s
        self._error: SignalError | None = None
        self.attempts = 0
        self.wait_s = 0.0

    def timeout(self) -> httpx.Timeout:
        """The next attempt's limits: no phase of it may outlast what is left of the deadline.

        Raises the last attempt's error where nothing is left.
        """
        left_s = self._left_s()
        if left_s is None:
            return self._policy.timeout
        if left_s < LEAST_S and self._error is not None:  # the wait took longer than it should have
            raise self._error
        left_s = max(left_s, LEAST_S)  # the first attempt is made however little time there is
        limits = self._policy.timeout.as_dict()
        return httpx.Timeout(**{phase: left_s if s is None else min(s, left_s) for phase, s in limits.items()})

    def take(self, attempt: Attempt) -> bool:
        """Take in what an attempt came to: True where `result` is there, False where to wait `wait_s` and try again.

        Raises a SignalError where trying again would not help, or there is no attempt or no time left for it.
        """
        self.attempts += 1
        try:
            self.result = self._call.read(_answer(attempt))
            return True
        except SignalError as error:
            error.request_id = self._call.request_id
            error.attempts = self.attempts
            if not self._may_retry(error):
                raise
            self._error = error
            return False

    def _may_retry(self, error: SignalError) -> bool:
        """Whether another attempt follows; sets the wait before it."""
        if not (error.is_transient and self._call.is_retried) or self.attempts > self._policy.retries.count:
            return False
        self.wait_s = self._policy.retries.wait_s(self.attempts, self._policy.draw())
        left_s = self._left_s()
        return left_s is None or self.wait_s < left_s

    def _left_s(self) -> float | None:
        return None if self._deadline is None else self._deadline - self._policy.clock()


def _answer(attempt: Attempt) -> Answer:
    if isinstance(attempt, Answer):
        return attempt
    raise _failure(attempt) from attempt


def _failure(error: httpx.RequestError) -> SignalError:
    """httpx's error as the client's own, by what the caller should do about it."""
    place = place_of(error.request.url)
    reason = str(error) or type(error).__name__
    match error:
        case httpx.ConnectTimeout() | httpx.PoolTimeout():
            return TimedOut(f"{place}: no connection in time ({type(error).__name__})")
        case httpx.TimeoutException():
            return TimedOut(f"{place}: no answer in time ({type(error).__name__})")
        case httpx.ConnectError():
            return ConnectionFailed(f"{place}: no connection: {reason}; is the service running there?")
        case httpx.LocalProtocolError() | httpx.UnsupportedProtocol():
            return InvalidInput(f"{place}: can't be sent: {reason}")
        case httpx.TransportError():
            return ConnectionFailed(f"{place}: the connection broke before an answer came: {reason}")
        case httpx.DecodingError():
            return MalformedAnswer(f"{place}: an answer that can't be decoded: {reason}")
    return NoAnswer(f"{place}: {reason}")


def place_of(url: httpx.URL) -> str:
    """A URL for messages: without credentials or query."""
    return f"{url.scheme}://{url.netloc.decode('ascii')}{url.path}"
