"""Whether a server still answers, found out without ever waiting for it."""

import contextlib
import socket
from urllib.parse import urlsplit

CONNECT_S = 0.5
"""On this machine a connection is made or refused at once, also by a process that hangs, until its backlog is full."""


class Answers:
    """Asks a page again and again, one question at a time.

    Any answer counts, whatever its status and however late: a server that is starved of processor time answers late,
    one that hangs does not answer at all.
    """

    def __init__(self, url: str, page: str) -> None:
        """url: of the server, with its port.  page: such as /ready; it should cost the server next to nothing."""
        place = urlsplit(url)
        self._address = place.hostname, place.port
        self._request = f"GET {page} HTTP/1.1\r\nHost: {place.netloc}\r\nConnection: close\r\n\r\n".encode()
        self._asked: socket.socket | None = None

    def __call__(self) -> bool:
        """Whether an answer has come since the last call. Takes at most CONNECT_S, and next to nothing as a rule."""
        answered = self._heard()
        if self._asked is None:
            self._ask()
        return answered

    def _ask(self) -> None:
        with contextlib.suppress(OSError):  # nobody listens: no answer
            asked = socket.create_connection(self._address, CONNECT_S)
            asked.setblocking(False)
            self._asked = asked
            asked.send(self._request)  # a new connection's buffer takes it whole

    def _heard(self) -> bool:
        if self._asked is None:
            return False
        try:
            answer = self._asked.recv(1 << 16)
        except BlockingIOError:
            return False  # the question stands
        except OSError:
            answer = b""
        self.close()
        return answer != b""

    def close(self) -> None:
        """Forget the question that stands; the next call asks anew."""
        if self._asked is not None:
            self._asked.close()
            self._asked = None
