"""One change of serving.yaml, whole or not at all, and recorded.

    lock -> read -> rewrite -> check -> ask -> stage beside it -> record -> replace

The lock keeps toggles apart; an editor that knows nothing of it is noticed by the text it left.
"""

import difflib
import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol

from signalserve.errors import ConfigError
from signalserve.settings import Settings, parse_settings, read_text
from signalserve.toggles.exposure import remarks, widened
from signalserve.toggles.history import Author, record
from signalserve.toggles.served import check_served, served_symbols

LOCK_S: Final = 5.0
"""How long to wait for another toggle: scripts come through, a person who is being asked keeps others out."""

Outcome = Literal["changed", "unchanged", "declined"]


@dataclass(frozen=True)
class Rewritten:
    """The text that a command wants. undoes: the event that it undoes, of a rollback."""

    text: str
    undoes: str | None = None


@dataclass(frozen=True)
class Plan:
    """A change that is right, and not made yet.

    difference: unified, in lines.  widened: where an arm gets more to answer, in words; changes that have such are
    asked for.  remarks: what else to know.
    """

    command: str
    before: str
    after: str
    difference: tuple[str, ...]
    widened: tuple[str, ...]
    remarks: tuple[str, ...]


class Operator(Protocol):
    """Whoever decides. Both methods raise ConfigError where nobody can be asked and --yes was not given."""

    def approve(self, plan: Plan) -> bool:
        """Show a change, and ask where it widens exposure."""

    def approve_unrecorded(self, reason: str) -> bool:
        """Say that the change cannot be recorded, and ask where nobody has agreed to it yet."""


@dataclass(frozen=True)
class Files:
    """The file and the folders of one service."""

    settings: Path
    journal: Path
    model_store: Path


def change(
    files: Files, command: str, rewrite: Callable[[str], Rewritten], author: Author, operator: Operator
) -> Outcome:
    """Change serving.yaml. rewrite: the file's text -> the wished one.  command: as the operator gave it.

    Raises ConfigError where the change would not be a right configuration, nobody agrees to it, another toggle is at
    work, or somebody else changed the file meanwhile; then nothing has changed.
    """
    path = files.settings.resolve()  # what a link leads to, not the link, is to be replaced
    with _locked(path):
        before = read_text(path)
        wished = rewrite(before)
        if wished.text == before:
            return "unchanged"
        plan = _plan(path, command, before, wished.text, files)
        if not operator.approve(plan):
            return "declined"
        with _staged(path, plan.after) as staged:
            if read_text(path) != before:
                raise ConfigError(f"{path}: somebody else changed it meanwhile; nothing is written: run this again")
            # recorded first: ended in between, the journal tells of a change that never took force, which every reader
            # can see by its sha256. The other way round, one would be in force of which nobody knows.
            lost = record(files.journal, "toggle", author, _content(plan, wished.undoes))
            if lost is not None and not operator.approve_unrecorded(lost):
                return "declined"
            _replace(staged, path)
    return "changed"


def sha256_of_text(text: str) -> str:
    """As the service computes it of the file in force."""
    return hashlib.sha256(text.encode()).hexdigest()


def _plan(path: Path, command: str, before: str, after: str, files: Files) -> Plan:
    new = parse_settings(after, str(path))
    notes = [check_served(new, files.model_store), _new_journal(files.journal)]
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), f"{path.name} as it is", f"{path.name} after this", n=1, lineterm=""
    )
    more, remarked = _consequences(path, before, new, files.model_store)
    return Plan(command, before, after, tuple(lines), tuple(more), (*remarked, *filter(None, notes)))


def _new_journal(folder: Path) -> str | None:
    """A service that writes elsewhere would never tell of this change."""
    if os.path.lexists(folder):
        return None
    return f"no journal at {folder} yet: this record begins it; is the service's elsewhere, name it with --journal"


def _consequences(path: Path, before: str, new: Settings, store: Path) -> tuple[list[str], list[str]]:
    try:
        old = parse_settings(before, str(path))
    except ConfigError as error:
        return [f"the file as it is is wrong, so that what it changes cannot be told: {error}"], []
    symbols = served_symbols(store, old, new)
    return widened(old, new, symbols), remarks(old, new, symbols)


def _content(plan: Plan, undoes: str | None) -> dict[str, object]:
    content: dict[str, object] = {
        "command": plan.command,
        "before_sha256": sha256_of_text(plan.before),
        "after_sha256": sha256_of_text(plan.after),
        "before": plan.before,
        "after": plan.after,
        "widened": list(plan.widened),
    }
    return content if undoes is None else {**content, "undoes": undoes}


# ---- the file


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keeps other toggles out, also where this process is killed: the kernel lets go of its lock."""
    lock = path.with_name(f".{path.name}.lock")  # not the file itself, which is another one after each change
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_CREAT, 0o644)
    except OSError as error:
        raise ConfigError(f"{lock}: {error.strerror}; a change needs a folder that it may write to") from None
    with suppress(PermissionError):  # somebody else's already; whatever the umask, it locks nobody out for ever
        os.fchmod(descriptor, 0o644)
    try:
        until = time.monotonic() + LOCK_S
        while not _lock(descriptor):
            if time.monotonic() >= until:
                raise ConfigError(
                    f"{path}: another toggle is at work, or waits for its answer; run this again after it"
                )
            time.sleep(0.05)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _staged(path: Path, text: str) -> Iterator[Path]:
    """The new text on the disk, beside the file it is to replace, with that one's mode and owner."""
    staged = path.with_name(f".{path.name}.new")  # one name: what a killed toggle left is used up by the next
    try:
        newline = "\r\n" if b"\r\n" in path.read_bytes() else "\n"
        with staged.open("w", encoding="utf-8", newline=newline) as file:
            stat = path.stat()
            os.fchown(file.fileno(), stat.st_uid, stat.st_gid)
            os.fchmod(file.fileno(), stat.st_mode & 0o7777)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        yield staged
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be replaced by a file of the same owner: {error.strerror}; run this as its owner, where "
            "its folder can be written to (a file that is mounted alone cannot be replaced: mount its folder)"
        ) from None
    finally:
        staged.unlink(missing_ok=True)


def _replace(staged: Path, path: Path) -> None:
    staged.replace(path)  # a reader sees the old file or the new one
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name, too, survives the machine
    finally:
        os.close(folder)
