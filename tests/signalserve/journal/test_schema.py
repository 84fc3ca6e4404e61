"""The journal's schema: made, migrated, and refused where it is a newer version's."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from signalserve.errors import JournalError
from signalserve.journal import schema
from signalserve.journal.schema import migrate


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    yield connection
    connection.close()


def version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def add_migrations(monkeypatch: pytest.MonkeyPatch, *scripts: str) -> None:
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, *scripts))
    monkeypatch.setattr(schema, "VERSION", len(schema.MIGRATIONS))


def test_a_new_database_is_made_at_the_newest_version(database: sqlite3.Connection):
    migrate(database)
    assert version(database) == schema.VERSION == len(schema.MIGRATIONS)
    assert database.execute("SELECT count(*) FROM predictions").fetchone() == (0,)


def test_a_database_of_this_version_stays_as_it_is(database: sqlite3.Connection):
    migrate(database)
    database.execute("INSERT INTO counts VALUES ('repeats', 3)")
    migrate(database)
    assert database.execute("SELECT * FROM counts").fetchall() == [("repeats", 3)]


def test_an_old_database_is_migrated_with_its_rows(database: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch):
    migrate(database)
    database.execute("INSERT INTO counts VALUES ('repeats', 3)")
    add_migrations(
        monkeypatch,
        "ALTER TABLE counts ADD COLUMN unit TEXT DEFAULT 'rows'",
        "UPDATE counts SET value = value + 1",
    )
    migrate(database)
    assert version(database) == schema.VERSION
    assert database.execute("SELECT * FROM counts").fetchall() == [("repeats", 4, "rows")]


def test_a_database_of_version_1_gets_the_scale_and_keeps_its_rows(database: sqlite3.Connection):
    database.executescript(f"{schema.MIGRATIONS[0]}; PRAGMA user_version = 1")
    row = {
        "prediction_id": "p", "endpoint": "v8", "symbol": "BTC-USD", "received_ms": 2, "time_ms": 1, "arm": "v8",
        "answered": 1, "mode": "v8", "assigned": "v8", "config_id": 1, "p_down": 0.2, "p_neutral": 0.3, "p_up": 0.5,
        "temperature": 8.0, "latency_ms": 1.5, "warnings": "",
    }  # fmt: skip
    columns, marks = ", ".join(row), ", ".join("?" * len(row))
    database.execute(f"INSERT INTO predictions ({columns}) VALUES ({marks})", tuple(row.values()))
    before = database.execute("SELECT * FROM predictions").fetchall()
    migrate(database)
    assert version(database) == schema.VERSION
    assert [name for _, name, *_ in database.execute("PRAGMA table_info(predictions)")][-2:] == [
        *("off_scale", "largest_z"),
    ]
    assert database.execute("SELECT * FROM predictions").fetchall() == [(*row, None, None) for row in before]


def test_a_migration_that_fails_leaves_the_old_version_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "journal.sqlite"
    old = sqlite3.connect(path, isolation_level=None)
    migrate(old)
    before = version(old)
    add_migrations(monkeypatch, "ALTER TABLE counts ADD COLUMN unit TEXT; SELECT 1 FROM nowhere;")
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        migrate(old)
    old.close()
    again = sqlite3.connect(path)
    assert version(again) == before
    assert [row[1] for row in again.execute("PRAGMA table_info(counts)")] == ["name", "value"]
    again.close()


def test_a_newer_version_is_refused_in_words(database: sqlite3.Connection):
    database.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    with pytest.raises(JournalError, match="a newer one wrote it; update signalserve"):
        migrate(database)
