"""A worker's line to the watcher: one connection, opened again where it broke, and words where nobody answers."""

import contextlib
import json
import threading

import pytest
from fake_service import Clock, serving

from signalserve.errors import NotReady
from signalserve.outcome_request import OutcomeClaim
from signalserve.watcher.outcomes import parse_claims
from signalserve.watcher_link import REST_S, WatcherLink

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


def test_after_no_answer_it_refuses_at_once_and_asks_nobody():
    clock, asked = Clock(), []
    with serving(lambda path, body: asked.append(path)) as server, linked(server.url, clock=clock) as link:
        with pytest.raises(NotReady, match=r"no answer: .*closed"):
            link.tell([CLAIM])
        before = len(asked)
        clock.now += REST_S - 0.1
        with pytest.raises(
            NotReady, match=r"a few seconds, got no answer a moment ago, .* not asked for another 0\.1 s"
        ):
            link.tell([CLAIM])
        assert len(asked) == before


def test_after_its_rest_one_request_tries_again_and_no_answer_to_it_is_a_rest_again():
    clock, asked = Clock(), []
    with serving(lambda path, body: asked.append(path)) as server, linked(server.url, clock=clock) as link:
        for _ in range(3):
            before = len(asked)
            for words in ("no answer: ", "not asked for another 5.0 s", "not asked for another 5.0 s"):
                with pytest.raises(NotReady, match=words):
                    link.tell([CLAIM])
            assert len(asked) == before + 2  # a lost connection is opened again at once
            clock.now += REST_S


def test_an_answer_after_the_rest_ends_it():
    clock, answers = Clock(), iter([None, None, ANSWER, ANSWER])
    with serving(lambda path, body: next(answers)) as server, linked(server.url, clock=clock) as link:
        with pytest.raises(NotReady):
            link.tell([CLAIM])
        clock.now += REST_S
        assert [link.tell([CLAIM]) for _ in range(2)] == [TALLY, TALLY]


def test_a_refusal_in_words_is_an_answer():
    answers = iter([(503, b'{"error": "the disk is full"}'), ANSWER])
    with serving(lambda path, body: next(answers)) as server, linked(server.url, clock=Clock()) as link:
        with pytest.raises(NotReady, match="disk is full"):
            link.tell([CLAIM])
        assert link.tell([CLAIM]) == TALLY


def test_requests_that_wait_behind_a_timeout_are_refused_with_it():
    released, asked, refused = threading.Event(), [], []

    def answer(path, body):
        asked.append(path)
        released.wait(5)

    def tell():
        with pytest.raises(NotReady) as caught:
            link.tell([CLAIM])
        refused.append(str(caught.value))

    with serving(answer) as server, linked(server.url, timeout_s=0.2, clock=Clock()) as link:
        threads = [threading.Thread(target=tell) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        released.set()
    assert len(asked) == 1
    assert sorted("timed out" in words for words in refused) == [False] * 7 + [True]


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
