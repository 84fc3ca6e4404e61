"""One load generator for every server that is measured.

    python bench/load.py --port 8080 --path /predictions/ensemble --body var/requests/window.npy \\
        --header 'Content-Type: application/x-npy' --header 'X-Symbol: BTC-USD' --connections 16

Keep-alive connections, each asking again as soon as it is answered: a closed loop, one request in flight a connection.
It runs in a process of its own, on plain sockets: its cost is a few tens of µs a request, the same for every server.
"""

import argparse
import gc
import json
import math
import re
import selectors
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import repeat
from pathlib import Path
from typing import Any, Self

STALL_S = 30.0  # TorchServe's own responseTimeout is 20: beyond this nothing will come any more
SEND_BUFFER = 1 << 20  # holds a whole request: a server that reads slowly must not hold up the other connections

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)


class LoadError(Exception):
    """The load could not be generated at all: no server there, or one that speaks another protocol."""


@dataclass(frozen=True)
class HttpRequest:
    """A POST to measure. body: a file, for the generator's process to read.  expect: what a right answer holds.

    as_of: seconds since the epoch of the first request's X-As-Of, which moves on by a minute with each; None: none.
    """

    port: int
    path: str
    body: Path
    headers: Mapping[str, str]
    host: str = "127.0.0.1"
    expect: str = '"direction"'
    as_of: int | None = None

    def payloads(self) -> Iterator[bytes]:
        """One request after the other, without end."""
        body = self.body.read_bytes()
        lines = [f"POST {self.path} HTTP/1.1", f"Host: {self.host}:{self.port}", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        head = "\r\n".join(lines)
        if self.as_of is None:
            yield from repeat(head.encode() + b"\r\n\r\n" + body)
        else:
            as_of = datetime.fromtimestamp(self.as_of, UTC)
            while True:
                yield f"{head}\r\nX-As-Of: {as_of:%Y-%m-%dT%H:%M:%SZ}\r\n\r\n".encode() + body
                as_of += timedelta(minutes=1)


@dataclass(frozen=True)
class Response:
    status: int
    body: bytes
    closes: bool


def parse_response(received: bytes) -> Response | None:
    """None while more must come. Raises LoadError for an answer without Content-Length: chunks are not read here."""
    head, end, body = received.partition(b"\r\n\r\n")
    if not end:
        return None
    length = _LENGTH.search(head)
    if length is None:
        raise LoadError(f"expected an answer with Content-Length, got {head[:200]!r}")
    if len(body) < int(length[1]):
        return None
    return Response(int(head[9:12]), body, _CLOSE.search(head) is not None)


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of all are not above (nearest rank). NaN of nothing."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


@dataclass(frozen=True)
class Summary:
    """One measurement. Latencies are those of right answers only: a quick refusal is no quick answer.

    answered: all that came back, with what came outside the measured time.  generator_share: of one core, what the
    generator itself took.  cpu_ms: what the server took for one answer, over all its processes and cores; 0 until
    the caller, who knows them, adds it.
    """

    requests: int
    failed: int
    per_second: float
    p50_us: float
    p99_us: float
    seconds: float
    faults: Mapping[str, int]
    answered: int = 0
    generator_share: float = 0.0
    cpu_ms: float = 0.0


@dataclass
class Tally:
    """What came back within the measured time."""

    latencies_us: list[float] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)

    def add(self, seconds: float, fault: str | None = None) -> None:
        if fault is None:
            self.latencies_us.append(seconds * 1e6)
        else:
            self.faults[fault] += 1

    def summary(self, seconds: float, **also: Any) -> Summary:
        """also: the fields that come from elsewhere."""
        ordered = sorted(self.latencies_us)
        return Summary(
            requests=len(ordered),
            failed=self.faults.total(),
            per_second=len(ordered) / seconds,
            p50_us=percentile(ordered, 0.50),
            p99_us=percentile(ordered, 0.99),
            seconds=seconds,
            faults=dict(self.faults),
            **also,
        )


