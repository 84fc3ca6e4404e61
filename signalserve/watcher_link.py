"""A worker's line to the watcher, the journal's only writer: outcomes go there, and their tally comes back."""

import http.client
import threading
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

import orjson

from signalserve.environment import PROBE_HEADER
from signalserve.errors import NotReady
from signalserve.journal.outcomes import Tally
from signalserve.outcome_request import OutcomeClaim
from signalserve.watcher.outcomes import encode_claims


class WatcherLink:
    """Keeps one connection open; any thread may use it."""

    def __init__(self, url: str, secret: str, timeout_s: float = 2.0) -> None:
        """url: of the watcher, such as http://127.0.0.1:8083.  secret: what marks the service's own requests.

        timeout_s: of each step; the watcher answers in milliseconds.
        """
        place = urlsplit(url)
        self._connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=timeout_s)
        self._headers = {"content-type": "application/json", PROBE_HEADER: secret}
        self._lock = threading.Lock()

    def tell(self, claims: Sequence[OutcomeClaim]) -> dict[str, int]:
        """How many claims were joined, already known, unknown, contradicting, undecidable: a Tally's fields.

        Raises NotReady where the watcher does not say so. Telling the same claims again is safe.
        """
        body = encode_claims(claims)
        with self._lock:
            try:
                status, answer = self._post(body)
            except (OSError, http.client.HTTPException) as error:
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
