"""Letting models answer again that a guardrail took out."""

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

from signalserve.errors import ConfigError, JournalError
from signalserve.journal import LATCHES
from signalserve.latches import Latch, clear, read_latches
from signalserve.toggles.history import Author, record
from signalserve.toggles.home import check_home, names_in


class Operator(Protocol):
    """Whoever decides. Both methods raise ConfigError where nobody can be asked and --yes was not given."""

    def approve_clear(self, latches: Sequence[Latch]) -> bool:
        """Show what will answer again, and ask."""

    def approve_unrecorded(self, reason: str) -> bool:
        """Say that this cannot be recorded, and ask where nobody has agreed to it yet."""


def models_out(journal: Path) -> list[Latch]:
    """The models that are out by a service's folder, the earliest first. Raises JournalError where nobody can tell."""
    check_home(journal)
    folder = journal / LATCHES
    names_in(folder)  # read_latches takes a folder that it may not read for an empty one
    try:
        return read_latches(folder)
    except OSError as error:
        raise JournalError(f"{error.filename}: {error.strerror}; run this as the service's user") from None


def choose(
    journal: Path, latches: Sequence[Latch], symbol: str | None, generation: str | None, *, everything: bool
) -> list[Latch]:
    """The latches that an operator names. Raises ConfigError where it is not said which, or there is none such."""
    out = "; ".join(f"{latch.symbol} {latch.generation} on {latch.endpoint}" for latch in latches)
    words = f"out by {journal} are: {out}"
    if symbol is None and not everything:
        raise ConfigError(f"clear: expected SYMBOL, SYMBOL GENERATION or --all, got neither; {words}")
    found = [latch for latch in latches if symbol in (None, latch.symbol) and generation in (None, latch.generation)]
    if not found:
        raise ConfigError(f"clear: {' '.join(filter(None, (symbol, generation)))} is not out; {words}")
    return found


def let_answer(journal: Path, latches: Sequence[Latch], author: Author, operator: Operator) -> list[Latch] | None:
    """Remove latches, each recorded first. Returns those that this removed, None where the operator declined at once.

    Raises JournalError where they may not be removed: before anybody is asked, as far as that can be known.
    """
    folder = journal / LATCHES
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
        raise JournalError(f"{folder}: expected the right to delete files there: run this as the service's user")
    if not operator.approve_clear(latches):
        return None
    cleared: list[Latch] = []
    for latch in latches:
        lost = record(journal, "guardrail_clear", author, asdict(latch))
        if lost is not None and not operator.approve_unrecorded(lost):
            return cleared or None
        try:
            if clear(folder, latch):
                cleared.append(latch)
        except OSError as error:
            raise JournalError(
                f"{folder / latch.file_name}: {error.strerror}; {latch.symbol} {latch.generation} stays out on "
                f"{latch.endpoint} until this file is removed"
            ) from None
    return cleared
