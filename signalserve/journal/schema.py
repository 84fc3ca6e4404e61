"""The journal's tables. Changing them: append a migration, never edit one that was released."""

import sqlite3
from typing import Final

from signalserve.errors import JournalError

MIGRATIONS: Final[tuple[str, ...]] = (
    # 1
    """
    CREATE TABLE predictions (              -- one row for each arm of each prediction
        row_id INTEGER PRIMARY KEY,
        prediction_id TEXT NOT NULL,
        request_id TEXT,
        endpoint TEXT NOT NULL,
        symbol TEXT NOT NULL,
        as_of_ms INTEGER,                   -- closing time of the window's last bar; null where nobody said
        received_ms INTEGER NOT NULL,
        time_ms INTEGER NOT NULL,           -- as_of_ms, else received_ms: the time that statistics run on
        arm TEXT NOT NULL,                  -- v6_fixed, v8 or ensemble
        answered INTEGER NOT NULL,          -- 1: what the caller got; 0: computed beside it
        mode TEXT NOT NULL,
        assigned TEXT NOT NULL,             -- the arm that the toggles say; of an endpoint of one model, that one
        degraded TEXT,                      -- why another answered
        left_out TEXT,                      -- why statistics leave it out: out, override, repeat; else null
        config_id INTEGER NOT NULL,
        bundle_id INTEGER,                  -- of the one model; null for a pool
        pool TEXT,                          -- of a pool, JSON: method, and each model's sha256 and weight
        logit_down REAL, logit_neutral REAL, logit_up REAL,   -- raw; null for a pool, neutral null for two classes
        p_down REAL NOT NULL, p_neutral REAL NOT NULL, p_up REAL NOT NULL,
        temperature REAL NOT NULL,
        latency_ms REAL NOT NULL,
        warnings TEXT NOT NULL,             -- names, separated by commas
        close REAL, feed TEXT,              -- of the last bar, and the series of prices it belongs to; null: unknown
        horizon_ms INTEGER, band REAL,      -- its label's rule; null where nobody knows it
        outcome INTEGER,                    -- 0 DOWN, 1 NEUTRAL, 2 UP; null until it is known
        outcome_close REAL,                 -- the price that decided it, where it was one
        outcome_source TEXT,                -- bars: joined by itself; caller: told; ambiguous: none, feeds disagree
        outcome_at_ms INTEGER               -- when it was joined
    );
    -- statistics: the last n of an arm, also of those with an outcome; and each (symbol, as_of, arm) counts once
    CREATE INDEX counted ON predictions (symbol, arm, time_ms, outcome) WHERE left_out IS NULL;
    -- joining: everything at one moment
    CREATE INDEX moment ON predictions (symbol, as_of_ms) WHERE as_of_ms IS NOT NULL;
    -- labelling: what a new close of a feed decides, or says of a caller's claim
    CREATE INDEX own_feed ON predictions (symbol, feed, as_of_ms)
        WHERE feed IS NOT NULL AND as_of_ms IS NOT NULL AND band IS NOT NULL AND outcome_source IS NOT 'bars';
    -- labelling from another feed, and counting: what waits for bars, by the price that a feed must hold
    CREATE INDEX waiting ON predictions (as_of_ms, symbol, close)
        WHERE feed IS NOT NULL AND as_of_ms IS NOT NULL AND band IS NOT NULL AND outcome IS NULL
        AND outcome_source IS NULL;
    CREATE INDEX by_prediction ON predictions (prediction_id);

    CREATE TABLE bundles (
        bundle_id INTEGER PRIMARY KEY, sha256 TEXT NOT NULL UNIQUE, generation TEXT, symbol TEXT, version TEXT,
        temperature REAL, clamp REAL, interval_ms INTEGER, horizon_bars INTEGER, neutral_band REAL,
        base_rates TEXT                     -- JSON: three shares, or null
    );
    CREATE TABLE configs (
        config_id INTEGER PRIMARY KEY, sha256 TEXT NOT NULL UNIQUE, text TEXT, first_ms INTEGER
    );
    CREATE TABLE events (
        event_id TEXT PRIMARY KEY, at_ms INTEGER NOT NULL, event TEXT NOT NULL, who TEXT NOT NULL, why TEXT,
        content TEXT NOT NULL               -- JSON
    );
    CREATE INDEX events_at ON events (at_ms);
    CREATE TABLE closes (
        symbol TEXT NOT NULL,
        feed TEXT NOT NULL,                 -- which series of prices
        at_ms INTEGER NOT NULL,
        close REAL,                         -- null: told alone, and by two callers differently
        told_ms INTEGER NOT NULL,           -- when it came, or became null: bars of long ago may be replayed today
        PRIMARY KEY (symbol, at_ms, feed)
    ) WITHOUT ROWID;
    CREATE INDEX of_feed ON closes (symbol, feed, at_ms, close);
    CREATE INDEX told_differently ON closes (symbol, told_ms) WHERE close IS NULL;
    CREATE TABLE spools (name TEXT PRIMARY KEY, offset INTEGER NOT NULL) WITHOUT ROWID;  -- how far each is drained
    CREATE TABLE counts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;   -- what was seen and left out
    """,
    # 2
    """
    ALTER TABLE predictions ADD COLUMN off_scale REAL;  -- share of columns off the model's scale; null for a pool
    ALTER TABLE predictions ADD COLUMN largest_z REAL;  -- largest |scaled feature|; null for a pool
    """,
)

VERSION: Final = len(MIGRATIONS)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a database to this version, all or nothing. Raises JournalError for one that a newer version wrote."""
    [found] = connection.execute("PRAGMA user_version").fetchone()
    if found > VERSION:
        raise JournalError(
            f"the journal has schema version {found}, and this signalserve knows {VERSION}: a newer one wrote it; "
            "update signalserve, or name another folder with --journal"
        )
    for number in range(found, VERSION):
        connection.executescript(f"BEGIN IMMEDIATE;{MIGRATIONS[number]};PRAGMA user_version = {number + 1};COMMIT;")
