"""What is out stays out, in every process, until somebody clears it."""

import errno
import multiprocessing
import os
from dataclasses import replace
from pathlib import Path

import pytest

from signalserve.latches import DAMAGED, Latch, Latches, clear, latch_name, read_latches

LATCH = Latch("ensemble", "BTC-USD", "v8", "ab" * 32, ("clamped",), 1_764_000_000_000, "bot-7")
KEY = LATCH.file_name


def test_a_latch_is_seen_by_every_worker_and_outlives_them(tmp_path: Path):
    one, other = Latches(tmp_path), Latches(tmp_path)
    assert other.all().get(KEY) is None
    assert one.trip(LATCH)
    assert one.all().get(KEY) == other.all().get(KEY) == Latches(tmp_path).all().get(KEY) == LATCH
    assert read_latches(tmp_path) == [LATCH]


def test_only_the_first_to_take_a_model_out_is_told_so(tmp_path: Path):
    assert Latches(tmp_path).trip(LATCH)
    assert not Latches(tmp_path).trip(LATCH)


def _trip(folder: Path) -> bool:
    return Latches(folder).trip(LATCH)


def test_of_many_at_once_one_is_first(tmp_path: Path):
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        assert sum(pool.map(_trip, [tmp_path] * 12)) == 1
    assert read_latches(tmp_path) == [LATCH]


def test_a_cleared_model_may_answer_again_everywhere(tmp_path: Path):
    one, other = Latches(tmp_path), Latches(tmp_path)
    one.trip(LATCH)
    assert other.all().get(KEY)
    assert clear(tmp_path, LATCH)
    assert not clear(tmp_path, LATCH)
    assert one.all().get(KEY) is other.all().get(KEY) is None


def test_another_bundle_of_the_same_model_starts_with_none(tmp_path: Path):
    latches = Latches(tmp_path)
    latches.trip(LATCH)
    assert latch_name("ensemble", "BTC-USD", "v8", LATCH.sha256) in latches.all()
    assert latch_name("ensemble", "BTC-USD", "v8", "cd" * 32) not in latches.all()
    assert latch_name("v8", "BTC-USD", "v8", LATCH.sha256) not in latches.all()


def test_where_nothing_was_ever_out_there_is_nothing(tmp_path: Path):
    assert read_latches(tmp_path / "missing") == []


def test_a_damaged_file_keeps_its_model_out_and_others_are_left_alone(tmp_path: Path):
    latches = Latches(tmp_path)
    latches.trip(LATCH)
    (tmp_path / LATCH.file_name).write_text("{torn")
    (tmp_path / "notes.json").write_text("mine")
    latch = Latches(tmp_path).all().get(KEY)
    assert latch is not None and latch.rules == (DAMAGED,)
    assert len(read_latches(tmp_path)) == 1 and clear(tmp_path, latch)
    assert Latches(tmp_path).all().get(KEY) is None


@pytest.mark.parametrize("content", [b"[]", b'{"rules": [1]}', b'{"at_ms": "x"}', b"\xff"])
def test_whatever_a_file_holds_its_model_stays_out(tmp_path: Path, content: bytes):
    (tmp_path / LATCH.file_name).write_bytes(content)
    (tmp_path / "a.b.c.d.json").mkdir()
    [latch] = read_latches(tmp_path)
    assert (latch.generation, latch.rules) == ("v8", (DAMAGED,))


def test_a_disk_that_is_full_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    latches = Latches(tmp_path)

    def full(path: Path, _: bytes) -> int:
        path.touch()
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="full"):
        latches.trip(LATCH)
    assert list(tmp_path.iterdir()) == []


def test_two_changes_within_a_tick_of_the_clock_are_both_seen(tmp_path: Path):
    latches = Latches(tmp_path)
    latches.trip(LATCH)
    stamp = tmp_path.stat().st_mtime_ns
    assert KEY in latches.all()
    other = replace(LATCH, generation="v6_fixed")
    Latches(tmp_path).trip(other)
    os.utime(tmp_path, ns=(stamp, stamp))  # as if the clock had not ticked
    assert other.file_name in latches.all()
