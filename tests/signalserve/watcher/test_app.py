"""The sidecar's pages, with probes answered by a service in process."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from stores import BTC, write_settings, write_store

from signalserve.bundle import find_bundles, load_bundle
from signalserve.service import RawRequest, Service
from signalserve.watcher.app import make_app
from signalserve.watcher.probes import Prober, make_probes

SECRET = "s3cret"
LABELS = 'endpoint="ensemble",generation="v8",symbol="BTC-USD"'


class Sidecar:
    """The app's pages, over a service that can be switched off."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "metrics"
        self.folder.mkdir()
        settings_path = write_settings(root / "serving.yaml")
        self.services = {
            endpoint: Service.load(
                root, endpoint, settings_path=settings_path, engine="torch", device="cpu", probe_secret=SECRET
            )
            for endpoint in ("v6_fixed", "v8", "ensemble")
        }
        self.is_up = True
        manifests = [load_bundle(path).manifest for path in find_bundles(root / "bundles")]
        transport = httpx.MockTransport(self.answer)
        self.prober = Prober(list(make_probes(manifests)), "http://service", SECRET, transport=transport)
        self.app = make_app(self.prober, self.folder)

    def answer(self, request: httpx.Request) -> httpx.Response:
        if not self.is_up:
            return httpx.Response(500, text="down")
        service = self.services[request.url.path.removeprefix("/predictions/")]
        (reply,) = service.answer([RawRequest(request.content, dict(request.headers))])
        return httpx.Response(reply.status, content=reply.body)


@pytest.fixture
def sidecar(tmp_path: Path) -> Sidecar:
    return Sidecar(write_store(tmp_path, (BTC,)))


@asynccontextmanager
async def opened(sidecar: Sidecar) -> AsyncIterator[httpx.AsyncClient]:
    """The app as uvicorn runs it, from its start to its end."""
    transport = httpx.ASGITransport(sidecar.app)
    pages = httpx.AsyncClient(base_url="http://sidecar", transport=transport)
    async with sidecar.app.router.lifespan_context(sidecar.app), pages:
        yield pages


def with_pages(sidecar: Sidecar, use: Callable[[httpx.AsyncClient], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        async with opened(sidecar) as pages:
            await use(pages)

    asyncio.run(asyncio.wait_for(run(), 20))


async def ready_within(pages: httpx.AsyncClient, seconds: float) -> httpx.Response:
    deadline = time.monotonic() + seconds
    while (response := await pages.get("/ready")).status_code != 200 and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    return response


def test_the_app_probes_by_itself_and_says_ready(sidecar: Sidecar):
    async def use(pages: httpx.AsyncClient) -> None:
        response = await ready_within(pages, 5)
        assert response.status_code == 200
        assert response.json() == {
            "ready": True,
            "answering": ["ensemble BTC-USD (v6_fixed)", "ensemble BTC-USD (v8)", "v6_fixed BTC-USD", "v8 BTC-USD"],
        }

    with_pages(sidecar, use)


def test_a_service_that_is_down_is_503_and_says_which_did_not_answer(sidecar: Sidecar):
    async def use(pages: httpx.AsyncClient) -> None:
        sidecar.is_up = False
        response = await ready_within(pages, 0.2)
        assert response.status_code == 503
        assert response.json()["not_ready"]["v8 BTC-USD"] == "HTTP 500: down"
        sidecar.is_up = True
        assert (await ready_within(pages, 5)).status_code == 200

    with_pages(sidecar, use)


def test_probing_ends_with_the_app(sidecar: Sidecar):
    async def start_and_end() -> None:
        async with opened(sidecar) as pages:
            await ready_within(pages, 5)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(start_and_end())


def test_how_the_probes_stand_is_in_the_metrics(sidecar: Sidecar):
    async def use(pages: httpx.AsyncClient) -> None:
        await ready_within(pages, 5)
        text = (await pages.get("/metrics")).text
        assert f"signalserve_ready{{{LABELS}}} 1.0" in text
        assert f"signalserve_probe_seconds{{{LABELS}}} " in text
        sidecar.prober.standings["ensemble BTC-USD (v8)"].fault = "golden window: expected …"
        assert f"signalserve_ready{{{LABELS}}} 0.0" in (await pages.get("/metrics")).text

    with_pages(sidecar, use)


def counted_by(folder: Path, pid: int, value: float) -> Path:
    """The file of a worker with this process id that counted so many errors."""
    path = folder / f"counter_{pid}.db"
    counts = MmapedDict(str(path))
    counts.write_value(mmap_key("errors", "errors_total", ["code"], ["bad_json"], "-"), value, 0.0)
    counts.close()
    return path


def test_what_all_workers_counted_is_added_up_and_the_dead_are_folded(sidecar: Sidecar):
    dead = [counted_by(sidecar.folder, 4_194_304 + i, 2.0) for i in (1, 2)]

    async def use(pages: httpx.AsyncClient) -> None:
        for _ in range(3):
            response = await pages.get("/metrics")
            assert 'errors_total{code="bad_json"} 4.0' in response.text
        assert response.headers["content-type"].startswith("text/plain")

    with_pages(sidecar, use)
    assert not any(path.exists() for path in dead)


def test_no_series_is_shown_twice(sidecar: Sidecar):
    counted_by(sidecar.folder, 4_194_305, 1.0)

    async def use(pages: httpx.AsyncClient) -> None:
        text = (await pages.get("/metrics")).text
        names = [line.rpartition(" ")[0] for line in text.splitlines() if line and not line.startswith("#")]
        assert len(names) == len(set(names)) > 8

    with_pages(sidecar, use)
