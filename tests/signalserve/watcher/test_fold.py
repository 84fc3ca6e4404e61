"""Counts of workers that have ended: nothing is lost, nothing goes back, and their files are gone."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from signalserve.watcher.fold import fold_dead

# counts one event for each line that it reads, until it is told to end
WORKER = """
import sys
from prometheus_client import Counter, Gauge, Histogram
events = Counter("events", "-", ["kind"])
seconds = Histogram("seconds", "-", buckets=[1, 10])
broken = Gauge("broken", "-", multiprocess_mode="livemax")
for line in sys.stdin:
    events.labels(line.strip()).inc()
    seconds.observe(5)
    broken.set(1)
    print("counted", flush=True)
"""


class Worker:
    def __init__(self, folder: Path) -> None:
        environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen([sys.executable, "-c", WORKER], env=environment, text=True, **pipes)

    def count(self, kind: str, times: int = 1) -> "Worker":
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        for _ in range(times):
            self.process.stdin.write(kind + "\n")
            self.process.stdin.flush()
            self.process.stdout.readline()
        return self

    def end(self) -> int:
        self.process.kill()
        self.process.communicate()
        return self.process.pid


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], Worker]]:
    workers: list[Worker] = []

    def start_() -> Worker:
        workers.append(Worker(tmp_path))
        return workers[-1]

    yield start_
    for worker in workers:
        worker.end()


def scraped(folder: Path) -> dict[str, float]:
    """Every sample that Prometheus would see, by its name and label values."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(folder))
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for metric in registry.collect()
        for sample in metric.samples
    }


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_counts_are_the_same_before_and_after_folding(tmp_path: Path, start: Callable[[], Worker]):
    first, second = start(), start()
    for worker, times in ((first, 3), (second, 4)):
        worker.count("up", times).count("down").end()
    before = scraped(tmp_path)
    assert fold_dead(tmp_path) == 6
    assert scraped(tmp_path) == {key: value for key, value in before.items() if not key.startswith("broken")}
    assert scraped(tmp_path)["events_total up"] == 7
    assert scraped(tmp_path)["seconds_bucket 10.0"] == scraped(tmp_path)["seconds_count"] == 9
    assert scraped(tmp_path)["seconds_bucket 1.0"] == 0
    assert files(tmp_path) == ["counter_folded.db", "histogram_folded.db"]


def test_counts_never_go_back_while_workers_come_and_go(tmp_path: Path, start: Callable[[], Worker]):
    totals = []
    for _ in range(3):
        worker = start().count("up", 2)
        totals += [(fold_dead(tmp_path), scraped(tmp_path)["events_total up"])[1]]
        worker.end()
        totals += [(fold_dead(tmp_path), scraped(tmp_path)["events_total up"])[1]]
    assert totals == [2, 2, 4, 4, 6, 6]
    assert files(tmp_path) == ["counter_folded.db", "histogram_folded.db"]


def test_a_living_workers_files_are_left_alone_and_it_counts_on(tmp_path: Path, start: Callable[[], Worker]):
    alive, dead = start().count("up"), start().count("up")
    pid = dead.end()
    fold_dead(tmp_path)
    assert not [name for name in files(tmp_path) if f"_{pid}." in name]
    assert f"counter_{alive.process.pid}.db" in files(tmp_path)
    alive.count("up", 5)
    assert scraped(tmp_path)["events_total up"] == 7
    assert scraped(tmp_path)["broken"] == 1


def test_a_dead_workers_gauges_mean_nothing(tmp_path: Path, start: Callable[[], Worker]):
    start().count("up").end()
    fold_dead(tmp_path)
    assert not [key for key in scraped(tmp_path) if key.startswith("broken")]


def test_folding_twice_counts_once(tmp_path: Path, start: Callable[[], Worker]):
    start().count("up", 3).end()
    assert [fold_dead(tmp_path), fold_dead(tmp_path)] == [3, 0]
    assert scraped(tmp_path)["events_total up"] == 3


def test_a_thousand_dead_workers_become_one_file(tmp_path: Path, start: Callable[[], Worker]):
    pid = start().count("up").end()
    beyond = 4_194_304  # the largest process id that Linux gives
    for i in range(1, 1000):
        shutil.copyfile(tmp_path / f"counter_{pid}.db", tmp_path / f"counter_{beyond + i}.db")
    fold_dead(tmp_path)
    assert scraped(tmp_path)["events_total up"] == 1000
    assert files(tmp_path) == ["counter_folded.db", "histogram_folded.db"]


def test_starts_of_workers_that_have_ended_are_kept(tmp_path: Path):
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    code = "from signalserve.metrics import Metrics; Metrics('v8', {}, ['v8'])"
    for starts in (1, 2, 3):
        subprocess.run([sys.executable, "-c", code], env=environment, check=True)
        fold_dead(tmp_path)
        assert scraped(tmp_path)["signalserve_worker_starts_total v8"] == starts
    assert files(tmp_path) == ["counter_folded.db", "histogram_folded.db"]


def test_an_empty_file_and_a_fold_that_broke_off_do_no_harm(tmp_path: Path, start: Callable[[], Worker]):
    start().count("up", 2).end()
    (tmp_path / "counter_4194305.db").touch()
    (tmp_path / "counter_folded.new").write_bytes(b"half-written")
    fold_dead(tmp_path)
    assert scraped(tmp_path)["events_total up"] == 2


def test_an_empty_folder_is_fine(tmp_path: Path):
    assert fold_dead(tmp_path) == 0
    assert scraped(tmp_path) == {}
