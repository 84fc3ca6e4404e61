"""The journal's store: every spool line in the database once, whoever is killed; old rows out."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from journal_lines import AS_OF_MS, CONFIG, MINUTE_MS, V6, V8, arm, bundle, closes, config, prediction

from signalserve.errors import JournalError
from signalserve.journal import database_of, lines, outcomes, rows, schema, spool_of
from signalserve.journal import store as store_module
from signalserve.journal.counts import read_counts
from signalserve.journal.lines import Line, encode_line, new_event
from signalserve.journal.spool import Segment, SpoolWriter, segments
from signalserve.journal.store import JournalStore

NOW_S = AS_OF_MS / 1000 + 1
HELPERS = Path(__file__).parents[2]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JournalStore]:
    store = JournalStore(tmp_path, now=lambda: NOW_S)
    yield store
    store.close()


@pytest.fixture
def take(store: JournalStore, tmp_path: Path) -> Callable[..., int]:
    """Writes lines as a worker would, and drains them."""

    def take(*lines: Line) -> int:
        write(tmp_path, *lines)
        return store.drain()

    return take


def write(folder: Path, *lines: Line) -> None:
    writer = SpoolWriter(spool_of(folder), "v8")
    assert writer.append(lines), writer.error
    writer.close()


def all_of(store: JournalStore, columns: str, table: str = "predictions") -> list[tuple[Any, ...]]:
    order = "name" if table in ("spools", "counts") else "rowid"
    return store.connection.execute(f"SELECT {columns} FROM {table} ORDER BY {order}").fetchall()


def at(minute: int, **fields: Any) -> Line:
    """A prediction so many minutes after AS_OF_MS."""
    as_of_ms = AS_OF_MS + minute * MINUTE_MS
    return prediction(as_of_ms=as_of_ms, received_ms=as_of_ms + 300, **fields)


# --- rows


def test_a_prediction_is_a_row_for_each_arm_with_everything_it_said(store: JournalStore, take: Callable[..., int]):
    line = prediction(
        [
            arm("ensemble", warnings=["clamped", "stale_input"]),
            arm("v8", answered=False, warnings=["stale_input"]),
            arm("v6_fixed", answered=False, raw_logits=[1.0, 2.0], off_scale=0.125, largest_z=118.5),
        ]
    )
    assert take(bundle(V6), bundle(V8), config(), line) == 4
    cursor = store.connection.execute("SELECT * FROM predictions ORDER BY row_id")
    names = [column[0] for column in cursor.description]
    pool, v8, v6 = (dict(zip(names, row, strict=True)) for row in cursor)
    shared = {
        "prediction_id": line.prediction_id, "request_id": "bot-7", "endpoint": "ensemble", "symbol": "BTC-USD",
        "as_of_ms": AS_OF_MS, "received_ms": AS_OF_MS + 300, "time_ms": AS_OF_MS, "mode": "v8", "assigned": "v8",
        "degraded": None, "left_out": None, "config_id": 1, "latency_ms": 1.25, "close": 100.0, "feed": "w-1",
        "horizon_ms": 15 * MINUTE_MS, "band": 1e-3, "p_down": 0.301, "p_neutral": 0.228, "p_up": 0.471,
        "outcome": None, "outcome_close": None, "outcome_source": None, "outcome_at_ms": None,
    }  # fmt: skip
    members = [{"sha256": V6, "weight": 0.4}, {"sha256": V8, "weight": 0.6}]
    assert orjson.loads(pool.pop("pool")) == {"method": "log", "members": members}
    none = dict.fromkeys(("logit_down", "logit_neutral", "logit_up", "off_scale", "largest_z"))
    assert pool == {
        "row_id": 1,
        "arm": "ensemble",
        "answered": 1,
        "temperature": 1.1,
        "warnings": "clamped,stale_input",
        "bundle_id": None,
        **none,
        **shared,
    }
    logits = {"logit_down": 3.92, "logit_neutral": -9.24, "logit_up": 8.33, "off_scale": 0.0, "largest_z": 3.2}
    model = {"answered": 0, "pool": None, "temperature": 8.0}
    assert v8 == {"row_id": 2, "arm": "v8", "bundle_id": 2, "warnings": "stale_input", **model, **logits, **shared}
    two_classes = {"logit_down": 1.0, "logit_neutral": None, "logit_up": 2.0, "off_scale": 0.125, "largest_z": 118.5}
    assert v6 == {"row_id": 3, "arm": "v6_fixed", "bundle_id": 1, "warnings": "", **model, **two_classes, **shared}


def test_without_as_of_the_time_is_that_of_receipt(store: JournalStore, take: Callable[..., int]):
    take(prediction(as_of_ms=None))
    assert all_of(store, "as_of_ms, time_ms, left_out") == [(None, AS_OF_MS + 300, None)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (prediction(), None),
        (prediction([arm("v6_fixed")], degraded="v8 is out"), None),
        (prediction(override=True), "override"),
        (prediction([arm(out=True)], override=True, degraded="v8 is out"), "out"),
    ],
)
def test_what_a_caller_chose_or_an_arm_that_is_out_said_is_left_out(
    store: JournalStore, take: Callable[..., int], line: Line, reason: str | None
):
    take(line)
    assert all_of(store, "left_out") == [(reason,)]


def test_a_repeat_is_kept_counted_and_left_out(store: JournalStore, take: Callable[..., int]):
    take(at(0), at(0), at(1), at(0, symbol="ETH-USD"), at(0, arms=[arm("ensemble")]))
    assert all_of(store, "left_out") == [(None,), ("repeat",), (None,), (None,), (None,)]
    take(at(0))
    assert read_counts(store.connection)["repeats"] == 2


@pytest.mark.parametrize(
    ("first", "second", "left_out"),
    [
        ({"close": None, "feed": None}, {}, ["repeat", None]),
        ({"close": None, "feed": None}, {"close": None, "feed": None}, [None, "repeat"]),
        ({}, {"feed": "w-2"}, [None, "repeat"]),
    ],
)
def test_a_repeat_with_a_close_takes_the_place_of_one_that_could_have_no_outcome(
    store: JournalStore,
    take: Callable[..., int],
    first: dict[str, Any],
    second: dict[str, Any],
    left_out: list[str | None],
):
    take(at(0, **first), at(0, **second))
    assert [reason for (reason,) in all_of(store, "left_out")] == left_out
    assert read_counts(store.connection)["repeats"] == 1
    take(at(0))
    assert [reason for (reason,) in all_of(store, "left_out")].count(None) == 1


def test_no_repeat_takes_the_place_of_one_whose_caller_told_its_outcome(store: JournalStore, take: Callable[..., int]):
    take(at(0, close=None, feed=None))
    store.connection.execute("UPDATE predictions SET outcome = 2, outcome_source = 'caller'")
    take(at(0))
    assert all_of(store, "left_out") == [(None,), ("repeat",)]


def test_a_repeat_is_looked_for_in_an_index(store: JournalStore):
    plan = store.connection.execute(f"EXPLAIN QUERY PLAN {rows._COUNTED}", ("BTC-USD", "v8", AS_OF_MS)).fetchall()
    assert [step[3] for step in plan] == ["SEARCH predictions USING INDEX counted (symbol=? AND arm=? AND time_ms=?)"]


def test_only_a_counted_row_makes_another_one_a_repeat(store: JournalStore, take: Callable[..., int]):
    take(at(0, override=True), prediction(as_of_ms=None, received_ms=AS_OF_MS), at(0), at(0))
    assert all_of(store, "left_out") == [("override",), (None,), (None,), ("repeat",)]


def test_predictions_without_as_of_are_never_repeats(store: JournalStore, take: Callable[..., int]):
    take(*[prediction(as_of_ms=None)] * 2, prediction(as_of_ms=None))
    assert all_of(store, "left_out") == [(None,), (None,)]


def test_arms_that_follow_in_a_second_line_are_added_and_none_twice(store: JournalStore, take: Callable[..., int]):
    first = prediction([arm("v8")])
    take(first, replace(first, arms=[arm("v8"), arm("v6_fixed", answered=False)]), first)
    assert all_of(store, "arm, answered, left_out") == [("v8", 1, None), ("v6_fixed", 0, None)]
    assert read_counts(store.connection)["repeats"] == 0


@pytest.mark.parametrize(
    ("other", "rule"),
    [
        (bundle(V6), (15 * MINUTE_MS, 1e-3)),
        (bundle(V6, horizon_bars=5, interval_ms=3 * MINUTE_MS), (15 * MINUTE_MS, 1e-3)),
        (bundle(V6, horizon_bars=30), (None, None)),
        (bundle(V6, neutral_band=2e-3), (None, None)),
        (bundle(V6, neutral_band=None), (None, None)),
        (bundle("7" * 64), (None, None)),
    ],
)
def test_a_pool_has_a_label_rule_where_its_members_agree(
    store: JournalStore, take: Callable[..., int], other: Line, rule: tuple[int | None, float | None]
):
    take(bundle(V8), other, prediction([arm("ensemble")]))
    assert all_of(store, "horizon_ms, band") == [rule]


def test_what_a_prediction_names_before_its_line_came_is_filled_in_later(store: JournalStore, take: Callable[..., int]):
    take(prediction())
    assert all_of(store, "sha256, generation", "bundles") == [(V8, None)]
    assert all_of(store, "sha256, text, first_ms", "configs") == [(CONFIG, None, None)]
    take(bundle(), *[config(at_ms=AS_OF_MS + later) for later in (5, 0, 9)], at(1))
    assert all_of(store, "sha256, generation, base_rates", "bundles") == [(V8, "v8", "[0.3,0.4,0.3]")]
    assert all_of(store, "sha256, text, first_ms", "configs") == [(CONFIG, "defaults: …", AS_OF_MS)]
    assert all_of(store, "bundle_id, config_id, horizon_ms") == [(1, 1, None), (1, 1, 15 * MINUTE_MS)]


def test_a_configuration_is_an_event_when_it_changes_and_not_when_it_is_told_again(
    store: JournalStore, take: Callable[..., int]
):
    refused = config(error="serving.yaml:3: mode: …", at_ms=AS_OF_MS + 2)
    take(config(), config(at_ms=AS_OF_MS + 1), refused, config(worker=8))
    events = all_of(store, "event, at_ms, who, why, content", "events")
    content = {"endpoint": "ensemble", "worker": 7, "sha256": CONFIG, "error": None}
    assert [(*event[:4], orjson.loads(event[4])) for event in events] == [
        ("config_in_force", AS_OF_MS, "worker", None, content),
        ("config_refused", AS_OF_MS + 2, "worker", None, {**content, "error": refused.error}),
        ("config_in_force", AS_OF_MS, "worker", None, {**content, "worker": 8}),
    ]


def test_an_event_is_kept_once(store: JournalStore, take: Callable[..., int]):
    toggle = new_event("toggle", "anna", "rollout", {"after": "…"})
    take(toggle, toggle)
    row = (toggle.event_id, toggle.at_ms, "toggle", "anna", "rollout", '{"after":"…"}')
    assert all_of(store, "*", "events") == [row]


@pytest.mark.parametrize("closes_first", [True, False])
def test_an_outcome_finds_its_prediction_whichever_came_first(
    store: JournalStore, take: Callable[..., int], closes_first: bool
):
    later = closes(*[100.0] * 15, 101.0, last_ms=AS_OF_MS + 15 * MINUTE_MS)
    lines = (later, prediction()) if closes_first else (prediction(), later)
    take(bundle(), *lines)
    assert all_of(store, "outcome, outcome_close, outcome_source, outcome_at_ms") == [
        (2, 101.0, "bars", int(NOW_S * 1000))
    ]


# --- lines that are none


def test_torn_lines_are_counted_and_stop_nothing(store: JournalStore, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    raw = encode_line(prediction())
    torn = [b"\x00\n", b'{"kind":"trade"}\n', raw[:50]]
    (spool_of(tmp_path) / "v8-1-a-000001.ndjson").write_bytes(torn[0] + raw + torn[1] + torn[2])
    assert store.drain() == 4
    assert len(all_of(store, "row_id")) == 1
    assert read_counts(store.connection)["torn_lines"] == 3
    [record] = caplog.records
    assert (record.message, record.fields["lines"]) == ("journal_line_refused", 3)  # type: ignore[attr-defined]
    kept = spool_of(tmp_path) / "refused.txt"
    assert record.fields["kept_in"] == str(kept)  # type: ignore[attr-defined]
    assert kept.read_bytes() == b"".join(torn) + b"\n"


def test_lines_that_an_older_worker_left_are_taken_in_without_what_they_do_not_say(store: JournalStore, tmp_path: Path):
    raw = encode_line(at(0)).replace(b',"off_scale":0.0,"largest_z":3.2', b"")
    assert b"largest_z" not in raw
    (spool_of(tmp_path) / "v8-1-a-000001.ndjson").write_bytes(raw)
    assert store.drain() == 1
    assert all_of(store, "arm, off_scale, largest_z") == [("v8", None, None)]


def test_lines_that_were_refused_can_be_taken_in_later(
    store: JournalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write(tmp_path, at(0), at(1))
    with monkeypatch.context() as patch:
        patch.setattr(lines, "VERSION", 2)  # of a watcher that is newer than the workers
        store.drain()
    assert all_of(store, "row_id") == []
    (spool_of(tmp_path) / "refused.txt").rename(spool_of(tmp_path) / "again.ndjson")
    assert store.drain() == 2
    assert len(all_of(store, "row_id")) == 2


def test_where_refused_lines_cannot_be_kept_it_is_said_and_the_others_are_stored(
    store: JournalStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (spool_of(tmp_path) / "refused.txt").mkdir()
    (spool_of(tmp_path) / "v8-1-a-000001.ndjson").write_bytes(encode_line(prediction()) + b"torn")
    assert store.drain() == 2
    assert len(all_of(store, "row_id")) == 1
    [record] = caplog.records
    assert record.fields["kept_in"].endswith("refused.txt: Is a directory")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "unfit",
    [
        prediction([arm("v6_fixed"), arm(probabilities=[0.5, float("nan"), 0.5])]),
        prediction([arm("v6_fixed"), arm(probabilities=[0.5, 0.5])]),
        prediction([arm("v6_fixed"), arm(raw_logits=[0.5])]),
        prediction([arm("v6_fixed"), arm(bundles=[V6, V8])]),
        prediction([arm("v6_fixed"), arm("ensemble", weights=[1.0])]),
        prediction(latency_ms=[]),
        prediction(received_ms=2**63),
    ],
)
def test_a_line_whose_values_do_not_fit_leaves_nothing_behind(
    store: JournalStore, take: Callable[..., int], unfit: Line
):
    assert take(unfit, at(1)) == 2
    assert all_of(store, "arm, time_ms, config_id, bundle_id") == [("v8", AS_OF_MS + MINUTE_MS, 1, 1)]
    assert all_of(store, "sha256", "bundles") == [(V8,)]
    assert read_counts(store.connection)["torn_lines"] == 1


# --- exactly once


def test_a_drain_takes_no_more_lines_than_it_is_asked_to(store: JournalStore, tmp_path: Path):
    write(tmp_path, *[at(minute) for minute in range(5)])
    write(tmp_path, *[at(minute) for minute in range(5, 8)])
    assert [store.drain(most_lines=3) for _ in range(4)] == [3, 3, 2, 0]
    assert [time_ms for (time_ms,) in all_of(store, "(time_ms - 1764000060000) / 60000")] == list(range(8))


def test_a_finished_segment_is_deleted_once_it_is_stored_and_a_live_one_stays(store: JournalStore, tmp_path: Path):
    live = SpoolWriter(spool_of(tmp_path), "ensemble")
    live.append([at(0)])
    write(tmp_path, at(1))
    store.drain()
    assert [segment.finished for segment in segments(spool_of(tmp_path))] == [False]
    live.append([at(2)])
    live.close()
    assert store.drain() == 1
    assert store.drain() == 0
    assert (segments(spool_of(tmp_path)), all_of(store, "name", "spools")) == ([], [])
    assert len(all_of(store, "row_id")) == 3


def test_an_end_before_the_commit_leaves_lines_and_offsets_as_they_were(
    store: JournalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write(tmp_path, bundle(), at(0), at(1))
    labelled = []

    def fail_at_the_second(*values: object) -> None:
        labelled.append(values)
        if len(labelled) == 2:
            raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(outcomes, "label_late", fail_at_the_second)
        with pytest.raises(sqlite3.OperationalError, match="disk I/O error"):
            store.drain()
    assert (all_of(store, "row_id"), all_of(store, "*", "bundles"), all_of(store, "*", "spools")) == ([], [], [])
    assert store.drain() == 3
    assert all_of(store, "left_out, bundle_id, config_id") == [(None, 1, 1), (None, 1, 1)]
    assert all_of(store, "config_id, sha256", "configs") == [(1, CONFIG)]


def test_an_end_between_commit_and_deletion_stores_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path, at(0), config(), new_event("toggle", "anna", None, {}))
    first = JournalStore(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            first.drain()
    first.close()
    second = JournalStore(tmp_path)
    assert (second.drain(), segments(spool_of(tmp_path))) == (0, [])
    assert (len(all_of(second, "row_id")), len(all_of(second, "event_id", "events"))) == (1, 2)
    second.close()


def test_an_end_between_deletion_and_forgetting_leaves_no_name_behind(tmp_path: Path):
    write(tmp_path, at(0))
    first = JournalStore(tmp_path)
    first.drain()
    assert len(all_of(first, "name", "spools")) == 1
    first.close()
    second = JournalStore(tmp_path)
    second.drain()
    assert all_of(second, "name", "spools") == []
    second.close()


def test_a_segment_that_comes_back_from_a_backup_stores_nothing_twice(store: JournalStore, tmp_path: Path):
    write(tmp_path, at(0), at(0), config(), new_event("toggle", "anna", None, {}), closes(1.0))
    [segment] = segments(spool_of(tmp_path))
    content = segment.path.read_bytes()
    store.drain()
    store.drain()
    before = [all_of(store, "*"), all_of(store, "*", "events"), all_of(store, "*", "counts")]
    segment.path.write_bytes(content)
    assert store.drain() == 5
    assert [all_of(store, "*"), all_of(store, "*", "events"), all_of(store, "*", "counts")] == before


WRITER = """
import os, sys, time
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from journal_lines import AS_OF_MS, arm, bundle, closes, config, prediction
from signalserve.journal.spool import SpoolWriter

