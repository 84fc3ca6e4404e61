"""The arms that the toggles assign, worked out again from the journal alone.

An assignment follows from the text of serving.yaml, the symbol and the time, and all three stand beside each answer;
so whoever doubts an experiment can deal its arms anew.
"""

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from signalserve.errors import ConfigError
from signalserve.journal.tables import Batches, Table
from signalserve.routing import decide
from signalserve.settings import Settings, parse_settings

MOST_SHOWN: Final = 20
"""Differences that are kept to be looked at; all are counted."""

ANSWERS: Final = Table(
    columns={
        name: name
        for name in ("answered", "endpoint", "prediction_id", "symbol", "time_ms", "config_id", "mode", "assigned")
    },
    source="predictions",
    key=("row_id",),
    lowest=(0,),
    time="time_ms",
)
"""What an assignment is worked out from, and the one that was written down."""


@dataclass(frozen=True)
class Difference:
    """An answer whose mode and assigned arm are not those that its configuration gives."""

    prediction_id: str
    symbol: str
    time_ms: int
    mode: str
    assigned: str
    replayed_mode: str
    replayed_assigned: str


@dataclass
class Replay:
    """What came of it, in answers.

    differences: the first MOST_SHOWN of those that differ.  text_unknown: the journal does not hold their serving.yaml.
    text_unreadable: this version cannot read it.  unassigned: of endpoints that answer with one model, whatever the
    toggles say.
    """

    agreeing: int = 0
    differing: int = 0
    text_unknown: int = 0
    text_unreadable: int = 0
    unassigned: int = 0
    differences: list[Difference] = field(default_factory=list)

    @property
    def compared(self) -> int:
        return self.agreeing + self.differing


def answers(connection: sqlite3.Connection) -> Batches:
    """What `replay` takes, by the columns of ANSWERS."""
    return Batches(connection, ANSWERS)


def config_texts(connection: sqlite3.Connection) -> dict[int, str | None]:
    """Each configuration's text by its config_id, None where no worker told it."""
    return dict(connection.execute("SELECT config_id, text FROM configs").fetchall())


def replay(batches: Iterable[list[tuple[Any, ...]]], texts: Mapping[int, str | None]) -> Replay:
    """Work out who should have given each answer, and compare.

    batches: of `answers`.  texts: of `config_texts`.  Arms that were only recorded beside an answer are passed over.
    """

    @cache
    def settings_of(config_id: int) -> Settings | None:
        text = texts.get(config_id)
        try:
            return None if text is None else parse_settings(text, f"configuration {config_id}")
        except ConfigError:
            return None

    found = Replay()
    for batch in batches:
        for answered, endpoint, prediction_id, symbol, time_ms, config_id, mode, assigned in batch:
            if not answered:
                continue
            if endpoint != "ensemble":
                found.unassigned += 1
            elif texts.get(config_id) is None:
                found.text_unknown += 1
            elif (settings := settings_of(config_id)) is None:
                found.text_unreadable += 1
            else:
                decision = decide(settings, symbol, time_ms)
                if (decision.mode, decision.assigned) == (mode, assigned):
                    found.agreeing += 1
                else:
                    found.differing += 1
                    if len(found.differences) < MOST_SHOWN:
                        found.differences.append(
                            Difference(
                                *(prediction_id, symbol, time_ms, mode, assigned), decision.mode, decision.assigned
                            )
                        )
    return found
