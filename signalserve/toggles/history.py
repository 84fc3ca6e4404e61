"""What the journal knows of earlier changes, also while no watcher runs; and where a rollback leads."""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from signalserve.candles import iso
from signalserve.errors import ConfigError, JournalError
from signalserve.journal import spool_of
from signalserve.journal.lines import EventLine, decode_line, new_event
from signalserve.journal.reading import events, open_journal
from signalserve.journal.spool import SpoolWriter, read_from, segments
from signalserve.settings import parse_settings
from signalserve.toggles.home import is_run_folder, names_in

OWNER: Final = "toggle"
"""Leads the names of the spool segments that toggles write."""

_MOST: Final = 10_000  # events of a kind that are read: years of toggles, and days of workers that restart
_OFFERED: Final = 5  # texts that an error lists
_FEWEST_DIGITS: Final = 6  # of a sha256 that names a text


@dataclass(frozen=True)
class Author:
    """Who changes something, and why."""

    who: str
    why: str | None


@dataclass(frozen=True)
class Toggle:
    """A change of serving.yaml as the journal has it. undoes: the event that a rollback undid, else None."""

    event_id: str
    at_ms: int
    who: str
    why: str | None
    command: str
    before: str
    after: str
    before_sha256: str
    after_sha256: str
    undoes: str | None


@dataclass(frozen=True)
class Known:
    """A text that can be put back. origin: in words, where it comes from."""

    text: str
    origin: str


@dataclass(frozen=True)
class History:
    """toggles: the earliest first.  configs: what workers had in force, by its sha256.  in_force: the last event of
    each endpoint's configuration.  unread: why the database could not be read, else None.  behind: why the last
    toggles, on their way there, could not."""

    toggles: Sequence[Toggle] = ()
    configs: Mapping[str, Known] = field(default_factory=dict)
    in_force: Sequence[EventLine] = ()
    unread: str | None = None
    behind: str | None = None

    def known(self) -> dict[str, Known]:
        """Every text that can be named, by its sha256: the toggles', the latest first, and then the workers'."""
        found: dict[str, Known] = {}
        for toggle in reversed(self.toggles):
            made = f"{toggle.command} by {toggle.who} at {_second(toggle.at_ms)}"
            found.setdefault(toggle.after_sha256, Known(toggle.after, f"after {made}"))
            found.setdefault(toggle.before_sha256, Known(toggle.before, f"before {made}"))
        for sha256, config in self.configs.items():
            found.setdefault(sha256, config)
        return found

    def named(self, prefix: str) -> str:
        """The text whose sha256 begins so. Raises ConfigError where that is none, or not one alone."""
        found = [known.text for sha256, known in self.known().items() if sha256.startswith(prefix.lower())]
        if len(found) == 1 and len(prefix) >= _FEWEST_DIGITS:
            return found[0]
        raise ConfigError(
            f"--to: expected {_FEWEST_DIGITS} or more of the first digits of one text's sha256, got {prefix!r}, which "
            f"{len(found)} have; {self.offer()}"
        )

    def last_into(self, sha256: str) -> Toggle:
        """The toggle that a rollback of this text undoes: the last one that led to it and is not undone.

        Raises ConfigError where no toggle led to this text, or none may be known that did.
        """
        if self.behind is not None:
            raise ConfigError(f"rollback: the last toggles cannot be read: {self.behind}; {self.offer(sha256)}")
        undone = set()
        there = sha256  # the file after the toggle that is looked at, going back in time
        for toggle in reversed(self.toggles):
            if toggle.after_sha256 != there:  # recorded, and ended before it took force
                continue
            if toggle.undoes is not None:
                undone.add(toggle.undoes)
            elif toggle.event_id not in undone:
                return toggle
            there = toggle.before_sha256
        if sha256 in self.known() or not self.toggles:
            raise ConfigError(f"rollback: no toggle is known that led to the file as it is; {self.offer(sha256)}")
        raise ConfigError(
            f"rollback: the file was changed by hand after the last toggle (sha256 {sha256[:12]}…), and that change "
            f"would be lost; {self.offer()}"
        )

    def offer(self, standing: str | None = None) -> str:
        """What --to can name, in words. standing: the sha256 of the file as it is, which nobody need put back."""
        known = [
            f"{sha256[:12]} ({_modes(one.text)}; {one.origin})"
            for sha256, one in self.known().items()
            if sha256 != standing
        ]
        if known:
            return f"name a text with --to: {', '.join(known[:_OFFERED])}"
        return f"earlier texts are not known: {self.unread or 'the journal holds none'}"


