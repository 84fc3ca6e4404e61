"""Small journals, filled by plain INSERTs, for every test that reads one."""

import sqlite3
from pathlib import Path
from typing import Any

import numpy as np

from signalserve.journal import database_of
from signalserve.journal.schema import migrate

SYMBOL, ARM = "BTC-USD", "v8"
START_MS = 1_764_000_000_000  # 2025-11-24T16:00:00Z
MINUTE = 60_000


def new_journal(folder: Path) -> sqlite3.Connection:
    """The watcher's connection to an empty journal, with one configuration and one bundle, both of id 1."""
    folder.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(database_of(folder), isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    migrate(connection)
    connection.execute("INSERT INTO configs VALUES (1, 'c0ffee', '{}', 0)")
    add_bundle(connection, "beef", [0.3, 0.4, 0.3])
    return connection


def add_bundle(connection: sqlite3.Connection, sha256: str, base_rates: list[float] | None) -> None:
    insert(
        connection,
        "bundles",
        sha256=sha256,
        generation="v8",
        symbol=SYMBOL,
        version="2",
        base_rates=None if base_rates is None else str(base_rates),
    )


def add_prediction(connection: sqlite3.Connection, minute: int = 0, **columns: Any) -> None:
    """One row of `predictions`, asked for `minute` minutes after START_MS; columns overrule what is usual.

    p: the three probabilities.  logits: the three raw ones.
    """
    time_ms = START_MS + minute * MINUTE
    down, neutral, up = columns.pop("p", (0.2, 0.3, 0.5))
    logit_down, logit_neutral, logit_up = columns.pop("logits", (-1.0, 0.5, 2.0))
    usual = {
        "prediction_id": f"p-{minute}",
        "endpoint": "ensemble",
        "symbol": SYMBOL,
        "arm": ARM,
        "as_of_ms": time_ms,
        "received_ms": time_ms + 500,
        "time_ms": time_ms,
        "answered": 1,
        "mode": "v8",
        "assigned": "v8",
        "config_id": 1,
        "bundle_id": 1,
        "temperature": 1.0,
        "latency_ms": 3.5,
        "warnings": "",
        "close": 67_000.0,
        "feed": "w-1",
        "horizon_ms": 15 * MINUTE,
        "band": 1e-3,
        "p_down": down,
        "p_neutral": neutral,
        "p_up": up,
        "logit_down": logit_down,
        "logit_neutral": logit_neutral,
        "logit_up": logit_up,
        "off_scale": 0.0,
        "largest_z": 3.2,
    }
    insert(connection, "predictions", **{**usual, **columns})


def add_series(connection: sqlite3.Connection, n: int, seed: int = 0, **columns: Any) -> None:
    """n predictions a minute apart with random probabilities and outcomes, in one transaction."""
    random = np.random.default_rng(seed)
    connection.execute("BEGIN")
    for minute in range(n):
        p = random.dirichlet([4, 4, 4]).tolist()
        add_prediction(connection, minute, **{"p": p, "outcome": int(random.integers(3)), **columns})
    connection.execute("COMMIT")


def insert(connection: sqlite3.Connection, table: str, **columns: Any) -> None:
    names, marks = ", ".join(columns), ", ".join("?" * len(columns))
    connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(columns.values()))
