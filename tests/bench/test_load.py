"""The load generator counts what it says it counts. Nothing here asserts a duration."""

import json
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path

import load
import pytest
from load import HttpRequest, LoadError, Tally, generate, parse_response, percentile

Answer = Callable[[int], tuple[int, bytes, dict[str, str]]]
RIGHT = b'{"direction": "UP"}'


@contextmanager
def server(answer: Answer) -> Iterator[tuple[int, list[tuple[str, bytes]]]]:
    """A server whose n-th answer (over all connections) is answer(n); its port, and (path, body) of all requests."""
    seen: list[tuple[str, bytes]] = []
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with lock:
                seen.append((self.path, body))
                status, content, headers = answer(len(seen) - 1)
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(content))} | headers).items():
                if value:
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield running.server_address[1], seen
        finally:
            running.shutdown()
            thread.join()


@pytest.fixture
def body(tmp_path: Path) -> Path:
    path = tmp_path / "body"
    path.write_bytes(b"x" * 80_000)  # larger than a socket takes at once
    return path


def run(port: int, body: Path, connections: int = 1) -> load.Summary:
    request = HttpRequest(port, "/predictions/ensemble", body, {"X-Symbol": "BTC-USD"})
    return generate(request, connections=connections, seconds=0.2, warm_up=0.05)


def test_percentile_is_the_nearest_rank() -> None:
    ordered = [float(n) for n in range(1, 101)]
    assert [percentile(ordered, share) for share in (0.5, 0.99, 1.0)] == [50.0, 99.0, 100.0]
    assert percentile([7.0], 0.99) == 7.0
    assert percentile([1.0, 2.0, 3.0], 0.5) == 2.0
    assert math.isnan(percentile([], 0.5))


def test_a_summary_counts_right_answers_and_names_the_wrong_ones() -> None:
    tally = Tally()
    for milliseconds in (3, 1, 2):
        tally.add(milliseconds / 1000)
    tally.add(0.000001, "HTTP 503")
    summary = tally.summary(seconds=2.0)
    assert (summary.requests, summary.failed, summary.per_second) == (3, 1, 1.5)
    assert (summary.p50_us, summary.p99_us) == (pytest.approx(2000), pytest.approx(3000))
    assert summary.faults == {"HTTP 503": 1}


def test_an_answer_is_whole_only_with_all_of_its_body() -> None:
    whole = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody"
    assert all(parse_response(whole[:n]) is None for n in range(len(whole)))
    response = parse_response(whole)
    assert response is not None
    assert (response.status, response.body, response.closes) == (200, b"body", False)


def test_an_answer_in_chunks_is_refused_by_name() -> None:
    with pytest.raises(LoadError, match="expected an answer with Content-Length"):
        parse_response(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")


@pytest.mark.parametrize("connections", [1, 4])
def test_every_request_arrives_whole_and_what_is_counted_was_answered(body: Path, connections: int) -> None:
    with server(lambda _: (200, RIGHT, {})) as (port, seen):
        summary = run(port, body, connections)
    assert set(seen) == {("/predictions/ensemble", body.read_bytes())}
    assert 0 < summary.requests <= summary.answered == len(seen)
    assert summary.failed == 0
    assert 0 < summary.p50_us <= summary.p99_us
    assert summary.per_second == summary.requests / summary.seconds


def test_refusals_and_answers_without_a_direction_are_no_answers(body: Path) -> None:
    answers = [(200, RIGHT, {}), (503, b"{}", {}), (200, b'{"error": 1}', {})]
    with server(lambda n: answers[n % 3]) as (port, seen):
        summary = run(port, body)
    assert set(summary.faults) == {"HTTP 503", 'an answer without "direction"'}
    assert summary.requests + summary.failed <= len(seen)
    assert abs(summary.failed - 2 * summary.requests) <= 2


def test_a_server_that_only_refuses_is_no_measurement(body: Path) -> None:
    with server(lambda _: (503, b"{}", {})) as (port, _), pytest.raises(LoadError, match=r"no right answer.*HTTP 503"):
        run(port, body)


def test_a_connection_that_the_server_closes_is_opened_again(body: Path) -> None:
    with server(lambda _: (200, RIGHT, {"Connection": "close"})) as (port, _):
        summary = run(port, body, connections=2)
    assert summary.requests > 2
    assert summary.failed == 0


def test_measuring_from_a_process_of_its_own_gives_the_same_figures(body: Path) -> None:
    with server(lambda _: (200, RIGHT, {})) as (port, _):
        request = HttpRequest(port, "/predictions/ensemble", body, {"X-Symbol": "BTC-USD"})
        summary = load.measure(request, connections=2, seconds=0.1, warm_up=0.0)
    assert summary.requests > 0
    assert summary.faults == {}
    json.dumps(asdict(summary), allow_nan=False)


def test_nobody_listening_is_said_at_once(body: Path) -> None:
    with server(lambda _: (200, RIGHT, {})) as (port, _):
        pass
    with pytest.raises(LoadError, match=f"127.0.0.1:{port}: .*refused"):
        run(port, body)


def test_as_of_moves_on_by_a_minute_with_each_request(body: Path) -> None:
    request = HttpRequest(80, "/p", body, {"X-Symbol": "BTC-USD"}, as_of=946_684_740)
    sent = [payload.partition(b"\r\n\r\n") for payload in islice(request.payloads(), 3)]
    moments = [head.partition(b"X-As-Of: ")[2].decode() for head, _, _ in sent]
    assert moments == ["1999-12-31T23:59:00Z", "2000-01-01T00:00:00Z", "2000-01-01T00:01:00Z"]
    assert {content for _, _, content in sent} == {body.read_bytes()}


def test_without_as_of_every_request_is_the_same(body: Path) -> None:
    first, second = islice(HttpRequest(80, "/p", body, {}).payloads(), 2)
    assert first is second
    assert b"X-As-Of" not in first