class Connection:
    """One keep-alive connection with at most one request in flight."""

    def __init__(self, address: tuple[str, int], payloads: Iterator[bytes], expect: bytes) -> None:
        """payloads: what to send, shared with the other connections."""
        self._address, self._payloads, self._expect = address, payloads, expect
        self._received = b""
        self._began = 0.0
        self.socket = self._connect()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def ask(self) -> None:
        self._received = b""
        payload = next(self._payloads)
        self._began = time.perf_counter()
        with suppress(ConnectionError):  # take() sees it too, and counts it
            self.socket.sendall(payload)

    def take(self) -> tuple[float, str | None, bool] | None:
        """Read what has come: seconds, fault, whether the connection is spent; None while the answer is not whole."""
        try:
            chunk = self.socket.recv(65536)
        except ConnectionError:
            chunk = b""
        if not chunk:
            return time.perf_counter() - self._began, "the connection was closed", True
        self._received += chunk
        response = parse_response(self._received)
        if response is None:
            return None
        return time.perf_counter() - self._began, self._fault_of(response), response.closes

    def reopen(self) -> None:
        self.socket.close()
        self.socket = self._connect()

    def _fault_of(self, response: Response) -> str | None:
        if response.status != 200:
            return f"HTTP {response.status}"
        return None if self._expect in response.body else f"an answer without {self._expect.decode()}"

    def _connect(self) -> socket.socket:
        try:
            opened = socket.create_connection(self._address, timeout=STALL_S)
        except OSError as error:
            raise LoadError(f"{self._address[0]}:{self._address[1]}: {error}") from None
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        return opened


def generate(request: HttpRequest, *, connections: int, seconds: float, warm_up: float) -> Summary:
    """Ask for warm_up + seconds and count what is answered in the latter; what is in flight at the end is waited for.

    Raises LoadError where the server is not there, gives no answer for STALL_S, or not one that is right.
    """
    payloads, expect = request.payloads(), request.expect.encode()
    tally = Tally()
    with ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        for _ in range(connections):
            connection = stack.enter_context(Connection((request.host, request.port), payloads, expect))
            selector.register(connection.socket, selectors.EVENT_READ, connection)
        begin = time.perf_counter() + warm_up
        end = begin + seconds
        processor = time.process_time()
        for key in list(selector.get_map().values()):
            key.data.ask()
        in_flight, answered = connections, 0
        while in_flight:
            ready = selector.select(STALL_S)
            if not ready:
                raise LoadError(f"{request.host}:{request.port}{request.path}: no answer for {STALL_S:.0f} s")
            for key, _ in ready:
                connection = key.data
                answer = connection.take()
                if answer is None:
                    continue
                took, fault, spent = answer
                answered += 1
                now = time.perf_counter()
                if begin <= now < end:
                    tally.add(took, fault)
                if now >= end:
                    selector.unregister(connection.socket)
                    in_flight -= 1
                    continue
                if spent:
                    selector.unregister(connection.socket)
                    connection.reopen()
                    selector.register(connection.socket, selectors.EVENT_READ, connection)
                connection.ask()
    if not tally.latencies_us:
        raise LoadError(f"{request.host}:{request.port}{request.path}: no right answer, but {dict(tally.faults)}")
    share = (time.process_time() - processor) / (warm_up + seconds)
    return tally.summary(seconds, answered=answered, generator_share=share)


def measure(request: HttpRequest, *, connections: int, seconds: float, warm_up: float) -> Summary:
    """`generate` in a process of its own."""
    command = [sys.executable, __file__, "--host", request.host, "--port", str(request.port), "--path", request.path]
    command += ["--body", str(request.body), "--expect", request.expect]
    command += ["--connections", str(connections), "--seconds", str(seconds), "--warm-up", str(warm_up)]
    for name, value in request.headers.items():
        command += ["--header", f"{name}: {value}"]
    if request.as_of is not None:
        command += ["--as-of", str(request.as_of)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LoadError(done.stderr.strip().splitlines()[-1])
    return Summary(**json.loads(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--body", type=Path, required=True, help="a file to send")
    parser.add_argument("--header", action="append", default=[], help="'Name: value', as often as wanted")
    parser.add_argument("--expect", default='"direction"', help="what a right answer holds (default %(default)s)")
    parser.add_argument(
        "--as-of",
        type=int,
        metavar="SECONDS",
        help="since the epoch: X-As-Of of the first request, a minute later each",
    )
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--warm-up", type=float, default=0.5, help="seconds not counted (default %(default)s)")
    args = parser.parse_args()
    headers = dict(header.split(": ", 1) for header in args.header)
    request = HttpRequest(args.port, args.path, args.body, headers, args.host, args.expect, args.as_of)
    gc.disable()  # its pauses would be the server's tail
    try:
        summary = generate(request, connections=args.connections, seconds=args.seconds, warm_up=args.warm_up)
    except LoadError as error:
        sys.exit(str(error))
    print(json.dumps(asdict(summary)))


if __name__ == "__main__":
    main()
