"""The text of what the workers count says what prometheus_client's own collector says, value for value."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.parser import text_string_to_metric_families

from signalserve.watcher.fold import fold_dead
from signalserve.watcher.worker_counts import WorkerCounts

WORKER = """
import sys
from signalserve.metrics import Metrics
metrics = Metrics("ensemble", {"BTC-USD": ["v6_fixed", "v8"], "ETH-USD": ["v8"]}, ["v8", "ensemble"])
times = int(sys.argv[1])
for i in range(times):
    metrics.predicted("BTC-USD", "v8", "UP", 0.4 + 0.1 * i, ["failed_gates"])
    metrics.logits("BTC-USD", "v8", (-1e7, 0.5 * i, 1e7))
    metrics.took("total", 0.001 * times)
metrics.journal(ok=times > 1)
metrics.config(f"{times:064x}", valid=True)
metrics.bundle("BTC-USD", "v8", "1", "a" * 12, "onnxruntime", 'a "device"\\\\0')
"""


def worked(folder: Path, times: int) -> None:
    """A worker of the service has lived and ended."""
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    subprocess.run([sys.executable, "-c", WORKER, str(times)], env=environment, check=True)


def written(folder: Path, name: str, value: float, *, metric: str = "events", labels: str = "a") -> Path:
    path = folder / name
    counts = MmapedDict(str(path))
    counts.write_value(mmap_key(metric, f"{metric}_total", ["kind"], [labels], "-"), value, 0.0)
    counts.close()
    return path


def said(page: bytes) -> dict[str, tuple[str, str, object]]:
    """Name -> type, help and samples."""
    families = text_string_to_metric_families(page.decode())
    return {
        one.name: (one.type, one.documentation, {(s.name, *sorted(s.labels.items())): s.value for s in one.samples})
        for one in families
    }


def by_the_library(folder: Path) -> dict[str, tuple[str, str, object]]:
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(folder))
    return said(generate_latest(registry))


def test_every_series_of_several_workers_is_what_the_library_says(tmp_path: Path) -> None:
    for times in (3, 1, 2):
        worked(tmp_path, times)
    found = said(WorkerCounts(tmp_path).text())
    assert found == by_the_library(tmp_path)
    assert {family[0] for family in found.values()} == {"counter", "gauge", "histogram"}


def test_it_still_is_after_the_dead_were_folded_and_another_has_begun(tmp_path: Path) -> None:
    counts = WorkerCounts(tmp_path)
    for times in (2, 4):
        worked(tmp_path, times)
        assert said(counts.text()) == by_the_library(tmp_path)
        fold_dead(tmp_path)
        assert said(counts.text()) == by_the_library(tmp_path)


def test_a_number_that_changes_is_read_anew(tmp_path: Path) -> None:
    counts = WorkerCounts(tmp_path)
    for value in (1.0, 5.0):
        written(tmp_path, "counter_1.db", value)
        assert b'events_total{kind="a"} %d.0\n' % value in counts.text()


def test_a_series_that_appears_or_goes_changes_the_page(tmp_path: Path) -> None:
    counts = WorkerCounts(tmp_path)
    written(tmp_path, "counter_1.db", 1.0)
    assert b'kind="b"' not in counts.text()
    path = written(tmp_path, "counter_2.db", 2.0, labels="b")
    assert b'events_total{kind="b"} 2.0\n' in counts.text()
    path.unlink()
    assert b'kind="b"' not in counts.text()


def test_a_file_that_nobody_has_written_to_yet_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "counter_7.db").touch()
    assert WorkerCounts(tmp_path).text() == b""


def test_a_gauge_that_it_does_not_know_how_to_merge_is_named(tmp_path: Path) -> None:
    written(tmp_path, "gauge_mostrecent_7.db", 1.0)
    with pytest.raises(ValueError, match=r"expected a file of .*livemin; add gauge_mostrecent to MERGED"):
        WorkerCounts(tmp_path).text()