def record(journal: Path, event: str, author: Author, content: dict[str, Any]) -> str | None:
    """Write an event into the journal of a folder. Returns None, or in words why that was not possible."""
    try:
        if is_run_folder(journal):
            return f"{journal}: the folder of a service that keeps none"
    except JournalError as error:
        return str(error)
    writer = SpoolWriter(spool_of(journal), OWNER)
    try:
        done = writer.append([new_event(event, author.who, author.why, content)])
    finally:
        writer.close()
    return None if done else writer.error


def read_history(journal: Path) -> History:
    """What a journal's folder holds, in its database and on the way there; empty where it holds nothing."""
    waiting, behind = _waiting(journal)  # first: what is stored meanwhile is then found twice, and not never
    stored, configs, in_force, unread = _stored(journal)
    lines = {line.event_id: line for line in (*stored, *waiting)}
    ordered = sorted(lines.values(), key=lambda line: (line.at_ms, line.event_id))
    return History([_toggle(line) for line in ordered], configs, in_force, unread, behind)


def _waiting(journal: Path) -> tuple[list[EventLine], str | None]:
    folder = spool_of(journal)
    try:
        for one in (journal, folder):
            names_in(one)  # segments takes a folder that it may not read for an empty one
        found = [
            raw
            for segment in segments(folder)
            if segment.name.startswith(f"{OWNER}-")
            for raw in read_from(segment, 0, segment.size)[0]
        ]
    except JournalError as error:
        return [], str(error)
    except OSError as error:
        return [], f"{error.filename}: {error.strerror}"
    return [line for line in map(_decoded, found) if line is not None and line.event == "toggle"], None


def _decoded(raw: bytes) -> EventLine | None:
    try:
        line = decode_line(raw)
    except ValueError:  # torn by a full disk: the watcher counts it
        return None
    return line if isinstance(line, EventLine) else None


def _stored(journal: Path) -> tuple[list[EventLine], dict[str, Known], list[EventLine], str | None]:
    try:
        names_in(journal)
        connection = open_journal(journal)
    except JournalError as error:
        return [], {}, [], str(error)
    except OSError as error:
        return [], {}, [], f"{error.filename}: {error.strerror}"
    try:
        texts = "SELECT sha256, text, first_ms FROM configs WHERE text IS NOT NULL ORDER BY config_id DESC"
        configs = {
            sha256: Known(text, "in force once" if first_ms is None else f"in force from {_second(first_ms)} on")
            for sha256, text, first_ms in connection.execute(texts)
        }
        last = {
            line.content["endpoint"]: line for line in events(connection, _MOST, ("config_in_force", "config_refused"))
        }
        return events(connection, _MOST, ("toggle",)), configs, list(last.values()), None
    except sqlite3.Error as error:
        return [], {}, [], f"{journal}: {error}"
    finally:
        connection.close()


def _toggle(line: EventLine) -> Toggle:
    content = line.content
    return Toggle(
        line.event_id,
        line.at_ms,
        line.who,
        line.why,
        content["command"],
        content["before"],
        content["after"],
        content["before_sha256"],
        content["after_sha256"],
        content.get("undoes"),
    )


def _modes(text: str) -> str:
    """Who answers by a text, in words."""
    try:
        settings = parse_settings(text, "the text")
    except ConfigError:
        return "not a right file"
    own = [f"{symbol} {one.mode}" for symbol, one in settings.symbols.items() if one.mode]
    return ", ".join([f"mode {settings.defaults.mode}", *own])


def _second(at_ms: int) -> str:
    return iso(at_ms // 1000 * 1000)
