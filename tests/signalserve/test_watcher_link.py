"""A worker's line to the watcher: one connection, opened again where it broke, and words where nobody answers."""

import contextlib
import json
import threading

import pytest
from fake_service import serving

from signalserve.errors import NotReady
from signalserve.outcome_request import OutcomeClaim
from signalserve.watcher.outcomes import parse_claims
from signalserve.watcher_link import WatcherLink

CLAIM = OutcomeClaim("0193", None, None, 2, None)
TALLY = {"joined": 1, "already_known": 0, "unknown": 0, "contradicting": 0, "undecidable": 0}
ANSWER = 200, json.dumps(TALLY).encode()


def linked(url, **options):
    return contextlib.closing(WatcherLink(url, "secret", **options))


def test_claims_are_told_and_the_tally_comes_back():
    seen = []

    def answer(path, body):
        seen.append((path, parse_claims(body)))
        return ANSWER

    with serving(answer) as server, linked(server.url) as link:
        assert link.tell([CLAIM]) == TALLY
    assert seen == [("/outcomes", [CLAIM])]


def test_the_secret_says_who_asks(monkeypatch):
    sent = {}
    monkeypatch.setattr("http.client.HTTPConnection.request", lambda self, *args: sent.update(args[3]))
    monkeypatch.setattr("http.client.HTTPConnection.getresponse", lambda self: _Response())
    WatcherLink("http://127.0.0.1:1", "secret").tell([CLAIM])
    assert sent == {"content-type": "application/json", "x-signalserve-probe": "secret"}


class _Response:
    status = 200

    def read(self) -> bytes:
        return ANSWER[1]


def test_the_connection_is_kept():
    with serving(lambda path, body: ANSWER) as server, linked(server.url) as link:
        for _ in range(5):
            link.tell([CLAIM])
        assert server.connections == 1


def test_a_watcher_that_was_started_anew_is_found_again():
    answers = iter([ANSWER, None, ANSWER])
    with serving(lambda path, body: next(answers)) as server, linked(server.url) as link:
        assert [link.tell([CLAIM]) for _ in range(2)] == [TALLY, TALLY]
        assert server.connections == 2


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "got no answer: .*closed"),
        ((503, b'{"error": "the disk is full"}'), "got HTTP 503: the disk is full"),
        ((403, b'{"error": "only workers"}'), "got HTTP 403: only workers"),
        ((404, b"Not Found"), "got HTTP 404: b'Not Found'"),
        ((200, b'{"joined": 1, "found": 1}'), 'got HTTP 200: b\'{"joined": 1'),
        ((200, b"[1]"), "got HTTP 200"),
        ((200, b"hello"), "got HTTP 200: b'hello'"),
    ],
)
def test_any_other_answer_is_not_ready(answer, words):
    with serving(lambda path, body: answer) as server, linked(server.url) as link, pytest.raises(NotReady, match=words):
        link.tell([CLAIM])


def test_a_watcher_that_is_gone_is_not_ready():
    with serving(lambda path, body: ANSWER) as server:
        url = server.url
    words = r"nothing was lost: send them again in a few seconds, got no answer: .*refused"
    with linked(url) as link, pytest.raises(NotReady, match=words):
        link.tell([CLAIM])


def test_a_watcher_that_hangs_is_asked_once():
    released, asked = threading.Event(), []

    def answer(path, body):
        asked.append(path)
        released.wait(5)

    with serving(answer) as server, linked(server.url, timeout_s=0.05) as link:
        with pytest.raises(NotReady, match="timed out"):
            link.tell([CLAIM])
        released.set()
    assert len(asked) == 1


def test_threads_take_turns():
    tallies = []
    with serving(lambda path, body: ANSWER) as server, linked(server.url) as link:
        threads = [threading.Thread(target=lambda: tallies.append(link.tell([CLAIM]))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert server.connections == 1
    assert tallies == [TALLY] * 8
