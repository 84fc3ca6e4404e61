"""Two services for the whole of the live tests: one as it is shipped, one that batches."""

from collections.abc import Iterator

import pytest
from live.server import Server, write_config


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The service as `make serve` starts it, on the committed models."""
    running = Server(tmp_path_factory.mktemp("live")).start()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def batching_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One worker for each endpoint that waits for batches of six, so that a test decides who shares a batch."""
    folder = tmp_path_factory.mktemp("batching")
    config = write_config(
        folder / "config.properties", batchSize="6", maxBatchDelay="3000", minWorkers="1", maxWorkers="1"
    )
    running = Server(folder, config=config).start()
    yield running
    running.stop()
