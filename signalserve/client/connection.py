"""What both clients hold: where to send, with which headers, and how patiently."""

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import httpx

from signalserve import __version__
from signalserve.client.errors import InvalidInput
from signalserve.client.exchange import Policy
from signalserve.client.requests import Call
from signalserve.client.retries import Retries

TIMEOUT: Final = httpx.Timeout(5.0, connect=2.0)
"""Seconds. An answer takes milliseconds; 2 s is what a worker that died needs to be back."""

KEEPALIVE: Final = httpx.Limits(keepalive_expiry=90.0)
"""Longer than the bar of one minute after which a bot asks again; httpx's own 5 s would reconnect each time."""

READY_URL: Final = "http://127.0.0.1:8083/ready"

_HEADERS: Final = {"Accept": "application/json", "User-Agent": f"signalserve/{__version__}"}


@dataclass(frozen=True)
class Connection:
    """base_url: absolute, http or https.  headers: for base_url alone.  policy: timeouts, retries, time and chance."""

    base_url: httpx.URL
    headers: Mapping[str, str]
    policy: Policy

    @classmethod
    def of(
        cls,
        base_url: str,
        timeout: httpx.Timeout | float,
        retries: Retries | int,
        headers: Mapping[str, str] | None,
        clock: Callable[[], float],
        draw: Callable[[], float],
    ) -> Self:
        """From a client's arguments. Raises InvalidInput for a base_url that is none."""
        retries = Retries(retries) if isinstance(retries, int) else retries
        return cls(_absolute(base_url), dict(headers or {}), Policy(retries, httpx.Timeout(timeout), clock, draw))

    @property
    def is_loopback(self) -> bool:
        """Whether base_url is on this machine, where no HTTP_PROXY of the environment has any business."""
        host = self.base_url.host
        try:
            return host == "localhost" or ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    def request(self, call: Call[Any], timeout: httpx.Timeout) -> httpx.Request:
        """The HTTP request of a call. `headers` go to base_url only: they may hold a secret."""
        if call.url.startswith("/"):
            url, own = self.base_url.copy_with(path=self.base_url.path.rstrip("/") + call.url), self.headers
        else:
            url, own = _absolute(call.url), {}
        headers = {**_HEADERS, **own, **call.headers}
        content = call.content if call.method == "POST" else None
        return httpx.Request(
            call.method, url, headers=headers, content=content, extensions={"timeout": timeout.as_dict()}
        )


def _absolute(url: str) -> httpx.URL:
    words = f"expected a URL such as http://127.0.0.1:8080, got {url.rpartition('@')[2]!r}"  # without a password
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise InvalidInput(f"{words}: {error}") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise InvalidInput(words)
    return parsed
