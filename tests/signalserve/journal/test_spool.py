"""Spool files: one write an append, finished when their owner is gone, whole lines whatever the disk does."""

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from journal_lines import bundle, closes, prediction

from signalserve.journal import spool
from signalserve.journal.lines import Line, decode_line, encode_line
from signalserve.journal.spool import Segment, SpoolWriter, keep_refused, read_from, segments, sizes

ALL = 2**20


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """As on a disk that is full: the kernel writes up to a size, and refuses what is beyond it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def read_all(folder: Path) -> list[Line]:
    return [decode_line(raw) for segment in segments(folder) for raw in read_from(segment, 0, ALL)[0]]


def segment_of(path: Path, content: bytes, *, finished: bool) -> Segment:
    path.write_bytes(content)
    return Segment(path, finished, len(content))


# --- writing


def test_lines_come_back_in_their_order(tmp_path: Path):
    writer, lines = SpoolWriter(tmp_path / "spool", "v8-7"), [prediction(), closes(1.0), prediction()]
    assert writer.append(lines[:2])
    assert writer.append(lines[2:])
    assert (read_all(tmp_path / "spool"), writer.error) == (lines, None)


def test_nothing_is_made_before_the_first_line(tmp_path: Path):
    SpoolWriter(tmp_path / "spool", "v8").close()
    assert (list(tmp_path.iterdir()), segments(tmp_path / "spool")) == ([], [])


def test_an_append_is_one_write_also_at_the_head_of_a_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    sizes = []
    write = os.write
    monkeypatch.setattr(spool.os, "write", lambda file, data: (sizes.append(len(data)), write(file, data))[1])
    lines = [prediction(), closes(1.0)]
    SpoolWriter(tmp_path, "v8", header=lambda: [bundle()]).append(lines)
    assert sizes == [sum(len(encode_line(line)) for line in (bundle(), *lines))]


def test_every_segment_begins_with_the_header(tmp_path: Path):
    writer = SpoolWriter(tmp_path, "v8", header=lambda: [bundle()], rotate_bytes=1)
    lines = [closes(float(price)) for price in range(3)]
    assert all(writer.append([line]) for line in lines)
    found = segments(tmp_path)
    assert [[decode_line(raw) for raw in read_from(one, 0, ALL)[0]] for one in found] == [
        [bundle(), line] for line in lines
    ]
    assert [segment.finished for segment in found] == [True, True, False]


def test_a_segment_grows_until_it_has_reached_its_size(tmp_path: Path):
    size = len(encode_line(closes(1.0)))
    writer = SpoolWriter(tmp_path, "v8", rotate_bytes=3 * size)
    for _ in range(7):
        writer.append([closes(1.0)])
    assert [segment.size for segment in segments(tmp_path)] == [3 * size, 3 * size, size]


def test_names_never_recur(tmp_path: Path):
    for _ in range(50):
        writer = SpoolWriter(tmp_path, "toggle")
        writer.append([closes(1.0)])
        writer.close()
    assert len(segments(tmp_path)) == 50


def test_a_closed_writer_begins_another_segment(tmp_path: Path):
    writer = SpoolWriter(tmp_path, "v8")
    writer.append([closes(1.0)])
    writer.close()
    assert writer.append([closes(2.0)])
    assert [segment.finished for segment in segments(tmp_path)] == [True, False]


def test_threads_leave_each_others_lines_whole(tmp_path: Path):
    writer = SpoolWriter(tmp_path, "v8", rotate_bytes=5000)
    batches = [[[closes(float(thread), float(i)), closes(1.0)] for i in range(100)] for thread in range(4)]
    threads = [threading.Thread(target=lambda batch=batch: [*map(writer.append, batch)]) for batch in batches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [line.closes for line in read_all(tmp_path)]
    for number, batch in enumerate(batches):
        own = [prices for prices in found if len(prices) == 2 and prices[0] == number]
        assert own == [lines[0].closes for lines in batch]
    assert len(found) == 800


# --- a disk that refuses


def test_a_full_disk_loses_lines_without_tearing_one(tmp_path: Path):
    clock = Clock()
    writer = SpoolWriter(tmp_path, "v8", now=clock)
    assert writer.append([closes(1.0)])
    with files_limited_to(segments(tmp_path)[0].size + 10):
        assert not writer.append([closes(2.0)])
    assert "File too large; lines are lost until it can be written again" in (writer.error or "")
    clock.now += 1
    assert writer.append([closes(3.0)])
    assert writer.error is None
    assert read_all(tmp_path) == [closes(1.0), closes(3.0)]


def test_a_line_that_stays_torn_leaves_the_following_ones_readable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    clock = Clock()
    writer = SpoolWriter(tmp_path, "v8", now=clock)
    writer.append([closes(1.0)])
    with files_limited_to(segments(tmp_path)[0].size + 10), monkeypatch.context() as patch:
        patch.setattr(spool.os, "ftruncate", lambda *_: os.write(-1, b""))
        assert not writer.append([closes(2.0)])
    clock.now += 1
    assert writer.append([closes(3.0)])
    raws = [raw for segment in segments(tmp_path) for raw in read_from(segment, 0, ALL)[0]]
    assert raws == [encode_line(closes(1.0)), encode_line(closes(2.0))[:10], encode_line(closes(3.0))]


def test_a_dead_disk_is_tried_once_a_second_and_again_when_the_clock_is_set_back(tmp_path: Path):
    clock, tries = Clock(), []
    (tmp_path / "file").touch()
    writer = SpoolWriter(tmp_path / "file" / "spool", "v8", header=lambda: tries.append(1) or (), now=clock)
    assert not any(writer.append([closes(1.0)]) for _ in range(100))
    assert len(tries) == 1
    clock.now += 1
    assert not any(writer.append([closes(1.0)]) for _ in range(100))
    clock.now -= 500
    assert not writer.append([closes(1.0)])
    assert len(tries) == 3
    assert "Not a directory" in (writer.error or "")


def test_a_read_only_folder_is_said_in_words_and_recovers_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    clock = Clock()
    writer = SpoolWriter(tmp_path, "v8", now=clock)
    with monkeypatch.context() as patch:
        refusal = OSError(errno.EROFS, os.strerror(errno.EROFS))
        patch.setattr(spool.os, "open", lambda *_: (_ for _ in ()).throw(refusal))
        assert not writer.append([closes(1.0)])
    assert f"{tmp_path}/v8-" in (writer.error or "")
    assert "Read-only file system" in (writer.error or "")
    clock.now += 1
    assert writer.append([closes(2.0)])
    assert (read_all(tmp_path), writer.error) == ([closes(2.0)], None)


def test_a_folder_that_is_deleted_is_made_again_and_nothing_more_is_lost(tmp_path: Path):
    writer = SpoolWriter(tmp_path / "spool", "v8")
    writer.append([closes(1.0)])
    shutil.rmtree(tmp_path / "spool")
    assert writer.append([closes(2.0)])
    assert read_all(tmp_path / "spool") == [closes(2.0)]


def test_a_folder_that_is_moved_away_is_made_again_and_takes_nothing_more_with_it(tmp_path: Path):
    writer = SpoolWriter(tmp_path / "spool", "v8")
    writer.append([closes(1.0)])
    (tmp_path / "spool").rename(tmp_path / "aside")
    assert writer.append([closes(2.0)])
    assert (read_all(tmp_path / "aside"), read_all(tmp_path / "spool")) == ([closes(1.0)], [closes(2.0)])


@pytest.fixture
def private_umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.usefixtures("private_umask")
def test_whoever_runs_the_watcher_may_read_a_segment(tmp_path: Path):
    SpoolWriter(tmp_path, "toggle").append([closes(1.0)])
    assert [path.stat().st_mode & 0o777 for path in tmp_path.iterdir()] == [0o644]


def test_a_value_that_is_no_json_never_raises(tmp_path: Path):
    writer = SpoolWriter(tmp_path, "v8")
    assert not writer.append([prediction(close=object())])
    assert "cannot be written as a journal line" in (writer.error or "")
    assert writer.append([closes(1.0)])


def test_a_header_that_fails_never_raises(tmp_path: Path):
    writer = SpoolWriter(tmp_path, "v8", header=lambda: [][0])
    assert not writer.append([closes(1.0)])
    assert "list index out of range" in (writer.error or "")


def test_a_real_full_and_read_only_disk(tmp_path: Path):
    """On a file system of 16 KiB, in namespaces of its own."""
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount in a namespace of his own")
    code = """
        import sys
        from pathlib import Path
        from subprocess import run
        sys.path.insert(0, sys.argv[2])
        from journal_lines import closes
        from signalserve.journal.spool import SpoolWriter, read_from, segments

        disk = Path(sys.argv[1])
        run(["mount", "-t", "tmpfs", "-o", "size=16k", "none", disk], check=True)
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(8192))
        clock = iter(range(10**6))
        writer = SpoolWriter(disk / "spool", "v8", now=lambda: next(clock) * 2)
        written = 0
        while writer.append([closes(float(written))]):
            written += 1
        print(writer.error.split(": ")[1])
        ballast.unlink()
        for price in (written, written + 1):
            assert writer.append([closes(float(price))]), writer.error
        writer.close()
        run(["mount", "-o", "remount,ro", disk], check=True)
        assert not writer.append([closes(1.0)])
        print(writer.error.split(": ")[1])
        lines = [raw for one in segments(disk / "spool") for raw in read_from(one, 0, 2**20)[0]]
        from signalserve.journal.lines import decode_line
        assert [decode_line(raw).closes[0] for raw in lines] == [float(i) for i in range(written + 2)]
    """
    helpers = Path(__file__).parents[2]
    command = ["unshare", "-rm", sys.executable, "-c", textwrap.dedent(code), tmp_path, helpers]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == (
        "No space left on device; lines are lost until it can be written again\n"
        "Read-only file system; lines are lost until it can be written again\n",
        0,
    ), done.stderr


# --- which segments are finished


def test_a_segment_is_live_while_its_owner_is_and_finished_afterwards(tmp_path: Path):
    writer = SpoolWriter(tmp_path, "v8")
    writer.append([closes(1.0)])
    assert [segment.finished for segment in segments(tmp_path)] == [False]
    writer.close()
    assert [segment.finished for segment in segments(tmp_path)] == [True]


def test_what_an_owner_wrote_last_is_part_of_its_finished_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    writer = SpoolWriter(tmp_path, "v8")
    writer.append([closes(1.0)])
    is_unlocked = spool._is_unlocked

    def end_meanwhile(descriptor: int) -> bool:
        """The owner's last line and end come just before the reader asks for the lock."""
        writer.append([closes(2.0)])
        writer.close()
        return is_unlocked(descriptor)

    monkeypatch.setattr(spool, "_is_unlocked", end_meanwhile)
    [segment] = segments(tmp_path)
    assert (segment.finished, segment.size) == (True, segment.path.stat().st_size)