writer = SpoolWriter(Path(sys.argv[1]) / "spool", "v8", header=lambda: [bundle(), config()], rotate_bytes=50_000)
for minute in range(10**9):
    line = prediction([arm("v8"), arm("v6_fixed")], as_of_ms=AS_OF_MS + 60_000 * minute)
    assert writer.append([line, closes(100.0, last_ms=line.as_of_ms)])
    os.write(1, line.prediction_id.encode() + b"\\n")
    time.sleep(0.001)
"""
DRAINER = """
import sys
from pathlib import Path
from signalserve.journal.store import JournalStore

store = JournalStore(Path(sys.argv[1]))
print("ready", flush=True)
while True:
    store.drain(most_lines=40)
"""


def start(code: str, *arguments: object, stdout: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], stdout=stdout)


def test_kill_9_of_writer_and_drainer_loses_nothing_and_stores_nothing_twice(tmp_path: Path):
    acknowledged = tmp_path / "acknowledged"
    with acknowledged.open("wb") as told:
        writer = start(WRITER, tmp_path, HELPERS, stdout=told.fileno())
    for _ in range(5):
        with start(DRAINER, tmp_path, stdout=subprocess.PIPE) as drainer:
            assert drainer.stdout is not None
            assert drainer.stdout.readline() == b"ready\n"
            time.sleep(random.uniform(0.02, 0.2))
            drainer.send_signal(signal.SIGKILL)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    store = JournalStore(tmp_path)
    drained_before = store.connection.execute("SELECT count(*) FROM predictions").fetchone()[0]
    while store.drain():
        pass
    stored = Counter(prediction_id for (prediction_id,) in all_of(store, "prediction_id"))
    ids = acknowledged.read_text().split("\n")[:-1]
    assert set(ids) <= set(stored)
    assert len(set(stored) - set(ids)) <= 1  # written, and killed before it could say so
    assert set(stored.values()) == {2}
    assert drained_before > 0
    assert read_counts(store.connection)["repeats"] == 0
    assert len(all_of(store, "*", "bundles")) == 2
    assert (store.waiting_bytes(), segments(spool_of(tmp_path))) == (0, [])
    store.close()


# --- a disk or database that refuses


def test_a_full_disk_leaves_the_lines_in_the_spool(store: JournalStore, tmp_path: Path):
    write(tmp_path, *[at(minute) for minute in range(2000)])
    [pages] = store.connection.execute("PRAGMA page_count").fetchone()
    store.connection.execute(f"PRAGMA max_page_count = {pages + 5}")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        store.drain()
    assert all_of(store, "row_id") == []
    store.connection.execute("PRAGMA max_page_count = 100000")
    assert store.drain() == 2000
    assert len(all_of(store, "row_id")) == 2000


def test_a_segment_that_cannot_be_read_keeps_nobody_waiting_and_is_said_once(
    store: JournalStore, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    write(tmp_path, at(0))
    write(tmp_path, at(1))
    first, _ = segments(spool_of(tmp_path))
    look_at = store_module.look_at

    def refuse(path: Path) -> Segment | None:
        if path == first.path:
            raise PermissionError(13, "Permission denied", str(path))
        return look_at(path)

    with monkeypatch.context() as patch:
        patch.setattr(store_module, "look_at", refuse)
        assert [store.drain() for _ in range(3)] == [1, 0, 0]
    assert store.unreadable == {first.name: "Permission denied"}
    assert store.waiting_bytes() == first.size
    [record] = caplog.records
    assert (record.message, record.fields["file"]) == ("journal_spool_unreadable", str(first.path))  # type: ignore[attr-defined]
    assert store.drain() == 1
    assert (store.unreadable, len(all_of(store, "row_id"))) == ({}, 2)


def test_a_folder_among_the_segments_is_passed_over_until_it_is_gone(
    store: JournalStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    folder = spool_of(tmp_path) / "a.ndjson"
    folder.mkdir()
    write(tmp_path, at(0))
    assert [store.drain() for _ in range(3)] == [1, 0, 0]
    assert (store.unreadable, len(caplog.records)) == ({"a.ndjson": "Is a directory"}, 1)
    folder.rmdir()
    assert (store.drain(), store.unreadable) == (0, {})


@pytest.mark.parametrize("gone", ["journal.sqlite", "watcher.lock"])
@pytest.mark.parametrize("replaced", [True, False])
def test_a_journal_that_is_taken_away_is_noticed_before_a_line_is_lost(tmp_path: Path, gone: str, replaced: bool):
    store = JournalStore(tmp_path / "journal")
    path = tmp_path / "journal" / gone
    path.rename(tmp_path / "aside")
    if replaced:
        path.touch()
    write(tmp_path / "journal", at(0))
    with pytest.raises(
        JournalError, match=rf"{gone}.* moved, deleted or replaced while it was open; it is opened anew"
    ):
        store.drain()
    store.close()
    again = JournalStore(tmp_path / "journal")
    assert (again.drain(), len(all_of(again, "row_id"))) == (1, 1)
    again.close()


def test_a_file_that_is_no_database_is_named_with_what_to_do(tmp_path: Path):
    database_of(tmp_path).write_bytes(b"not a database" * 100)
    for _ in range(2):  # the lock was let go, too
        with pytest.raises(JournalError, match=r"journal\.sqlite: file is not a database; move it aside"):
            JournalStore(tmp_path)


def test_a_database_that_was_damaged_is_named_with_what_to_do(tmp_path: Path):
    write(tmp_path, *[at(minute) for minute in range(1000)])
    store = JournalStore(tmp_path)
    store.drain()
    store.close()
    size = database_of(tmp_path).stat().st_size
    with database_of(tmp_path).open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(size - 4096))
    write(tmp_path, at(2000))
    with pytest.raises(JournalError, match=r"malformed; move it aside.*what waits in the spools is kept"):
        JournalStore(tmp_path).drain()
    assert len(segments(spool_of(tmp_path))) == 1


def test_a_newer_versions_database_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, "SELECT 1;"))
        patch.setattr(schema, "VERSION", schema.VERSION + 1)
        JournalStore(tmp_path).close()
    with pytest.raises(JournalError, match="a newer one wrote it"):
        JournalStore(tmp_path)


def test_a_second_watcher_is_refused_until_the_first_one_is_gone(tmp_path: Path):
    first = JournalStore(tmp_path)
    with pytest.raises(JournalError, match="another watcher keeps this journal; stop its service, or name another"):
        JournalStore(tmp_path)
    first.close()
    JournalStore(tmp_path).close()


def test_what_a_process_left_while_it_began_a_segment_is_swept_up(tmp_path: Path):
    spool_of(tmp_path).mkdir()
    old, new = (spool_of(tmp_path) / f".v8-{name}-000001.ndjson" for name in ("old", "new"))
    old.touch()
    new.touch()
    os.utime(old, (NOW_S - 7200, NOW_S - 7200))
    os.utime(new, (NOW_S - 60, NOW_S - 60))
    JournalStore(tmp_path, now=lambda: NOW_S).close()
    assert (old.exists(), new.exists()) == (False, True)


# --- how far behind


def test_what_waits_is_what_lies_in_the_spools_and_is_not_taken_in(store: JournalStore, tmp_path: Path):
    assert store.waiting_bytes() == 0
    write(tmp_path, at(0))
    write(tmp_path, at(1))
    one, other = (segment.size for segment in segments(spool_of(tmp_path)))
    assert store.waiting_bytes() == one + other
    store.drain(most_lines=1)
    assert store.waiting_bytes() == other
    store.drain()
    assert store.waiting_bytes() == 0


def test_while_nothing_waits_no_segment_is_opened_but_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    now_s = NOW_S
    store = JournalStore(tmp_path, now=lambda: now_s)
    writer = SpoolWriter(spool_of(tmp_path), "v8")
    writer.append([at(0)])
    looked: list[Path] = []
    look_at = store_module.look_at
    monkeypatch.setattr(store_module, "look_at", lambda path: (looked.append(path), look_at(path))[1])
    for _ in range(3):
        store.drain()
    assert len(looked) == 1
    writer.close()
    now_s += store_module.LOOK_AGAIN_S
    store.drain()
    assert (len(looked), segments(spool_of(tmp_path))) == (2, [])
    store.close()


# --- retention


DAY_MS = 86_400_000


def filled(folder: Path, days: Sequence[int], **options: Any) -> JournalStore:
    """A store with a prediction, a close and an event of each of these days before AS_OF_MS."""
    for day in days:
        ms = AS_OF_MS - day * DAY_MS
        event = replace(new_event("toggle", "anna", None, {}), at_ms=ms)
        write(
            folder,
            prediction(as_of_ms=ms, received_ms=ms),
            closes(1.0, last_ms=ms),
            closes(2.0, last_ms=ms, symbol="X"),
            event,
        )
    store = JournalStore(folder, now=lambda: NOW_S, **options)
    while store.drain():
        pass
    store.connection.execute("UPDATE closes SET told_ms = at_ms")  # each was told on its day
    return store


def test_bars_of_long_ago_that_came_today_are_kept_as_long_as_all_others(tmp_path: Path):
    now_s = NOW_S
    write(tmp_path, closes(1.0, 2.0, last_ms=AS_OF_MS - 500 * DAY_MS))
    store = JournalStore(tmp_path, keep_days=30, now=lambda: now_s)
    store.drain()
    assert store.retire() == 0
    now_s += 31 * DAY_MS / 1000
    assert store.retire() == 2
    store.close()


def test_rows_closes_and_events_older_than_the_days_to_keep_are_retired(tmp_path: Path):
    store = filled(tmp_path, [50, 31, 29, 0], keep_days=30)
    assert store.retire() == 8
    kept = [AS_OF_MS - 29 * DAY_MS, AS_OF_MS]
    for column, table in (("received_ms", "predictions"), ("at_ms", "events")):
        assert [ms for (ms,) in all_of(store, column, table)] == kept
    found = store.connection.execute("SELECT symbol, at_ms FROM closes ORDER BY symbol, at_ms").fetchall()
    assert found == [(symbol, ms) for symbol in ("BTC-USD", "X") for ms in kept]
    assert (read_counts(store.connection)["retired"], store.retire()) == (8, 0)
    store.close()


def test_no_more_closes_than_a_batch_are_retired_at_once_however_many_feeds_told_a_bar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(store_module, "BATCH", 2)
    monkeypatch.setattr(store_module, "RETIRE_MOST", 1)
    write(tmp_path, *[closes(1.0, 2.0, feed=feed) for feed in ("w-1", "w-2", "w-3")])
    now_s = NOW_S
    store = JournalStore(tmp_path, keep_days=1, now=lambda: now_s)
    store.drain()
    now_s += 2 * DAY_MS / 1000
    assert [store.retire() for _ in range(4)] == [2, 2, 2, 0]
    assert store.connection.execute("SELECT count(*) FROM closes").fetchone() == (0,)
    store.close()


def test_a_late_spool_is_retired_in_its_turn(tmp_path: Path):
    store = filled(tmp_path, [0, 50, 29], keep_days=30)
    assert store.retire() == 4
    assert [ms for (ms,) in all_of(store, "received_ms")] == [AS_OF_MS, AS_OF_MS - 29 * DAY_MS]
    store.close()


def test_more_than_a_batch_is_retired_in_one_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(store_module, "BATCH", 2)
    store = filled(tmp_path, range(60, 50, -1), keep_days=30)
    assert store.retire() == 40
    assert all_of(store, "row_id") == []
    store.close()


def test_one_call_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(store_module, "BATCH", 1)
    monkeypatch.setattr(store_module, "RETIRE_MOST", 5)
    store = filled(tmp_path, range(60, 50, -1), keep_days=30)
    assert store.retire() == 8  # whole batches: a row of each table, and of each symbol's closes
    store.close()


def size_of(store: JournalStore) -> int:
    return int(
        store.connection.execute("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size").fetchone()[0]
    )


def test_the_oldest_rows_give_way_to_the_size_and_the_file_shrinks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(store_module, "BATCH", 100)
    write(tmp_path, *[at(minute, request_id="r" * 100) for minute in range(3000)])
    JournalStore(tmp_path).close()
    store = JournalStore(tmp_path, keep_bytes=400_000, now=lambda: NOW_S)
    store.drain()
    assert size_of(store) > 800_000
    retired = store.retire()
    assert 0 < retired < 3000
    kept = [received_ms for (received_ms,) in all_of(store, "received_ms")]
    assert kept == [AS_OF_MS + minute * MINUTE_MS + 300 for minute in range(retired, 3000)]
    assert 300_000 < size_of(store) <= 400_000
    assert store.retire() == 0
    store.close()


def test_at_its_size_the_file_grows_no_further(tmp_path: Path):
    store = JournalStore(tmp_path, keep_bytes=400_000, now=lambda: NOW_S)
    sizes = []
    for round_ in range(8):
        write(tmp_path, *[at(500 * round_ + i, request_id="r" * 100) for i in range(500)])
        store.drain()
        store.retire()
        sizes.append(size_of(store))
    assert max(sizes) <= 400_000
    assert store.connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    store.close()


def test_a_database_that_is_too_large_without_a_prediction_is_left_alone(tmp_path: Path):
    store = JournalStore(tmp_path, keep_bytes=1, now=lambda: NOW_S)
    assert store.retire() == 0
    store.close()
