"""Windows count as full only where drift is computed over all of them; bots beside it are answered, or say why not."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import full_windows
import pytest
from full_windows import asked_every_second, not_full, values_of
from load import HttpRequest
from programs import ProgramError

FULL = """# TYPE signalserve_drift_n gauge
signalserve_drift_n{symbol="BTC-USD",arm="v8",window="120"} 120
signalserve_drift_n{symbol="BTC-USD",arm="v8",window="1440"} 1440
# TYPE signalserve_drift_reference gauge
signalserve_drift_reference{symbol="BTC-USD",arm="v8"} 1
"""


@contextmanager
def server(answer: bytes, times: int) -> Iterator[tuple[int, list[str], threading.Event]]:
    """Its port, the as_of of what it was asked, and when that was so many times."""
    seen: list[str] = []
    done = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            seen.append(self.headers["X-As-Of"])
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)
            if len(seen) >= times:
                done.set()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield running.server_address[1], seen, done
        finally:
            running.shutdown()
            thread.join()


@pytest.fixture
def request_(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HttpRequest:
    monkeypatch.setattr(full_windows, "BOT_S", 0.01)
    (tmp_path / "body").write_bytes(b"window")
    return HttpRequest(0, "/predictions/ensemble", tmp_path / "body", {}, as_of=0)


def asked(request: HttpRequest, port: int) -> HttpRequest:
    return HttpRequest(port, request.path, request.body, request.headers, as_of=request.as_of)


def test_a_bot_asks_for_a_later_minute_each_time_until_the_end(request_: HttpRequest) -> None:
    with server(b'{"direction": "UP"}', 3) as (port, seen, done):
        with asked_every_second([asked(request_, port)]):
            assert done.wait(20)
        answered = len(seen)
    assert seen[:3] == ["1970-01-01T00:00:00Z", "1970-01-01T00:01:00Z", "1970-01-01T00:02:00Z"]
    assert len(seen) == answered


def test_a_bot_that_is_answered_wrongly_says_so_at_the_end(request_: HttpRequest) -> None:
    with (
        server(b"{}", 1) as (port, _, done),
        pytest.raises(ProgramError, match='got an answer without "direction"'),
        asked_every_second([asked(request_, port)]),
    ):
        assert done.wait(20)


def test_values_are_found_by_the_labels_that_are_named() -> None:
    assert values_of(FULL, "signalserve_drift_n") == [120, 1440]
    assert values_of(FULL, "signalserve_drift_n", window="120") == [120]
    assert values_of(FULL, "signalserve_drift_limit") == []


def test_windows_are_full_with_every_prediction_and_a_reference() -> None:
    assert not_full(FULL) == []


@pytest.mark.parametrize(
    ("page", "said"),
    [
        (
            FULL.replace("1440\n", "1439\n"),
            ["predictions in the longest window: expected 1440 of each arm, got [1439]"],
        ),
        (FULL.replace("} 1\n", "} 0\n"), ["references with limits: expected 1 of each arm, got [0]"]),
        (
            "",
            [
                "predictions in the longest window: expected 1440 of each arm, got none",
                "references with limits: expected 1 of each arm, got none",
            ],
        ),
    ],
)
def test_what_is_not_full_is_named(page: str, said: list[str]) -> None:
    assert not_full(page) == said
