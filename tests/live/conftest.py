"""Two services for the whole of the live tests: one as it is shipped, one that batches."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from live.server import ROOT, Server, copy_store, write_config


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The committed models with their archives, built once; for services that change nothing in it."""
    store = copy_store(tmp_path_factory.mktemp("packed") / "store")
    command = [sys.executable, "-m", "signalserve.commands.main", "pack", "--model-store", str(store)]
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    return store


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, packed: Path) -> Iterator[Server]:
    """The service as `make serve` starts it, on the committed models."""
    running = Server(tmp_path_factory.mktemp("live"), store=packed).start()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def batching_server(tmp_path_factory: pytest.TempPathFactory, packed: Path) -> Iterator[Server]:
    """One worker for each endpoint that waits for batches of six, and no golden probes that would take places in them:
    the test decides who shares a batch."""
    folder = tmp_path_factory.mktemp("batching")
    config = write_config(
        folder / "config.properties", batchSize="6", maxBatchDelay="3000", minWorkers="1", maxWorkers="1"
    )
    running = Server(folder, config=config, store=packed).start()
    assert running.process is not None
    # the launcher first: it would take a watcher that does not answer for one that hangs, and start another
    suspended = [psutil.Process(running.process.pid), running.watcher_process()]
    for process in suspended:
        process.suspend()
    yield running
    for process in suspended:
        process.resume()
    running.stop()
