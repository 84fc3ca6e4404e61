"""`serving.yaml` as it is watched: what is in force while the file changes, also where it changes for the worse."""

import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from signalserve.errors import ConfigError
from signalserve.log import event
from signalserve.settings import Settings, parse_settings, read_text

EVERY_S = 0.2
"""Between two looks at the file. A change is taken at the second look that shows it: under half a second."""


@dataclass(frozen=True)
class InForce:
    """Settings with the text they were read from, as one: a request sees both of one file or both of another."""

    settings: Settings
    text: str
    sha256: str


def _accept_anything(_: object) -> None:
    """The check and the report of a file that nobody follows yet."""


class WatchedSettings:
    """The last good `serving.yaml`.

    A wrong file leaves the last good settings in force and its reason in `error`. A process that starts while the file
    is wrong takes what `last_good` keeps, where it keeps anything; else the constructor raises ConfigError.
    """

    def __init__(self, path: Path, last_good: Path | None = None) -> None:
        """path: the file.  last_good: where the last good text is kept for processes that start later."""
        self._path = path
        self._last_good = last_good
        self._check: Callable[[Settings], None] = _accept_anything
        self._on_change: Callable[[WatchedSettings], None] = _accept_anything
        self._keeps = False
        self._stamp = self._seen = self._stat()
        self.error: str | None = None
        try:
            self._take(read_text(path))
        except ConfigError as error:
            self._fall_back(error)

    def follow(
        self,
        on_change: Callable[["WatchedSettings"], None],
        check: Callable[[Settings], None] = _accept_anything,
        *,
        keep: bool = False,
    ) -> None:
        """From now on check every new file (check raises ConfigError) and call on_change for each; once right away.

        keep: also keep each good text in `last_good`; for the one process whose check is the strictest.
        """
        try:
            check(self.in_force.settings)
        except ConfigError as error:
            self._fall_back(error)
        self._check, self._on_change, self._keeps = check, on_change, keep
        self._keep()
        on_change(self)

    def watch(self) -> None:
        """Look at the file from a thread of its own, so that an idle process follows it too."""

        def run() -> None:
            while True:
                time.sleep(EVERY_S)
                try:
                    self.look()
                except Exception as error:  # a thread that ends would follow no change any more, and nobody would know
                    event(logging.ERROR, "config_not_followed", reason=str(error), kind=type(error).__name__)

        threading.Thread(target=run, name="serving.yaml", daemon=True).start()

    def current(self) -> Settings:
        """The settings in force now."""
        return self.in_force.settings

    def look(self) -> None:
        """Take a changed file, once two looks in a row show the same one: it may be half written at the first."""
        stamp = self._stat()
        if stamp != self._stamp and stamp == self._seen:
            self._stamp = stamp
            self._reload()
        self._seen = stamp

    def _reload(self) -> None:
        try:
            self._take(read_text(self._path))
            self.error = None
            self._keep()
        except ConfigError as error:
            self.error = str(error)
        self._on_change(self)

    def _take(self, text: str) -> None:
        settings = parse_settings(text, str(self._path))
        self._check(settings)
        self.in_force = InForce(settings, text, hashlib.sha256(text.encode()).hexdigest())

    def _fall_back(self, error: ConfigError) -> None:
        if self._last_good is None or not self._last_good.exists():
            raise error
        self._take(read_text(self._last_good))
        self.error = str(error)

    def _keep(self) -> None:
        if self._keeps and self._last_good is not None and self.error is None:
            try:
                keep_text(self._last_good, self.in_force.text)
            except OSError as error:  # what is in force here stays so; a worker that starts later may get an older one
                event(logging.ERROR, "config_not_kept", path=str(self._last_good), reason=error.strerror)

    def _stat(self) -> tuple[int, int, int] | None:
        try:
            stat = self._path.stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_size, stat.st_ino


def keep_text(path: Path, text: str) -> None:
    """Replace a file as a whole: a reader sees the old one or the new one."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.write_text(text, encoding="utf-8")
    new.replace(path)
