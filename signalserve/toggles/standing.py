"""What is in force, as far as the file, the journal and the latches tell: `signalserve toggle show`."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from signalserve.errors import ConfigError, JournalError
from signalserve.latches import Latch
from signalserve.settings import Settings, parse_settings, read_text
from signalserve.toggles.change import Files, sha256_of_text
from signalserve.toggles.exposure import exposure
from signalserve.toggles.history import History, read_history
from signalserve.toggles.latched import models_out
from signalserve.toggles.served import served_symbols

CHANGES: Final = 5  # the last ones, that are shown


@dataclass(frozen=True)
class InForce:
    """What an endpoint's workers said last. sha256: of the text in force there.  error: why they refused the file."""

    endpoint: str
    sha256: str
    at_ms: int
    error: str | None


@dataclass(frozen=True)
class SymbolStanding:
    """A symbol's settings, its own or the defaults. exposure: arm -> share of the answers."""

    symbol: str
    mode: str
    weights: Mapping[Any, float]
    pool: dict[str, Any]
    exposure: Mapping[Any, float]


@dataclass(frozen=True)
class Change:
    """An earlier toggle."""

    at_ms: int
    who: str
    why: str | None
    command: str
    after_sha256: str


@dataclass(frozen=True)
class Standing:
    """here: whether the file can be read from here, which says nothing of the service's own reading.  error: why it
    cannot, or is wrong; what is then shown is of the text in force, nothing where that is not known.

    in_force: by endpoint, empty where no journal tells.  out: models that a guardrail took out; None where nobody can
    tell, with the reason in out_unknown.  changes: the latest first.  unread: why not all of the journal could be read.
    """

    path: str
    here: bool
    sha256: str | None
    error: str | None
    in_force: Sequence[InForce]
    symbols: Sequence[SymbolStanding]
    experiment: dict[str, Any] | None
    score_all_arms: bool | None
    shadow_budget_ms: float | None
    out: Sequence[Latch] | None
    out_unknown: str | None
    changes: Sequence[Change]
    unread: str | None


def standing(files: Files) -> Standing:
    """Never raises for a wrong file or a missing journal: it says so."""
    history = read_history(files.journal)
    sha256, settings, error = _read(files.settings)
    out, out_unknown = _out(files.journal)
    in_force = [
        InForce(line.content["endpoint"], line.content["sha256"], line.at_ms, line.content["error"])
        for line in history.in_force
    ]
    shown = settings or _last_good(in_force, history)
    return Standing(
        path=str(files.settings),
        here=_is_here(files.settings),
        sha256=sha256,
        error=error,
        in_force=in_force,
        symbols=_symbols(shown, files.model_store) if shown else [],
        experiment=shown.experiment.model_dump() if shown and shown.experiment else None,
        score_all_arms=shown.score_all_arms if shown else None,
        shadow_budget_ms=shown.shadow_budget_ms if shown else None,
        out=out,
        out_unknown=out_unknown,
        changes=[
            Change(one.at_ms, one.who, one.why, one.command, one.after_sha256)
            for one in reversed(history.toggles[-CHANGES:])
        ],
        unread="; ".join(filter(None, dict.fromkeys((history.behind, history.unread)))) or None,
    )


def _is_here(path: Path) -> bool:
    try:
        path.open().close()
    except OSError:
        return False
    return True


def _out(journal: Path) -> tuple[list[Latch] | None, str | None]:
    try:
        return models_out(journal), None
    except JournalError as error:
        return None, str(error)


def _read(path: Path) -> tuple[str | None, Settings | None, str | None]:
    sha256 = None
    try:
        text = read_text(path)
        sha256 = sha256_of_text(text)
        return sha256, parse_settings(text, str(path)), None
    except ConfigError as error:
        return sha256, None, str(error)


def _last_good(in_force: Sequence[InForce], history: History) -> Settings | None:
    """What the ensemble endpoint, the only one that routes, has in force while the file is wrong."""
    for one in in_force:
        known = history.known().get(one.sha256)
        if one.endpoint == "ensemble" and known is not None:
            with suppress(ConfigError):  # another version's worker had it in force
                return parse_settings(known.text, "the text in force")
    return None


def _symbols(settings: Settings, store: Path) -> list[SymbolStanding]:
    return [
        SymbolStanding(symbol, own.mode, own.weights, own.pool.model_dump(), exposure(settings, symbol))
        for symbol in served_symbols(store, settings)
        for own in [settings.of(symbol)]
    ]
