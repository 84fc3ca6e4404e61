"""What stands in for the service in the client's tests: scripted answers, a clock of its own, and a real socket."""

import asyncio
import contextlib
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

from signalserve.client import AsyncSignalClient, SignalClient

Act = httpx.Response | type[httpx.RequestError]


def prediction(symbol: str = "BTC-USD", **fields: Any) -> dict[str, Any]:
    """A response as in the contract; fields are added, or take the place of what is there."""
    probabilities = {"DOWN": 0.301, "NEUTRAL": 0.228, "UP": 0.471}
    model = {
        "generation": "v6_fixed",
        "version": "1",
        "sha256": "ab" * 32,
        "weight": 0.4,
        "temperature": 8.0,
        "clamp": 15.0,
        "raw_logits": [3.92, -9.24, 8.33],
        "clamped": False,
        "probabilities": {"DOWN": 0.34, "NEUTRAL": 0.07, "UP": 0.59},
    }
    return {
        "prediction_id": "0193",
        "request_id": "bot-7",
        "symbol": symbol,
        "as_of": "2025-11-24T16:01:00Z",
        "direction": "UP",
        "confidence": 0.471,
        "probabilities": probabilities,
        "variant": "ensemble",
        "mode": "ab",
        "arm": "ensemble",
        "degraded": False,
        "pool": {"method": "log", "temperature": 1.1},
        "models": [model],
        "warnings": [],
        **fields,
    }


def ok(**fields: Any) -> httpx.Response:
    return httpx.Response(200, json=prediction(**fields))


def refusal(code: str, status: int = 422, **fields: Any) -> httpx.Response:
    fault = {"code": code, "instance": 0, "field": "features", "expected": "60 x 72 finite numbers", "got": "59 x 72"}
    return httpx.Response(status, json={"error": {**fault, **fields}})


def torchserve(status: int, kind: str, message: str) -> httpx.Response:
    return httpx.Response(status, json={"code": status, "type": kind, "message": message})


class Script:
    """Answers a client's requests in turn, the last answer for ever, and keeps what was sent.

    on_request: called before each answer, such as to let time pass.
    """

    def __init__(self, *acts: Act, on_request: Callable[[], None] = lambda: None) -> None:
        self._acts = list(acts)
        self._on_request = on_request
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self._on_request()
        act = self._acts.pop(0) if len(self._acts) > 1 else self._acts[0]
        if not isinstance(act, httpx.Response):
            raise act("as scripted", request=request)
        return httpx.Response(act.status_code, content=act.content)  # a response can be read once only

    @property
    def sent(self) -> httpx.Request:
        [request] = self.requests
        return request


class Clock:
    """Time that passes only when somebody sleeps or says so. late_s: how much longer each sleep takes than asked."""

    def __init__(self, late_s: float = 0.0) -> None:
        self.now = 1000.0
        self.late_s = late_s
        self.sleeps: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds + self.late_s

    async def async_sleep(self, seconds: float) -> None:
        self.sleep(seconds)


def ask(kind: str, script: Script, call: Callable[[Any], Any], clock: Clock | None = None, **options: Any) -> Any:
    """What `call` makes of a client of this kind ("sync" or "async"); nothing waits in real time."""
    clock = clock or Clock()
    options = {"transport": httpx.MockTransport(script), "clock": clock, "draw": lambda: 0.5, **options}
    if kind == "sync":
        with SignalClient(sleep=clock.sleep, **options) as client:
            return call(client)

    async def main() -> Any:
        async with AsyncSignalClient(sleep=clock.async_sleep, **options) as client:
            answer: Awaitable[Any] = call(client)
            return await answer

    return asyncio.run(main())


@contextlib.contextmanager
def serving(answer: Callable[[str, bytes], tuple[int, bytes] | None]) -> Iterator["Server"]:
    """A real server on a free port. answer: (path, body) -> status and body, or None to hang up without a word."""
    server = Server(answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Server(ThreadingHTTPServer):
    """connections: how many were opened so far."""

    def __init__(self, answer: Callable[[str, bytes], tuple[int, bytes] | None]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer
        self.connections = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps the connection open
    server: Server

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        reply = self.server.answer(self.path, body)
        if reply is None:
            self.close_connection = True
            return
        self.send_response(reply[0])
        self.send_header("Content-Length", str(len(reply[1])))
        self.end_headers()
        self.wfile.write(reply[1])

    do_GET = do_POST  # noqa: N815 - http.server's names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


def answer_any(path: str, body: bytes) -> tuple[int, bytes]:
    """A prediction of whatever symbol a JSON request asks for."""
    return 200, json.dumps(prediction(json.loads(body)["symbol"])).encode()
