"""What the journal saw and left out, counted where it survives a restart: in the database itself."""

import sqlite3
from typing import Final

COUNTS: Final = {
    "repeats": "predictions of a (symbol, as_of, arm) that was there already, of which statistics count one",
    "torn_lines": "spool lines that could not be taken in and were set aside in spool/refused.txt: torn by a full "
    "disk, of another version, or of values that do not fit",
    "closes_contradicting": "closing prices that differ from the one first told for the same bar of the same feed",
    "outcomes_joined": "predictions whose outcome was found",
    "outcomes_known": "outcomes told once more",
    "outcomes_contradicting": "outcomes refused because another one is known",
    "outcomes_unknown": "outcomes of no prediction that is kept",
    "outcomes_undecidable": "outcomes told before the horizon has passed, or of a moment at which several markets were "
    "asked about, or as a price where the prediction's own close or label rule is not known",
    "bars_contradicting_claims": "predictions whose outcome a caller told and whose own bars say another; the caller's "
    "stays",
    "ambiguous": "predictions left without an outcome because their own feed ended and others disagree about it",
    "retired": "rows deleted by age or size",
}


def bump(connection: sqlite3.Connection, name: str, by: int = 1) -> None:
    """Add to a count, within the caller's transaction. name: one of COUNTS."""
    assert name in COUNTS, name
    connection.execute(
        "INSERT INTO counts VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value", (name, by)
    )


def read_counts(connection: sqlite3.Connection) -> dict[str, int]:
    """Every count, 0 where nothing was counted."""
    found = dict(connection.execute("SELECT name, value FROM counts").fetchall())
    return {name: int(found.get(name, 0)) for name in COUNTS}
