"""A worker's line to the watcher, the journal's only writer: outcomes go there, and their tally comes back.

A worker that waits here predicts nothing. So it waits briefly, and once without an answer it refuses outcomes at once
for a while (a circuit breaker): a watcher that hangs costs each worker at most TIMEOUT_S in REST_S.
"""

import http.client
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from signalserve.environment import PROBE_HEADER
from signalserve.errors import NotReady
from signalserve.journal.outcomes import Tally
from signalserve.outcome_request import OutcomeClaim
from signalserve.watcher.outcomes import encode_claims

TIMEOUT_S: Final = 0.5
"""For an answer. The watcher gives it in milliseconds, except where it first catches up with the predictions before;
an outcome whose answer comes too late is known already when it is told again."""
REST_S: Final = 5.0
"""Without asking again after there was no answer: a hung watcher takes a tenth of a worker's time at most."""


class WatcherLink:
    """Keeps one connection open; any thread may use it. The workers' links know nothing of each other."""

    def __init__(
        self, url: str, secret: str, *, timeout_s: float = TIMEOUT_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """url: of the watcher, such as http://127.0.0.1:8083.  secret: what marks the service's own requests."""
        place = urlsplit(url)
        self._connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=timeout_s)
        self._headers = {"content-type": "application/json", PROBE_HEADER: secret}
        self._lock = threading.Lock()
        self._clock = clock
        self._rests_until = clock()

    def tell(self, claims: Sequence[OutcomeClaim]) -> dict[str, int]:
        """How many claims were joined, already known, unknown, contradicting, undecidable: a Tally's fields.

        Raises NotReady where the watcher does not say so. Telling the same claims again is safe.
        """
        body = encode_claims(claims)
        with self._lock:
            rests_s = self._rests_until - self._clock()
            if rests_s > 0:
                raise _not_ready(f"no answer a moment ago, so that it is not asked for another {rests_s:.1f} s")
            try:
                status, answer = self._post(body)
            except (OSError, http.client.HTTPException) as error:
                self._rests_until = self._clock() + REST_S
                raise _not_ready(f"no answer: {error or type(error).__name__}") from error
        return _tally(status, answer)

    def close(self) -> None:
        """Close the connection; the next `tell` opens it again."""
        with self._lock:
            self._connection.close()

    def _post(self, body: bytes) -> tuple[int, bytes]:
        try:
            return self._post_once(body)
        except TimeoutError:
            raise
        except (OSError, http.client.HTTPException):
            return self._post_once(body)  # the watcher was started anew since, and the old connection is dead

    def _post_once(self, body: bytes) -> tuple[int, bytes]:
        try:
            self._connection.request("POST", "/outcomes", body, self._headers)
            response = self._connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()  # the next request opens it again
            raise


def _tally(status: int, answer: bytes) -> dict[str, int]:
    try:
        content: Any = orjson.loads(answer)
        if status == 200:
            return asdict(Tally(**content))
        reason = f"{content['error']}"
    except (ValueError, TypeError, KeyError):  # nothing of the watcher's
        reason = repr(answer[:120])
    raise _not_ready(f"HTTP {status}: {reason}")


def _not_ready(got: str) -> NotReady:
    expected = "the watcher, which keeps outcomes, to take them; nothing was lost: send them again in a few seconds"
    return NotReady("outcomes", expected=expected, got=got)