def test_sigkill_finishes_a_segment_and_keeps_its_lines(tmp_path: Path):
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
from journal_lines import closes
from signalserve.journal.spool import SpoolWriter
writer = SpoolWriter(Path({str(tmp_path)!r}), "v8")
print(writer.append([closes(1.0)]), flush=True)
sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"True\n"
        assert [segment.finished for segment in segments(tmp_path)] == [False]
        owner.send_signal(signal.SIGKILL)
        owner.wait()
    assert [segment.finished for segment in segments(tmp_path)] == [True]
    assert read_all(tmp_path) == [closes(1.0)]


def test_no_reader_sees_a_segment_before_it_is_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    seen = []
    flock = spool.fcntl.flock
    monkeypatch.setattr(spool.fcntl, "flock", lambda *a: (seen.append(list(tmp_path.glob("[!.]*"))), flock(*a))[1])
    SpoolWriter(tmp_path, "v8").append([closes(1.0)])
    assert seen == [[]]


def test_a_reader_does_not_pass_for_an_owner(tmp_path: Path):
    writer = SpoolWriter(tmp_path, "v8")
    writer.append([closes(1.0)])
    writer.close()
    [segment] = segments(tmp_path)
    with segment.path.open("rb") as another:
        assert spool._is_unlocked(another.fileno())
        assert [one.finished for one in segments(tmp_path)] == [True]


