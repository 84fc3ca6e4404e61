"""The memory that workers share."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from signalserve.recent import _RECORD, Recent

V8, V6 = "BTC-USD v8", "BTC-USD v6_fixed"
CLAMPED, CALM = frozenset({"clamped"}), frozenset[str]()


def test_two_workers_see_one_another(tmp_path: Path):
    one, other = (Recent([V8, V6], tmp_path / "recent.bin") for _ in range(2))
    one.observe(V8, CLAMPED)
    other.observe(V8, CALM)
    assert sorted(map(len, one.observe(V8, CLAMPED))) == [0, 1, 1]
    assert other.observe(V6, CALM) == [CALM]


def test_the_last_five_are_kept():
    recent = Recent([V8])
    for _ in range(7):
        recent.observe(V8, CLAMPED)
    assert recent.observe(V8, CALM).count(CLAMPED) == 4


def test_what_is_forgotten_does_not_come_back(tmp_path: Path):
    recent = Recent([V8], tmp_path / "recent.bin")
    recent.observe(V8, CLAMPED)
    recent.forget(V8)
    assert Recent([V8], tmp_path / "recent.bin").observe(V8, CALM) == [CALM]


HAMMER = """
import sys
from signalserve.recent import _RECORD, Recent
recent = Recent(["BTC-USD v8"], __import__("pathlib").Path(sys.argv[1]))
print("up", flush=True)
while True:
    recent.observe("BTC-USD v8", frozenset({"clamped", "saturated"}))
"""


def test_a_worker_killed_at_any_moment_leaves_it_usable(tmp_path: Path):
    path = tmp_path / "recent.bin"
    for _ in range(3):
        hammer = subprocess.Popen([sys.executable, "-c", HAMMER, str(path)], stdout=subprocess.PIPE)
        assert hammer.stdout is not None and hammer.stdout.readline()
        Recent([V8], path).observe(V8, CALM)
        os.kill(hammer.pid, signal.SIGKILL)
        hammer.communicate()
        seen = Recent([V8], path).observe(V8, CALM)
        assert set(seen) <= {CALM, frozenset({"clamped", "saturated"})}


COUNT = """
import sys, pathlib
from signalserve.recent import _RECORD, Recent, _RECORD
recent = Recent(["BTC-USD v8"], pathlib.Path(sys.argv[1]))
for _ in range(20_000):
    recent.observe("BTC-USD v8", frozenset({"clamped"}))
"""


def test_no_worker_loses_anothers_observation(tmp_path: Path):
    path = tmp_path / "recent.bin"
    workers = [subprocess.Popen([sys.executable, "-c", COUNT, str(path)]) for _ in range(3)]
    assert [worker.wait() for worker in workers] == [0, 0, 0]
    assert _RECORD.unpack_from(path.read_bytes())[0] == 60_000


def test_looking_changes_nothing():
    recent = Recent([V8])
    recent.observe(V8, CLAMPED)
    assert recent.seen(V8) == recent.seen(V8) == [CLAMPED]


def test_what_one_worker_tells_all_notice(tmp_path: Path):
    one, other = (Recent([V8], tmp_path / "recent.bin") for _ in range(2))
    before = other.news()
    one.tell()
    assert other.news() != before
