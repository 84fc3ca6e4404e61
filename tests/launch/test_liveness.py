"""A real server that answers, answers late, hangs, or is gone."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from fake_service import serving

from launch.liveness import Answers

OK = 200, b"{}"


def asking(url: str) -> contextlib.closing[Answers]:
    return contextlib.closing(Answers(url, "/ready"))


def heard(answers: Answers, seconds: float = 5.0) -> bool:
    """Whether an answer is heard within so long."""
    deadline = time.monotonic() + seconds
    while not answers():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def url_of(listening: socket.socket) -> str:
    return f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def hung() -> Iterator[str]:
    """Where connections are made, by the kernel, and nobody takes them."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield url_of(listening)


@pytest.mark.parametrize("status", [200, 503, 404])
def test_any_status_is_an_answer_each_time_it_is_asked(status: int):
    asked: list[str] = []

    def answer(path: str, body: bytes) -> tuple[int, bytes]:
        asked.append(path)
        return status, b"{}"

    with serving(answer) as server, asking(server.url) as answers:
        assert [heard(answers) for _ in range(3)] == [True] * 3
    assert set(asked) == {"/ready"}


def test_who_hangs_does_not_answer(hung: str):
    with asking(hung) as answers:
        assert not heard(answers, 0.2)


def test_who_hangs_is_not_waited_for(hung: str, monkeypatch: pytest.MonkeyPatch):
    waits = []
    receive = socket.socket.recv

    def recv(self: socket.socket, size: int) -> bytes:
        waits.append(self.getblocking())
        return receive(self, size)

    monkeypatch.setattr(socket.socket, "recv", recv)
    with asking(hung) as answers:
        for _ in range(3):
            answers()
    assert waits == [False, False]  # the first call only asks


def test_one_question_stands_until_it_is_answered_however_late():
    asked: list[str] = []
    released = threading.Event()

    def answer(path: str, body: bytes) -> tuple[int, bytes]:
        asked.append(path)
        released.wait(10)
        return OK

    with serving(answer) as server, asking(server.url) as answers:
        assert not heard(answers, 0.2)
        assert asked == ["/ready"]
        released.set()
        assert heard(answers)


def test_where_nobody_listens_there_is_no_answer():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = url_of(listening)
    with asking(url) as answers:
        assert not heard(answers, 0.1)


def test_who_hangs_up_has_not_answered_and_is_asked_again():
    replies = iter([None, None, OK])
    with serving(lambda path, body: next(replies, None)) as server, asking(server.url) as answers:
        assert heard(answers)
        assert server.connections >= 3


def test_who_is_killed_while_a_question_stands_is_asked_again_when_started_anew():
    hung = socket.create_server(("127.0.0.1", 0))
    with asking(url_of(hung)) as answers:
        answers()
        address = hung.getsockname()
        hung.close()
        assert not answers()
        with socket.create_server(address) as listening:
            answers()
            connection, _ = listening.accept()
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            connection.close()
            assert heard(answers)