# --- reading


def test_sizes_are_told_of_files_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name, size in (("b.ndjson", 3), ("a.ndjson", 5), (".hidden.ndjson", 1), ("refused.txt", 9)):
        (tmp_path / name).write_bytes(bytes(size))
    monkeypatch.setattr(spool.os, "open", lambda *_: 1 / 0)
    assert list(sizes(tmp_path).items()) == [("a.ndjson", 5), ("b.ndjson", 3)]
    assert sizes(tmp_path / "missing") == {}


def test_a_live_segment_is_read_up_to_its_last_newline(tmp_path: Path):
    segment = segment_of(tmp_path / "a.ndjson", b"one\ntwo\nth", finished=False)
    assert read_from(segment, 0, ALL) == ([b"one\n", b"two\n"], 8)
    assert read_from(segment, 8, ALL) == ([], 8)


def test_the_torn_tail_of_a_finished_segment_is_one_line(tmp_path: Path):
    segment = segment_of(tmp_path / "a.ndjson", b"one\ntwo\nth", finished=True)
    assert read_from(segment, 4, ALL) == ([b"two\n", b"th"], 10)
    assert read_from(segment, 10, ALL) == ([], 10)


def test_a_segment_that_was_cut_back_behind_the_offset_holds_nothing_more(tmp_path: Path):
    assert read_from(segment_of(tmp_path / "a.ndjson", b"one\n", finished=True), 9, ALL) == ([], 9)


