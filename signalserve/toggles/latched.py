"""Letting models answer again that a guardrail took out."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

from signalserve.errors import ConfigError
from signalserve.journal import LATCHES
from signalserve.latches import Latch, clear, read_latches
from signalserve.toggles.history import Author, record


class Operator(Protocol):
    """Whoever decides. Both methods raise ConfigError where nobody can be asked and --yes was not given."""

    def approve_clear(self, latches: Sequence[Latch]) -> bool:
        """Show what will answer again, and ask."""

    def approve_unrecorded(self, reason: str) -> bool:
        """Say that this cannot be recorded, and ask where nobody has agreed to it yet."""


def models_out(journal: Path) -> list[Latch]:
    """The models that are out by a journal's folder, the earliest first."""
    return read_latches(journal / LATCHES)


def choose(latches: Sequence[Latch], symbol: str | None, generation: str | None, *, everything: bool) -> list[Latch]:
    """The latches that an operator names. Raises ConfigError where it is not said which, or there is none such."""
    words = "; ".join(f"{latch.symbol} {latch.generation} on {latch.endpoint}" for latch in latches)
    if symbol is None and not everything:
        raise ConfigError(f"clear: expected SYMBOL, SYMBOL GENERATION or --all, got neither; out are: {words}")
    found = [latch for latch in latches if symbol in (None, latch.symbol) and generation in (None, latch.generation)]
    if not found:
        raise ConfigError(f"clear: {symbol} {generation or ''} is not out; out are: {words}")
    return found


def let_answer(journal: Path, latches: Sequence[Latch], author: Author, operator: Operator) -> list[Latch] | None:
    """Remove latches, each recorded first. Returns those that this removed, None where the operator declined."""
    if not operator.approve_clear(latches):
        return None
    cleared = []
    for latch in latches:
        lost = record(journal, "guardrail_clear", author, asdict(latch))
        if lost is not None and not operator.approve_unrecorded(lost):
            return None
        if clear(journal / LATCHES, latch):
            cleared.append(latch)
    return cleared