@given(lines=st.lists(st.binary(max_size=8).map(lambda raw: raw.translate(None, b"\r\n") + b"\n"), max_size=20))
def test_pieces_add_up_to_the_whole(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]):
    segment = segment_of(tmp_path_factory.mktemp("s") / "a.ndjson", b"".join(lines), finished=True)
    read, offset = [], 0
    while offset < segment.size:
        piece, offset = read_from(segment, offset, 10)
        read += piece
    assert read == lines


def test_garbage_without_a_newline_is_passed_a_stretch_at_a_time(tmp_path: Path):
    segment = segment_of(tmp_path / "a.ndjson", bytes(25) + b"\none\n", finished=False)
    assert read_from(segment, 0, 10) == ([bytes(10)], 10)
    assert read_from(segment, 20, 10) == ([bytes(5) + b"\n", b"one\n"], 30)


def test_a_segment_that_is_deleted_meanwhile_holds_nothing(tmp_path: Path):
    assert read_from(Segment(tmp_path / "gone.ndjson", True, 10), 0, ALL) == ([], 0)


# --- what is refused


def test_refused_lines_are_kept_as_they_were_each_on_its_own(tmp_path: Path):
    keep_refused(tmp_path, [b"one\n", b"to"])
    keep_refused(tmp_path, [b"three\n"])
    assert (tmp_path / "refused.txt").read_bytes() == b"one\nto\nthree\n"


def test_refused_lines_are_kept_up_to_a_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(spool, "REFUSED_MOST_BYTES", 10)
    keep_refused(tmp_path, [b"12345\n"])
    with pytest.raises(OSError, match="it would be larger than"):
        keep_refused(tmp_path, [b"1234\n"])
    keep_refused(tmp_path, [b"123\n"])
    assert (tmp_path / "refused.txt").read_bytes() == b"12345\n123\n"
